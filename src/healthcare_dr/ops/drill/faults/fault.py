"""The base class of faults, their registry, and the two targets that faults are injected into.

To add a fault, define a subclass of `Fault` in a module of this package, with the decorator `register`. The YAML
schema, the check of what a target can inject, and the documentation derive from the registry.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

from pydantic import Field

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.ports import EmbeddedAws

if TYPE_CHECKING:
    from healthcare_dr.ops.drill.experiment import Step
    from healthcare_dr.ops.drill.faults.fis import FisExperiments

LONGEST_SECONDS: Final = 3600.0
"""The longest duration of a step."""
Duration = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]

TargetLabel = Literal["embedded", "aws"]
Effect = Literal["rejects", "slows", "drains", "fails", "none"]
"""The effect on the clients of a region: requests and health checks fail, every response is late, traffic is moved away
without loss, or requests fail while the health checks succeed."""
Client = Callable[[str, str], Any]
"""Returns a boto3 client of a service in a region."""
State = dict[str, float | bool | str | None]
"""The state that undoing restores, as JSON values."""


@dataclass(frozen=True, kw_only=True)
class InjectedFault:
    """One entry of the fault journal: a fault in one place. `before` is the state that undoing restores."""

    fault: str
    region: str | None
    """None for faults of both regions."""
    delay_seconds: float = 0.0
    ahead_seconds: float = 0.0
    """How many seconds the clocks of the region's functions are ahead."""
    before: State = field(default_factory=dict)
    hosts: str = ""
    """The host names, separated by spaces, for which an edge listener fails; empty when it fails for all."""

    def __str__(self) -> str:
        return self.fault if self.region is None else f"{self.fault} {self.region}"


@dataclass(frozen=True, kw_only=True)
class FaultTarget:
    """The platform that faults are injected into. `regions` maps the roles `primary` and `secondary` to regions."""

    label: ClassVar[TargetLabel]
    hint: ClassVar[str]
    """Appended to the message when a call fails."""
    client: Client
    names: Names
    regions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class EmbeddedTarget(FaultTarget):
    """The embedded AWS.

    `client` must send `aws.bypass_header()`, because control planes may be denied when a fault has to be undone.
    `hosts` are the environment's own host names by region, given where the listeners serve other environments too: a
    listener then fails for these hosts only.
    """

    label = "embedded"
    hint = "is the platform deployed and running?"
    aws: EmbeddedAws
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AwsTarget(FaultTarget):
    """An AWS account."""

    label = "aws"
    hint = "is the platform deployed, and may you do this? See docs/fault-injection.md"
    fis: "FisExperiments"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A field of a step that only some faults take. Without a `default` such a fault requires it."""

    name: str
    type: Any
    """The type as pydantic reads it, bounds included."""
    description: str
    default: Any = None


T = TypeVar("T", bound=FaultTarget)


class Fault(ABC, Generic[T]):
    """A fault that a step of an experiment can name. `T` is the type of the targets that can inject it."""

    name: ClassVar[str]
    description: ClassVar[str]
    """What breaks, for the documentation."""
    place: ClassVar[str] = "a region, or both"
    """Where it breaks, for the documentation."""
    targets: ClassVar[tuple[TargetLabel, ...]] = ("embedded",)
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    regional: ClassVar[bool] = True
    """Whether a step has to name the region; otherwise the fault is one of both regions."""
    effect: ClassVar[Effect] = "none"
    mechanism: ClassVar[str]
    """How the embedded AWS injects the fault, for the documentation."""
    mechanism_on_aws: ClassVar[str] = ""
    """How AWS injects the fault, for the documentation; empty when AWS cannot."""
    omitted_on_aws: ClassVar[str] = ""
    """Why the fault is omitted on AWS without rejecting the experiment; empty when it is rejected or injected."""
    limit_on_aws: ClassVar[str] = ""
    """How the fault on AWS differs from the experiment's text, for the journal."""
    longest_seconds_on_aws: ClassVar[float | None] = None
    """When FIS ends the fault by itself; None for faults that FIS does not inject."""

    @property
    def takes_region_away(self) -> bool:
        """Return whether traffic has to leave the region."""
        return self.effect in ("rejects", "slows", "drains")

    def validate(self, parameters: Mapping[str, Any]) -> None:
        """Raise ValueError when the parameters contradict each other."""

    def regions(self, step: "Step", target: T) -> list[str | None]:
        """Return the regions that get an entry of their own; None for one entry of both regions."""
        return [target.regions[role] for role in step.roles] if self.regional else [None]

    def require(self, step: "Step", region: str | None, target: T) -> None:
        """Raise DeploymentError when the target lacks what the fault needs. Changes nothing."""

    def entry(self, step: "Step", region: str | None, target: T) -> InjectedFault:
        """Return the entry that the journal records before `apply`. Changes nothing."""
        return InjectedFault(fault=self.name, region=region, before=self.before(step, region, target))

    def before(self, step: "Step", region: str | None, target: T) -> State:
        """Return the state that `undo` restores."""
        del step, region, target
        return {}

    @abstractmethod
    def apply(self, entry: InjectedFault, step: "Step", target: T) -> None:
        """Inject the fault of a recorded entry."""

    @abstractmethod
    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: T) -> None:
        """Undo the fault. Idempotent, and harmless if it was never injected. `left` are the other recorded entries."""


FAULTS: Final[dict[str, Fault[Any]]] = {}
"""Every fault by its name; filled when `healthcare_dr.ops.drill.faults` is imported."""

F = TypeVar("F", bound=Fault[Any])


def register(fault: type[F]) -> type[F]:
    """Add a fault to the registry."""
    FAULTS[fault.name] = fault()
    return fault


def region_of(entry: InjectedFault) -> str:
    """Return the region of an entry. Raises DeploymentError when the entry has none."""
    if entry.region is None:
        raise DeploymentError(f"the recorded fault {entry.fault} has no region")
    return entry.region
