"""Recovery times as they were measured: from the journals of drills, from a file, or as the operator gives them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.journal import SCHEMA

ENDED: Final = ("passed", "failed")

LONGEST: Final = 365 * 24 * 3600.0
"""Seconds: a recovery that takes more than a year is none."""

Label = Literal["embedded", "aws", "given"]


def _written(value: Any) -> Any:
    """YAML takes what looks like a date for one."""
    return value.isoformat() if isinstance(value, date) else value


class Trial(BaseModel):
    """One failover that was tried. `seconds` is None when service did not come back before the region did."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float | None = Field(ge=0, le=LONGEST, strict=True)
    label: Label
    date: Annotated[str, BeforeValidator(_written)]
    """ISO 8601."""
    experiment: str
    time_scale: float = Field(1.0, ge=1, strict=True)

    @property
    def measured(self) -> float | None:
        """Its recovery time, when it was measured in real time."""
        return self.seconds if self.time_scale == 1 else None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was tried and what it shows. `ignored` says, one a line, what does not count and why."""

    trials: tuple[Trial, ...]
    ignored: tuple[str, ...] = ()

    @property
    def recoveries(self) -> tuple[float, ...]:
        """Recovery times in seconds, ascending: those measured in real time alone."""
        return tuple(sorted(seconds for trial in self.trials if (seconds := trial.measured) is not None))

    @property
    def label(self) -> str:
        """Where the recovery times come from: `embedded`, `aws`, `given`, or several of them."""
        return " and ".join(sorted({trial.label for trial in self.trials if trial.measured is not None}))

    @property
    def missed(self) -> int:
        """How many of the failovers that were tried did not happen."""
        return sum(trial.seconds is None for trial in self.trials)

    @property
    def may_fail(self) -> float:
        """The share of failovers that may fail, as far as the trials show: Laplace's rule of succession."""
        return (self.missed + 1) / (len(self.trials) + 2)

    @property
    def bound(self) -> float:
        """What `may_fail` adds to an assumption: 0 while nothing was measured, for then nothing is claimed."""
        return self.may_fail if self.recoveries else 0.0


def given(seconds: Sequence[float], *, date: str) -> Measured:
    """Recovery times from the operator.

    Raises:
        SettingsError: one is no time.
    """
    wrong = [value for value in seconds if not (0 <= value <= LONGEST)]
    if wrong:
        raise SettingsError(f"{wrong[0]:g} is no recovery time: give seconds, from 0 to a year of them")
    return Measured(
        trials=tuple(Trial(seconds=value, label="given", date=date, experiment="given") for value in seconds)
    )


def of_trials(trials: Sequence[Trial]) -> Measured:
    """What these trials show."""
    return Measured(trials=tuple(trials), ignored=tuple(filter(None, map(_sped_up, trials))))


def of_journals(folder: Path) -> Measured:
    """What the journals of `folder` show, one `<drill>/journal.json` each; no folder is no drill.

    Raises:
        SettingsError: a journal cannot be read: leaving out a drill that failed would make the rest look better.
    """
    trials, ignored = [], []
    for path in sorted(folder.glob("*/journal.json")):
        journal = _read(path)
        try:
            found = _trial(journal)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path} is no journal of a drill; move it away, or name another folder") from error
        if isinstance(found, str):
            ignored.append(f"{path.parent.name}: {found}")
        else:
            trials.append(found)
            if (why := _sped_up(found)) is not None:
                ignored.append(f"{path.parent.name}: {why}")
    return Measured(trials=tuple(trials), ignored=tuple(ignored))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as a journal; move it away, or name another folder") from error


def _trial(journal: Any) -> Trial | str:
    """The failover that a drill tried, or why it tried none."""
    if journal["schema"] > SCHEMA:
        return f"journal of schema {journal['schema']}, which this version does not know"
    if journal["outcome"] not in ENDED:
        return f"the drill ended as {journal['outcome']}"
    experiment = journal["experiment"]
    if experiment["expect"] != "failover":
        return f"no failover was expected, but {experiment['expect']}"
    if not journal["promises"]:
        return f"the drill ended without a verdict: {journal['reason']}"
    milestones = journal["milestones"]
    kept = {promise["name"]: promise["kept"] for promise in journal["promises"]}
    steady, seconds = milestones["steady_success"], milestones["rto_seconds"]
    # Service that came back only with the region is no failover.
    if not kept["failover"] or steady is None or steady >= _healed(journal):
        seconds = None
    return Trial(
        seconds=seconds,
        label=journal["label"],
        date=journal["started"],
        experiment=experiment["title"],
        time_scale=journal["settings"]["time_scale"],
    )


def _healed(journal: Any) -> float:
    """When healing began; in a journal that does not say so, when the first fault was undone."""
    if (healed := journal.get("healed")) is None:
        fault = journal["milestones"]["fault"]
        undone = (event["at"] for event in journal["events"] if event["kind"] == "undo" and event["at"] > fault)
        healed = min(undone, default=math.inf)
    return float(healed)


def _sped_up(trial: Trial) -> str | None:
    if trial.time_scale == 1:
        return None
    return f"ran {trial.time_scale:g} times faster: it shows that a failover happens, not how long it takes"
