"""The assumptions of the availability model: service commitments, past outages and inputs, each with its source.

`assumptions.yaml` beside this module contains the defaults; a file or options override values by name.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.slo.measured import Trial
from healthcare_dr.ops.strict_yaml import RepeatedKeyError, load_yaml, read_text

DEFAULTS: Final = Path(__file__).with_suffix(".yaml")
HOURS_A_YEAR: Final = 365 * 24
SHARES: Final = ("primary_share", "both_regions_share", "failover_fails", "idp_share")
MOST: Final = {
    "_per_year": 1000.0,
    "_minutes": HOURS_A_YEAR * 60.0,
    "_seconds": HOURS_A_YEAR * 3600.0,
    "outage_length": 100.0,
}
"""The highest value of an input that is no share, by the end of its name."""
LOSSES: Final = ("primary_outages_per_year", "secondary_outages_per_year")
"""The inputs that the history of outages determines, for both regions."""

Stated = Annotated[float, Field(strict=True)]
"""A number; `yes` and '5' are rejected."""
Number = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Percent = Annotated[float, Field(gt=0, le=100, strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Promise(_Model):
    """The service commitment of AWS: the share of requests served, in percent of a month."""

    service: str
    percent: Percent
    source: str
    date: date
    """The date of the source, or of its retrieval if it has none."""
    note: str


class Outage(_Model):
    """One known loss of a region."""

    began: date
    hours: float = Field(gt=0, le=HOURS_A_YEAR, strict=True)
    source: str
    note: str


class History(_Model):
    """The known losses between two days."""

    since: date
    until: date
    note: str
    outages: tuple[Outage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _covers_its_outages(self) -> Self:
        if self.until <= self.since:
            raise ValueError(f"until ({self.until}) must be after since ({self.since})")
        for outage in self.outages:
            if not self.since <= outage.began <= self.until:
                raise ValueError(f"the outage of {outage.began} must lie between since and until")
        return self

    @property
    def per_year(self) -> float:
        """Return the outages per year."""
        return len(self.outages) / ((self.until - self.since).days / 365)

    @property
    def mean_hours(self) -> float:
        """Return the mean duration in hours."""
        return statistics.fmean(outage.hours for outage in self.outages)


class Input(_Model):
    """A number that is not measured here. `low` and `high` are its plausible range."""

    value: Number
    low: Number
    high: Number
    unit: str
    what: str
    note: str
    source: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value:g} must lie between low ({self.low:g}) and high ({self.high:g})")
        return self


class Assumptions(_Model):
    """All assumptions. `promises` are those of the services that every region needs, `shared` those that both share."""

    promises: tuple[Promise, ...]
    shared: tuple[Promise, ...]
    history: History
    inputs: dict[str, Input]

    def value(self, name: str) -> float:
        """Return the value of an input."""
        return self.inputs[name].value

    def with_values(self, values: Mapping[str, float], *, source: str) -> "Assumptions":
        """Return a copy with other values of inputs; `source` names their origin. The plausible range is widened if
        needed.

        Raises:
            SettingsError: an input is unknown, or its value is out of its range.
        """
        inputs = dict(self.inputs)
        for name, value in values.items():
            if name not in inputs:
                raise SettingsError(f"{_line(name)} is no input of the arithmetic; there are {', '.join(inputs)}")
            most = 1 if name in SHARES else next(most for end, most in MOST.items() if name.endswith(end))
            if not 0 <= value <= most:
                allowed = "a share from 0 to 1" if name in SHARES else f"from 0 to {most:,.0f}"
                raise SettingsError(f"{name}={value:g} is not allowed: it must be {allowed}")
            old = inputs[name]
            changed = {"value": value, "low": min(old.low, value), "high": max(old.high, value), "source": source}
            inputs[name] = old.model_copy(update=changed)
        return self.model_copy(update={"inputs": inputs})

    def with_stated(self, stated: "Overrides") -> "Assumptions":
        """Return a copy with the values of an operator's file.

        Another history changes the loss rates, unless the file states them too; commitments bound them.

        Raises:
            SettingsError: a service has no commitment, or as `with_values`.
        """
        found = self.with_values(stated.inputs, source="--inputs")
        if stated.history is not None:
            found = found.model_copy(update={"history": stated.history})
            for name in LOSSES:
                if name not in stated.inputs:
                    rate = {name: stated.history.per_year}
                    found = found.with_values(rate, source=found.inputs[name].source)
        known = [promise.service for promise in self.promises]
        if unknown := sorted(stated.promises.keys() - set(known)):
            raise SettingsError(f"{_line(unknown[0])} is promised nothing; a region needs {', '.join(known)}")
        promises = (
            promise.model_copy(update={"percent": stated.promises[promise.service], "source": "--inputs"})
            if promise.service in stated.promises
            else promise
            for promise in found.promises
        )
        found = found.model_copy(update={"promises": tuple(promises)})
        return found._bounded() if stated.promises or stated.history else found

    def _bounded(self) -> "Assumptions":
        """Return a copy in which the rates of losses range up to the rate that the commitments allow."""
        allowed = min(self.promised_outages_per_year, MOST["_per_year"])
        losses = {name: self.inputs[name] for name in LOSSES}
        highest = {name: one.model_copy(update={"high": max(one.value, allowed)}) for name, one in losses.items()}
        return self.model_copy(update={"inputs": {**self.inputs, **highest}})

    @property
    def promised_share(self) -> float:
        """Return the share of requests that one region serves when every service just meets its commitment."""
        return math.prod(promise.percent / 100 for promise in self.promises)

    @property
    def promised_outages_per_year(self) -> float:
        """Return how many outages of the historical length a region may have in a year with every commitment kept."""
        return (1 - self.promised_share) * HOURS_A_YEAR / self.history.mean_hours


class Overrides(_Model):
    """An operator's file: values that replace the defaults, and recoveries measured elsewhere."""

    inputs: dict[str, Stated] = Field(default_factory=dict)
    """Values by name."""
    promises: dict[str, Percent] = Field(default_factory=dict)
    """Percent by service."""
    history: History | None = None
    """Other outages, which also determine the rates of losses."""
    recoveries: tuple[Trial, ...] | None = None
    """None: those of the drills are used. Empty: there are none."""


