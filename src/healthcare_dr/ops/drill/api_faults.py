"""The faults of a region's API that are played with AWS's own calls: the same on AWS and on the embedded AWS."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from healthcare_dr.naming import Names
from healthcare_dr.ops.drain.flag import DrainFlag, Order, operator

POLICY: Final = "hdr-drill-denied"
DENIED: Final = ("dynamodb:*", "kms:*", "s3:*")

Client = Callable[[str, str], Any]
"""Gives a boto3 client of a service in a region."""


class ApiFaults:
    """Throttles the API's function, denies roles what they may do, and drains. Raises what boto3 raises.

    `regions` are both.
    """

    def __init__(self, *, client: Client, names: Names, regions: Collection[str]) -> None:
        self._client, self._names, self._regions = client, names, tuple(regions)

    def limit(self, region: str) -> int | None:
        """The function's reserved concurrency; None when it has none."""
        answer: Mapping[str, Any] = self._client("lambda", region).get_function_concurrency(FunctionName=self._function)
        return answer.get("ReservedConcurrentExecutions")

    def set_limit(self, region: str, limit: int | None) -> None:
        """Reserve so much and no more: with 0 the API answers 429; None lifts the limit."""
        client = self._client("lambda", region)
        if limit is None:
            client.delete_function_concurrency(FunctionName=self._function)
        else:
            client.put_function_concurrency(FunctionName=self._function, ReservedConcurrentExecutions=limit)

    def deny(self, role: str, region: str) -> None:
        """Refuse tables, key and documents to a role of that region, sessions that it has already included."""
        self._client("iam", region).put_role_policy(
            RoleName=self._names.of(role, region), PolicyName=POLICY, PolicyDocument=_document(DENIED)
        )

    def allow(self, role: str, region: str) -> None:
        """Undo `deny`, whether it was denied or not."""
        from botocore.exceptions import ClientError

        try:
            self._client("iam", region).delete_role_policy(RoleName=self._names.of(role, region), PolicyName=POLICY)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise

    def flag(self, region: str) -> DrainFlag:
        """The drain flag of a region, kept in the other one."""
        surviving = next(other for other in self._regions if other != region)
        return DrainFlag(
            client=self._client("dynamodb", surviving),
            records=self._names.records_table,
            audit=self._names.audit_table,
            drained=region,
            surviving=surviving,
        )

    @property
    def _function(self) -> str:
        return self._names.of("patient-api")


def order() -> Order:
    """To drain or restore for a drill."""
    return Order(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ), reason="drill")


def _document(actions: Sequence[str]) -> str:
    statement = {"Effect": "Deny", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
