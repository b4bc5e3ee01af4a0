"""Experiments: faults, load, and the expected result, as YAML files; the platform's are in `experiments`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.faults.fault import LONGEST_SECONDS, Duration
from healthcare_dr.ops.strict_yaml import RepeatedKeyError, load_yaml, read_text

FOLDER: Final = Path(__file__).parent / "experiments"
SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

if TYPE_CHECKING:
    FaultName = str
else:
    FaultName = Literal[tuple(FAULTS)]
Role = Literal["primary", "secondary"]
Expectation = Literal["failover", "drain", "none", "outage"]
Hypothesis = Literal["requests-succeed", "checks-healthy", "dns-names-both", "replication-caught-up"]

Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]
Percent = Annotated[float, Field(ge=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)


class _AnyStep(_Model):
    fault: FaultName = Field(description="what breaks")
    region: Literal["primary", "secondary", "both"] = Field("both", description="where; only for faults of a region")
    at: Seconds = Field(0.0, description="when it begins")
    lasting: Duration | None = Field(None, alias="for", description="for how long; without it, until watching ends")


PARAMETERS: Final = {each.name: each for fault in FAULTS.values() for each in fault.parameters}
"""The fields of a step that only some faults take."""

if TYPE_CHECKING:
    _StepWithParameters = _AnyStep
else:
    _StepWithParameters = create_model(
        "_StepWithParameters",
        __base__=_AnyStep,
        **{name: (each.type, Field(each.default, description=each.description)) for name, each in PARAMETERS.items()},
    )


class Step(_StepWithParameters):
    """One fault of the method. Times are real seconds since the method began; a drill's time scale shortens them."""

    @model_validator(mode="after")
    def _has_what_its_fault_takes(self) -> Self:
        fault = FAULTS[self.fault]
        if fault.regional and "region" not in self.model_fields_set:
            raise ValueError(f"region must be primary, secondary or both for {self.fault}")
        if not fault.regional and self.region != "both":
            raise ValueError(f"region must be both for {self.fault}, or not be given")
        for name, each in PARAMETERS.items():
            takers = " and ".join(other.name for other in FAULTS.values() if each in other.parameters)
            given = getattr(self, name) != each.default
            if each.default is None and given != (each in fault.parameters):
                raise ValueError(f"{name} must be given for {takers}, and for nothing else")
            if given and each not in fault.parameters:
                raise ValueError(f"{name} is only for {takers}")
        fault.validate(self.parameters)
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the values of the parameters that the fault takes."""
        return {each.name: getattr(self, each.name) for each in FAULTS[self.fault].parameters}

    @property
    def roles(self) -> tuple[Role, ...]:
        """Return the regions that the fault affects."""
        return ("primary", "secondary") if self.region == "both" else (self.region,)


class Load(_Model):
    """The clients and their requests."""

    rate: Annotated[float, Field(ge=1, le=1000)] | None = Field(
        None,
        description="requests a second, of all clients together; without it, half of what this machine serves, between "
        "5 and 20; on AWS 20",
    )
    clients: int = Field(8, ge=1, le=100)
    write_percent: Percent = 20.0
    document_percent: Percent = 5.0
    update_percent: Percent = 10.0
    ignore_ttl: bool = Field(False, description="keep a DNS answer forever, as JVMs with a wrong setting do")
    retries: int = Field(2, ge=0, le=10)
    timeout_seconds: float = Field(5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _shares_are_parts_of_a_whole(self) -> Self:
        if self.write_percent + self.document_percent + self.update_percent > 100:
            raise ValueError("write_percent, document_percent and update_percent must be at most 100 together")
        return self

    @property
    def reads(self) -> bool:
        """Return whether clients read patients: of its own, or before an update."""
        return self.write_percent + self.document_percent < 100


class Experiment(_Model):
    """One experiment."""

    title: str = Field(min_length=1, max_length=100)
    description: str = Field(min_length=1)
    steady_state: tuple[Hypothesis, ...] = Field(
        ("requests-succeed", "checks-healthy", "dns-names-both", "replication-caught-up"),
        min_length=1,
        description="what holds before the method, and again after healing",
    )
    method: tuple[Step, ...] = Field(min_length=1)
    expect: Expectation
    static_stability: bool = Field(
        True,
        description="whether the control planes of Route 53, IAM and Lambda deny requests during the method",
    )
    load: Load = Load()
    watch_seconds: Duration = Field(150.0, description="from the beginning of the method; then every fault is undone")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for number, step in enumerate(self.method):
            if step.at + (step.lasting or 0) >= self.watch_seconds:
                raise ValueError(f"method[{number}] must end before watch_seconds ({self.watch_seconds:g})")
        if "replication-caught-up" in self.steady_state and not self.load.write_percent:
            raise ValueError(
                "steady_state must not name replication-caught-up where write_percent is 0: nothing is seen"
            )
        lost = self.lost()
        if self.expect == "failover" and len(lost) != 1:
            raise ValueError("expect must be none or outage: failover needs a method that breaks exactly one region")
        drains = [FAULTS[step.fault].effect == "drains" for step in self.method]
        if any(drains) != (self.expect == "drain") or (any(drains) and (not all(drains) or len(lost) != 1)):
            raise ValueError("expect must be drain for a method that drains one region and breaks nothing, else not")
        if self.expect == "outage" and len(lost) != 2:
            raise ValueError("expect must be none or failover: outage needs a method that breaks both regions")
        return self

    def lost(self) -> tuple[Role, ...]:
        """Return the regions that the method takes away, permanently or temporarily."""
        broken = {role for step in self.method if FAULTS[step.fault].takes_region_away for role in step.roles}
        return tuple(role for role in ("primary", "secondary") if role in broken)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in the order of time, after the fault that static stability adds."""
        refusal = (Step(fault="control-planes"),) if self.static_stability else ()
        return (*refusal, *sorted(self.method, key=lambda step: step.at))

    def counts_from(self) -> Step:
        """Return the step from which recovery is measured: the first that takes a region away, or else the first."""
        ordered = sorted(self.method, key=lambda step: step.at)
        return next((step for step in ordered if FAULTS[step.fault].takes_region_away), ordered[0])

    def serves(self) -> bool:
        """Return whether all requests must succeed: no fault rejects them, and no failover is expected."""
        rejected = any(FAULTS[step.fault].effect in ("rejects", "fails") for step in self.method)
        return self.expect in ("none", "drain") and not rejected

    def document(self) -> dict[str, Any]:
        """Return the experiment as YAML data, with defaults."""
        return self.model_dump(mode="json", by_alias=True)


