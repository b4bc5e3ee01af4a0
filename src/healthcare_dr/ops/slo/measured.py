"""Recovery times as they were measured, from a file or as the operator gives them; those of drills: `journals`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from healthcare_dr.errors import SettingsError

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
        """What `may_fail` adds to an assumption: 0 while nothing was tried."""
        return self.may_fail if self.trials else 0.0


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
    ignored = (f"{trial.experiment}: {why}" for trial in trials if (why := sped_up(trial)) is not None)
    return Measured(trials=tuple(trials), ignored=tuple(ignored))


def sped_up(trial: Trial) -> str | None:
    """Why its time does not count; None when it was played in real time."""
    if trial.time_scale == 1:
        return None
    return f"ran {trial.time_scale:g} times faster: it shows that a failover happens, not how long it takes"
