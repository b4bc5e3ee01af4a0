"""Faults of replication between the regions: settings of the embedded AWS, FIS experiments on AWS.

FIS is tested against its service model only.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from healthcare_dr.infra.fault_plan import DISCONNECT, MINUTES, PAUSE_DOCUMENTS, PAUSE_TABLES, TEMPLATES
from healthcare_dr.ops.drill.faults.api import allow, deny
from healthcare_dr.ops.drill.faults.fault import (
    AwsTarget,
    Duration,
    EmbeddedTarget,
    Fault,
    FaultTarget,
    InjectedFault,
    Parameter,
    State,
    region_of,
    register,
)

if TYPE_CHECKING:
    from healthcare_dr.ops.drill.experiment import Step

PEER_ROLE: Final = "documents-peer"


class _ReplicationFault(Fault[FaultTarget]):
    """A fault that changes settings of replication on the embedded AWS and runs FIS experiments on AWS."""

    @abstractmethod
    def templates(self, step: "Step") -> list[str]:
        """Return the kinds of the FIS templates that inject the step; none where AWS cannot inject it."""

    @abstractmethod
    def settings(self, step: "Step") -> dict[str, float | bool]:
        """Return the settings of replication that inject the step on the embedded AWS."""

    def require(self, step: "Step", region: str | None, target: FaultTarget) -> None:
        if isinstance(target, AwsTarget):
            target.fis.templates(str(region), self.templates(step))

    def before(self, step: "Step", region: str | None, target: FaultTarget) -> State:
        if isinstance(target, AwsTarget):
            self.require(step, region, target)
            return {"order": uuid4().hex, **dict.fromkeys(self.templates(step), True)}
        found = _embedded(target).aws.replication()
        return {name: getattr(found, name) for name in self.settings(step)}

    def apply(self, entry: InjectedFault, step: "Step", target: FaultTarget) -> None:
        if isinstance(target, AwsTarget):
            target.fis.start(region_of(entry), _kinds(entry), str(entry.before["order"]))
        else:
            changed: dict[str, Any] = dict(self.settings(step))
            _embedded(target).aws.set_replication(**changed)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: FaultTarget) -> None:
        del left
        if isinstance(target, AwsTarget):
            target.fis.stop(region_of(entry), _kinds(entry), str(entry.before["order"]))
        else:
            restored: dict[str, Any] = dict(entry.before)
            _embedded(target).aws.set_replication(**restored)


@register
class ReplicationPaused(_ReplicationFault):
    """Pauses the replication of tables, documents or both, in both directions.

    On AWS, pausing tables in one region stops them in both directions, but pausing documents stops only those that
    leave the region: replication is paused in both regions.
    """

    name = "replication-paused"
    description = "`tables`, `documents` or both stop replicating, in both directions"
    place = "between the regions"
    mechanism = "replication of the embedded AWS"
    mechanism_on_aws = "FIS, in both regions"
    targets = ("embedded", "aws")
    regional = False
    parameters = (
        Parameter(
            name="tables", type=bool, default=True, description="whether tables stop; only for replication-paused"
        ),
        Parameter(
            name="documents", type=bool, default=True, description="whether documents stop; only for replication-paused"
        ),
    )
    longest_seconds_on_aws = MINUTES * 60
    limit_on_aws = (
        "FIS may let tables replicate for up to 5 minutes after the pause began, and documents that were there before "
        "for up to an hour"
    )

    def validate(self, parameters: Any) -> None:
        if not any(parameters.values()):
            raise ValueError("tables or documents must be true: otherwise nothing is paused")

    def regions(self, step: "Step", target: FaultTarget) -> list[str | None]:
        return [target.regions[role] for role in step.roles] if isinstance(target, AwsTarget) else [None]

    def templates(self, step: "Step") -> list[str]:
        kinds = {"tables": PAUSE_TABLES, "documents": PAUSE_DOCUMENTS}
        return [kind for name, kind in kinds.items() if step.parameters[name]]

    def settings(self, step: "Step") -> dict[str, float | bool]:
        return {name: False for name in ("tables", "documents") if step.parameters[name]}


@register
class Disconnected(_ReplicationFault):
    """Cuts a region off from its peer's data.

    FIS disconnects the VPC. The functions run outside it, so the roles through which each region's functions read the
    other's documents are denied as well.
    """

    name = "disconnected"
    description = (
        "the region and its peer cannot reach each other's data: nothing replicates, and no document is copied; "
        "clients reach both"
    )
    mechanism = "replication of the embedded AWS, and a policy on the roles `documents-peer` that denies access"
    mechanism_on_aws = "FIS, and the same policy"
    targets = ("embedded", "aws")
    longest_seconds_on_aws = MINUTES * 60
    limit_on_aws = (
        "FIS blocks what leaves the VPC, and pauses replication with the same delay as replication-paused; functions "
        "run outside the VPC and are cut off from the peer's documents by its role"
    )

    def templates(self, step: "Step") -> list[str]:
        del step
        return [DISCONNECT]

    def settings(self, step: "Step") -> dict[str, float | bool]:
        del step
        return {"tables": False, "documents": False}

    def apply(self, entry: InjectedFault, step: "Step", target: FaultTarget) -> None:
        for region in target.regions.values():
            deny(PEER_ROLE, region, target)
        super().apply(entry, step, target)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: FaultTarget) -> None:
        if all(other.fault != self.name for other in left):
            for region in target.regions.values():
                allow(PEER_ROLE, region, target)
        super().undo(entry, left, target)


@register
class ReplicationLag(_ReplicationFault):
    """Delays replication."""

    name = "replication-lag"
    description = "replication is late by `lag_seconds`"
    place = "between the regions"
    mechanism = "replication of the embedded AWS"
    regional = False
    parameters = (
        Parameter(
            name="lag_seconds", type=Duration | None, description="of replication; only and always for replication-lag"
        ),
    )

    def templates(self, step: "Step") -> list[str]:  # noqa: ARG002 - FIS has no such template for any step
        return []

    def settings(self, step: "Step") -> dict[str, float | bool]:
        return {"lag_seconds": step.parameters["lag_seconds"]}


def _embedded(target: FaultTarget) -> EmbeddedTarget:
    if not isinstance(target, EmbeddedTarget):
        raise TypeError(f"{target!r} is not the embedded AWS")
    return target


def _kinds(entry: InjectedFault) -> list[str]:
    return [kind for kind in TEMPLATES if entry.before.get(kind)]
