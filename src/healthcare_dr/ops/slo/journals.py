"""Failovers as the journals of drills tell of them: which were tried, and what each took."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.experiment import Expectation
from healthcare_dr.ops.drill.journal import SCHEMA, Outcome
from healthcare_dr.ops.slo.measured import Measured, Trial, sped_up

ENDED: Final = ("passed", "failed")

Seconds = Annotated[float, Field(strict=True)]


class _Part(BaseModel):
    """What counts here of a part of the journal; there is more in it."""

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
    """Absent in journals of before it was added."""
    promises: tuple[_Promise, ...]


def of_journals(folder: Path) -> Measured:
    """What the journals of `folder` show, one `<drill>/journal.json` each; no folder is no drill.

    Raises:
        SettingsError: a journal cannot be read: leaving out a drill that failed would make the rest look better.
    """
    trials, ignored = [], []
    for path in sorted(folder.glob("*/journal.json")):
        found = _found(path)
        why = found if isinstance(found, str) else sped_up(found)
        if why is not None:
            ignored.append(f"{path.parent.name}: {why}")
        if isinstance(found, Trial):
            trials.append(found)
    return Measured(trials=tuple(trials), ignored=tuple(ignored))


def _found(path: Path) -> Trial | str:
    """The failover that a drill tried, or why it tried none."""
    document = _read(path)
    try:
        # What is newer may look otherwise.
        if (number := _Version.model_validate(document).number) > SCHEMA:
            return f"journal of schema {number}, which this version does not know"
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
    """The recovery time. Service that came back only with the region is no failover, as in the drill's verdict."""
    found, healed = journal.milestones, journal.healed
    if found is None or found.steady_success is None:
        return None
    if healed is None:
        undone = (event.at for event in journal.events if event.kind == "undo" and event.at > found.fault)
        healed = min(undone, default=math.inf)
    return found.rto_seconds if found.steady_success < healed else None