def defaults() -> Assumptions:
    """Return the assumptions in `assumptions.yaml`."""
    return Assumptions.model_validate(load_yaml(DEFAULTS.read_text(encoding="utf-8")))


def overrides(path: Path) -> Overrides:
    """Read an operator's file.

    Raises:
        SettingsError: it cannot be read or is invalid.
    """
    known = ", ".join(Overrides.model_fields)
    try:
        document = load_yaml(read_text(path))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read; give a YAML file with {known}") from error
    except RepeatedKeyError as error:
        raise SettingsError(f"{path} {error}: only one of them would count, so take the other out") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not YAML; it may contain {known}") from error
    if not isinstance(document, dict):
        problem = "is empty" if document is None else "is no mapping"
        raise SettingsError(f"{path} {problem}; it may contain {known}")
    try:
        return Overrides.model_validate(document)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_explain(error.errors(include_url=False)[0])}") from error


def assignments(given: Sequence[str]) -> dict[str, float]:
    """Parse values of inputs, each `name=number`.

    Raises:
        SettingsError: one has another form.
    """
    values = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError as error:
            raise SettingsError(f"{text!r} sets nothing: write it as name=number, such as idp_share=0.2") from error
    return values


def _explain(problem: Mapping[str, Any]) -> str:
    place = _line(".".join(map(str, problem["loc"])))
    if problem["type"] == "extra_forbidden":
        return f"{place} is unknown; allowed are {', '.join(_around(problem['loc']).model_fields)}"
    return f"{place}: {_line(str(problem['msg'])).removeprefix('Value error, ')}"


def _around(place: Sequence[int | str]) -> type[BaseModel]:
    """Return the model that has the last part of a place as a field."""
    if len(place) == 1:
        return Overrides
    if place[0] == "recoveries":
        return Trial
    return Outage if "outages" in place else History


def _line(text: str) -> str:
    return " ".join(text.split())
