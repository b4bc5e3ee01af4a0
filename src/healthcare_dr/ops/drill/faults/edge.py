"""Faults that only the embedded AWS can inject: those of a region's HTTPS listener, wrong clocks, and denied control
planes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from healthcare_dr.emulator.fault_state import FURTHEST_CLOCK_SECONDS, LONGEST_DELAY_SECONDS, OPEN, EdgeFault
from healthcare_dr.ops.drill.faults.fault import (
    FAULTS,
    Effect,
    EmbeddedTarget,
    Fault,
    InjectedFault,
    Parameter,
    region_of,
    register,
)
from patient_api.contract.functions import FUNCTIONS

if TYPE_CHECKING:
    from healthcare_dr.ops.drill.experiment import Step


class EdgeListenerFault(Fault[EmbeddedTarget]):
    """A fault of a region's HTTPS listener.

    A subclass that declares another response, such as `EdgeFault(mode="responds", status=200, body="{")`, needs nothing
    else.
    """

    edge_fault: ClassVar[EdgeFault]
    """What the listener does; an experiment sets the delay."""
    mechanism = "the region's edge proxy"
    effect: ClassVar[Effect] = "rejects"

    def entry(self, step: "Step", region: str | None, target: EmbeddedTarget) -> InjectedFault:
        return InjectedFault(
            fault=self.name,
            region=region,
            delay_seconds=step.parameters.get("delay_seconds") or 0.0,
            hosts=" ".join(target.hosts.get(str(region), ())),
        )

    def apply(self, entry: InjectedFault, step: "Step", target: EmbeddedTarget) -> None:
        del step
        target.aws.set_edge_fault(region_of(entry), _edge_fault(entry), hosts=entry.hosts.split())

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: EmbeddedTarget) -> None:
        # A listener has one mode. The newest of the other recorded faults of this listener applies again.
        others = [
            _edge_fault(other)
            for other in left
            if isinstance(FAULTS[other.fault], EdgeListenerFault)
            and (other.region, other.hosts) == (entry.region, entry.hosts)
        ]
        fault = others[-1] if others else OPEN
        target.aws.set_edge_fault(region_of(entry), fault, hosts=entry.hosts.split())


def _edge_fault(entry: InjectedFault) -> EdgeFault:
    fault: EdgeListenerFault = FAULTS[entry.fault]  # type: ignore[assignment] # recorded by a fault of a listener
    return replace(fault.edge_fault, delay_seconds=entry.delay_seconds)


@register
class Refused(EdgeListenerFault):
    """The listener refuses connections."""

    name = "refused"
    edge_fault = EdgeFault(mode="refused")
    description = "the region's endpoint refuses connections"


@register
class Blackhole(EdgeListenerFault):
    """The listener drops packets."""

    name = "blackhole"
    edge_fault = EdgeFault(mode="blackhole")
    description = "the region's endpoint drops packets, so clients and health checks wait until they time out"


@register
class Errors(EdgeListenerFault):
    """The listener answers with server errors."""

    name = "errors"
    edge_fault = EdgeFault(mode="responds", status=503)
    description = "the endpoint answers every request with a server error"


@register
class Slow(EdgeListenerFault):
    """The listener delays every answer."""

    name = "slow"
    edge_fault = EdgeFault(mode="slow")
    description = "every answer is late by `delay_seconds`"
    effect = "slows"
    parameters = (
        Parameter(
            name="delay_seconds",
            type=Annotated[float, Field(gt=0, le=LONGEST_DELAY_SECONDS)] | None,
            description="of each answer; only and always for slow",
        ),
    )


@register
class ClockAhead(Fault[EmbeddedTarget]):
    """The clocks of all functions of a region are wrong."""

    name = "clock-ahead"
    description = (
        "the clocks of the region's functions are ahead by `ahead_seconds`: they refuse to write versions, and the "
        "health checks fail"
    )
    mechanism = "the time of day of the functions' processes"
    effect = "rejects"
    parameters = (
        Parameter(
            name="ahead_seconds",
            type=Annotated[float, Field(gt=0, le=FURTHEST_CLOCK_SECONDS)] | None,
            description="by which clocks are wrong; only and always for clock-ahead",
        ),
    )

    def entry(self, step: "Step", region: str | None, target: EmbeddedTarget) -> InjectedFault:
        del target
        return InjectedFault(fault=self.name, region=region, ahead_seconds=step.parameters["ahead_seconds"])

    def apply(self, entry: InjectedFault, step: "Step", target: EmbeddedTarget) -> None:
        del step
        self._set(entry.ahead_seconds, entry, target)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: EmbeddedTarget) -> None:
        # The newest of the other recorded faults of these clocks applies again.
        others = [other for other in left if (other.fault, other.region) == (self.name, entry.region)]
        self._set(others[-1].ahead_seconds if others else 0.0, entry, target)

    def _set(self, seconds: float, entry: InjectedFault, target: EmbeddedTarget) -> None:
        functions = [target.names.of(spec.name) for spec in FUNCTIONS]
        target.aws.set_clock_ahead(region_of(entry), seconds, functions=functions)


@register
class ControlPlanesDenied(Fault[EmbeddedTarget]):
    """The control planes of Route 53, IAM and Lambda deny the calls of this environment."""

    name = "control-planes"
    description = (
        "the control planes of Route 53, IAM and Lambda deny every call; with `static_stability` every method begins "
        "with it"
    )
    place = "everywhere"
    mechanism = "the control planes deny every call of this environment"
    regional = False
    omitted_on_aws = (
        "on AWS, the control planes of Route 53, IAM and Lambda cannot be denied to others; that recovery needs none "
        "of them is shown on the embedded AWS"
    )

    def apply(self, entry: InjectedFault, step: "Step", target: EmbeddedTarget) -> None:
        del entry, step
        target.aws.refuse_control_planes(refused=True, environment=target.names.suffix)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: EmbeddedTarget) -> None:
        del entry, left
        target.aws.refuse_control_planes(refused=False, environment=target.names.suffix)
