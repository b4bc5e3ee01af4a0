"""Faults of a region's API, injected with the same AWS calls on AWS and on the embedded AWS.

The calls are tested against the embedded AWS. They have not run against AWS.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from healthcare_dr.ops.drain.drain_flag import DrainFlag, OperatorAction, operator
from healthcare_dr.ops.drill.faults.fault import Fault, FaultTarget, InjectedFault, State, region_of, register

if TYPE_CHECKING:
    from healthcare_dr.ops.drill.experiment import Step

API: Final = "patient-api"
POLICY: Final = "hdr-drill-denied"
DENIED_ACTIONS: Final = ("dynamodb:*", "kms:*", "s3:*")


@register
class Throttled(Fault[FaultTarget]):
    """Reserves no concurrency for the API's function, so that the API answers 429."""

    name = "throttled"
    description = "the region's function may not run (reserved concurrency 0): the API rejects every request with 429"
    mechanism = mechanism_on_aws = "reserved concurrency 0"
    targets = ("embedded", "aws")
    effect = "rejects"

    def before(self, step: "Step", region: str | None, target: FaultTarget) -> State:
        del step
        answer = target.client("lambda", str(region)).get_function_concurrency(FunctionName=target.names.of(API))
        return {"concurrency": answer.get("ReservedConcurrentExecutions")}

    def apply(self, entry: InjectedFault, step: "Step", target: FaultTarget) -> None:
        del step
        self._reserve(0, entry, target)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: FaultTarget) -> None:
        del left
        limit = entry.before.get("concurrency")
        self._reserve(None if limit is None else int(limit), entry, target)

    def _reserve(self, limit: int | None, entry: InjectedFault, target: FaultTarget) -> None:
        functions, name = target.client("lambda", region_of(entry)), target.names.of(API)
        if limit is None:
            functions.delete_function_concurrency(FunctionName=name)
        else:
            functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=limit)


@register
class Denied(Fault[FaultTarget]):
    """Denies the role of the API its tables, key and documents."""

    name = "denied"
    description = (
        "the role of the region's API is denied its tables, documents and key: the endpoint responds, the service fails"
    )
    mechanism = mechanism_on_aws = "a policy on the API's role that denies access"
    targets = ("embedded", "aws")
    effect = "rejects"
    limit_on_aws = "IAM needs some seconds until a policy holds everywhere"

    def apply(self, entry: InjectedFault, step: "Step", target: FaultTarget) -> None:
        del step
        deny(API, region_of(entry), target)

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: FaultTarget) -> None:
        del left
        allow(API, region_of(entry), target)


@register
class Drained(Fault[FaultTarget]):
    """Sets the drain flag of the region, unless an operator has set it before."""

    name = "drained"
    description = "nothing: traffic is drained from the region as `hdr drain` does, and restored at the end"
    place = "one region"
    mechanism = mechanism_on_aws = "the drain flag, in the other region"
    targets = ("embedded", "aws")
    effect = "drains"

    def before(self, step: "Step", region: str | None, target: FaultTarget) -> State:
        del step
        return {"standing": _flag(str(region), target).is_set()}

    def apply(self, entry: InjectedFault, step: "Step", target: FaultTarget) -> None:
        del step
        _flag(region_of(entry), target).set(_action())

    def undo(self, entry: InjectedFault, left: Sequence[InjectedFault], target: FaultTarget) -> None:
        del left
        if not entry.before["standing"]:
            _flag(region_of(entry), target).clear(_action())


def deny(role: str, region: str, target: FaultTarget) -> None:
    """Deny tables, key and documents to a role of that region; existing sessions are denied too."""
    statement = {"Effect": "Deny", "Action": list(DENIED_ACTIONS), "Resource": "*"}
    target.client("iam", region).put_role_policy(
        RoleName=target.names.of(role, region),
        PolicyName=POLICY,
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def allow(role: str, region: str, target: FaultTarget) -> None:
    """Undo `deny`. Idempotent."""
    from botocore.exceptions import ClientError

    iam: Any = target.client("iam", region)
    try:
        iam.delete_role_policy(RoleName=target.names.of(role, region), PolicyName=POLICY)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise


def _flag(region: str, target: FaultTarget) -> DrainFlag:
    """Return the drain flag of a region, which the other region stores."""
    surviving = next(other for other in target.regions.values() if other != region)
    return DrainFlag(
        client=target.client("dynamodb", surviving),
        records=target.names.records_table,
        audit=target.names.audit_table,
        drained=region,
        surviving=surviving,
    )


def _action() -> OperatorAction:
    return OperatorAction(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ), reason="drill")
