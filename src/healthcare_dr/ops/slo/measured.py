"""Read measured recovery times and the outcomes of failovers, from a file, an option or the journals of drills."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.experiment import Expectation
from healthcare_dr.ops.drill.journal import SCHEMA, Outcome

LONGEST: Final = 365 * 24 * 3600.0
"""In seconds: longer than a year is no recovery."""

Label = Literal["embedded", "aws", "given"]


def _written(value: Any) -> Any:
    """Return a date as text: YAML reads `2026-01-31` as a date."""
    return value.isoformat() if isinstance(value, date) else value


class Trial(BaseModel):
    """One attempted failover. `seconds` is None when service did not return before the region did."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float | None = Field(ge=0, le=LONGEST, strict=True)
    label: Label
    date: Annotated[str, BeforeValidator(_written)]
    """ISO 8601."""
    experiment: str
    time_scale: float = Field(1.0, ge=1, strict=True)

    @property
    def measured(self) -> float | None:
        """Return the recovery time, if it was measured in real time."""
        return self.seconds if self.time_scale == 1 else None


@dataclass(frozen=True, kw_only=True)
class RecoveryTimes:
    """Attempted failovers and their recovery times. `ignored` lists, one line each, what does not count and why."""

    trials: tuple[Trial, ...]
    ignored: tuple[str, ...] = ()

    @property
    def recoveries(self) -> tuple[float, ...]:
        """Return the recovery times that were measured in real time, ascending, in seconds."""
        return tuple(sorted(seconds for trial in self.trials if (seconds := trial.measured) is not None))

    @property
    def label(self) -> str:
        """Return the source of the recovery times: `embedded`, `aws`, `given`, or several of them."""
        return " and ".join(sorted({trial.label for trial in self.trials if trial.measured is not None}))

    @property
    def missed(self) -> int:
        """Return how many attempted failovers failed."""
        return sum(trial.seconds is None for trial in self.trials)

    @property
    def may_fail(self) -> float:
        """Return the share of failovers that may fail according to the trials, by Laplace's rule of succession."""
        return (self.missed + 1) / (len(self.trials) + 2)

    @property
    def bound(self) -> float:
        """Return the upper bound that `may_fail` adds to an assumption: 0 while nothing was attempted."""
        return self.may_fail if self.trials else 0.0


def given(seconds: Sequence[float], *, date: str) -> RecoveryTimes:
    """Return recovery times that the operator gave.

    Raises:
        SettingsError: one is negative, or longer than a year.
    """
    wrong = [value for value in seconds if not (0 <= value <= LONGEST)]
    if wrong:
        raise SettingsError(f"{wrong[0]:g} is no recovery time: give seconds, from 0 to a year of them")
    return RecoveryTimes(
        trials=tuple(Trial(seconds=value, label="given", date=date, experiment="given") for value in seconds)
    )


def of_trials(trials: Sequence[Trial]) -> RecoveryTimes:
    """Return the recovery times of trials."""
    ignored = (f"{trial.experiment}: {why}" for trial in trials if (why := sped_up(trial)) is not None)
    return RecoveryTimes(trials=tuple(trials), ignored=tuple(ignored))


def sped_up(trial: Trial) -> str | None:
    """Return why the time of a trial does not count; None when it ran in real time."""
    if trial.time_scale == 1:
        return None
    return f"ran {trial.time_scale:g} times faster: it shows that a failover happens, not how long it takes"


ENDED: Final = ("passed", "failed")

Seconds = Annotated[float, Field(strict=True)]


class _Part(BaseModel):
    """The fields of a part of the journal that are used; others are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Version(_Part):
    number: int = Field(alias="schema", ge=1, strict=True)


class _Experiment(_Part):
    title: str
    expect: Expectation


class _Settings(_Part):
    time_scale: Seconds


class _Milestones(_Part):
    fault: Seconds
    steady_success: Seconds | None
    rto_seconds: Seconds | None


class _Promise(_Part):
    name: str
    kept: Annotated[bool, Field(strict=True)] | None
    """None when the drill did not judge it."""


class _Event(_Part):
    at: Seconds
    kind: str


class _Journal(_Part):
    label: Literal["embedded", "aws"]
    outcome: Outcome
    reason: str
    started: str
    experiment: _Experiment
    settings: _Settings
    events: tuple[_Event, ...]
    milestones: _Milestones | None
    healed: Seconds | None = None
    """Absent in journals of earlier versions."""
    promises: tuple[_Promise, ...]


def of_journals(folder: Path) -> RecoveryTimes:
    """Return the recovery times in the journals of `folder`, `<drill>/journal.json` each; none without the folder.

    Raises:
        SettingsError: a journal cannot be read: omitting a failed drill would improve the result.
    """
    trials, ignored = [], []
    for path in sorted(folder.glob("*/journal.json")):
        found = _found(path)
        why = found if isinstance(found, str) else sped_up(found)
        if why is not None:
            ignored.append(f"{path.parent.name}: {why}")
        if isinstance(found, Trial):
            trials.append(found)
    return RecoveryTimes(trials=tuple(trials), ignored=tuple(ignored))


def _found(path: Path) -> Trial | str:
    """Return the failover that a drill attempted, or why it attempted none."""
    document = _read(path)
    try:
        # A newer schema may have other fields.
        if (number := _Version.model_validate(document).number) > SCHEMA:
            return f"journal of schema {number}, which this version does not support"
        return _trial(_Journal.model_validate(document))
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{path} is no journal of a drill; move it away, or name another folder") from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read as a journal; move it away, or name another folder") from error


def _trial(journal: _Journal) -> Trial | str:
    if journal.outcome not in ENDED:
        return f"the drill ended as {journal.outcome}"
    if journal.experiment.expect != "failover":
        return f"no failover was expected, but {journal.experiment.expect}"
    if not journal.promises:
        return f"the drill ended without a verdict: {journal.reason}"
    kept = {promise.name: promise.kept for promise in journal.promises}
    return Trial(
        seconds=_recovery(journal) if kept["failover"] else None,
        label=journal.label,
        date=journal.started,
        experiment=journal.experiment.title,
        time_scale=journal.settings.time_scale,
    )


def _recovery(journal: _Journal) -> float | None:
    """Return the recovery time. Service that returned only with the region is no failover, as in the verdict."""
    found, healed = journal.milestones, journal.healed
    if found is None or found.steady_success is None:
        return None
    if healed is None:
        undone = (event.at for event in journal.events if event.kind == "undo" and event.at > found.fault)
        healed = min(undone, default=math.inf)
    return found.rto_seconds if found.steady_success < healed else None
