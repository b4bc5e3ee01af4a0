"""The faults of a region's API that are played with AWS's own calls: the same on AWS and on the embedded AWS."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from healthcare_dr.naming import Names
from healthcare_dr.ops.drain.drain_flag import DrainFlag, OperatorAction, operator

THROTTLED, DENIED, DRAINED = "throttled", "denied", "drained"
API_FAULTS: Final = (THROTTLED, DENIED, DRAINED)
PEER_ROLE: Final = "documents-peer"
POLICY: Final = "hdr-drill-denied"
REFUSED_ACTIONS: Final = ("dynamodb:*", "kms:*", "s3:*")

Client = Callable[[str, str], Any]
"""Gives a boto3 client of a service in a region."""


class ApiFaults:
    """Throttles the API's function, denies its role what it may do, and drains. Raises what boto3 raises.

    `regions` are both.
    """

    def __init__(self, *, client: Client, names: Names, regions: Collection[str]) -> None:
        self._client, self._names, self._regions = client, names, tuple(regions)

    def before(self, fault: str, region: str) -> dict[str, float | bool | str | None]:
        """Return the state that undoing restores. Raises `DeploymentError` when the drain flag cannot be read."""
        if fault == THROTTLED:
            answer: Mapping[str, Any] = self._functions(region).get_function_concurrency(FunctionName=self._function)
            return {"concurrency": answer.get("ReservedConcurrentExecutions")}
        return {"standing": self._flag(region).is_set()} if fault == DRAINED else {}

    def apply(self, fault: str, region: str) -> None:
        """Break the region with one of `API_FAULTS`."""
        if fault == THROTTLED:
            # With none reserved the API answers 429.
            self._functions(region).put_function_concurrency(
                FunctionName=self._function, ReservedConcurrentExecutions=0
            )
        elif fault == DENIED:
            self.deny("patient-api", region)
        else:
            self._flag(region).set(_order())

    def undo(self, fault: str, region: str, before: Mapping[str, float | bool | str | None]) -> None:
        """Undo what `apply` did, whether it was done or not; `before` is what `before` gave."""
        if fault == THROTTLED:
            limit = before.get("concurrency")
            if limit is None:
                self._functions(region).delete_function_concurrency(FunctionName=self._function)
            else:
                self._functions(region).put_function_concurrency(
                    FunctionName=self._function, ReservedConcurrentExecutions=int(limit)
                )
        elif fault == DENIED:
            self.allow("patient-api", region)
        elif not before["standing"]:
            self._flag(region).clear(_order())

    def part_documents(self) -> None:
        """Close the roles through which each region's functions reach the other's documents."""
        for region in self._regions:
            self.deny(PEER_ROLE, region)

    def join_documents(self) -> None:
        """Undo `part_documents`, whether it was done or not."""
        for region in self._regions:
            self.allow(PEER_ROLE, region)

    def deny(self, role: str, region: str) -> None:
        """Refuse tables, key and documents to a role of that region, sessions that it has already included."""
        self._client("iam", region).put_role_policy(
            RoleName=self._names.of(role, region), PolicyName=POLICY, PolicyDocument=_document(REFUSED_ACTIONS)
        )

    def allow(self, role: str, region: str) -> None:
        """Undo `deny`, whether it was denied or not."""
        from botocore.exceptions import ClientError

        try:
            self._client("iam", region).delete_role_policy(RoleName=self._names.of(role, region), PolicyName=POLICY)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise

    def _flag(self, region: str) -> DrainFlag:
        """Kept in the other region."""
        surviving = next(other for other in self._regions if other != region)
        return DrainFlag(
            client=self._client("dynamodb", surviving),
            records=self._names.records_table,
            audit=self._names.audit_table,
            drained=region,
            surviving=surviving,
        )

    def _functions(self, region: str) -> Any:
        return self._client("lambda", region)

    @property
    def _function(self) -> str:
        return self._names.of("patient-api")


def _order() -> OperatorAction:
    """To drain or restore for a drill."""
    return OperatorAction(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ), reason="drill")


def _document(actions: Sequence[str]) -> str:
    statement = {"Effect": "Deny", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