def shipped() -> dict[str, Path]:
    """Return the files of the platform's experiments, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load(which: str | Path) -> Experiment:
    """Return an experiment of the platform by its name, or one in a file.

    Raises:
        SettingsError: it does not exist or is invalid.
    """
    path = shipped().get(str(which), Path(which))
    try:
        document = load_yaml(read_text(path))
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"{which} cannot be read as an experiment; name a YAML file or one of {', '.join(shipped())}"
        ) from error
    except RepeatedKeyError as error:
        raise SettingsError(f"{path} {error}: only one of them would count, so take the other out") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-13-01
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise SettingsError(f"{path} is not YAML{where}; `hdr drill schema` prints its format") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path} must be a mapping with title, description, method and expect")
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_explain(error.errors(include_url=False)[0])}") from error


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment file."""
    return {"$schema": SCHEMA_DIALECT, **Experiment.model_json_schema(by_alias=True)}


def _explain(problem: Any) -> str:
    place = ""
    for part in problem["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    reason = " ".join(str(problem["msg"]).split())
    if problem["type"] == "value_error":
        return f"{place}: {reason.removeprefix('Value error, ')}" if place else reason.removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "extra_forbidden":
        models: dict[str, type[_Model]] = {"method": Step, "load": Load}
        model = models.get(str(problem["loc"][0]), Experiment) if len(problem["loc"]) > 1 else Experiment
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"{place} is unknown; allowed are {known}"
    return f"{place} must be {reason.removeprefix('Input should be ').removeprefix('a valid ')}"
