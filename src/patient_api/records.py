"""Versions of patients' records in DynamoDB.

A record is one partition: `head` carries the newest version, `v#<stamp>` each version ever written. A write
adds its version, moves the head and adds its audit event in one transaction.
"""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

from botocore.exceptions import ClientError

from patient_api.audit import AuditEvent
from patient_api.aws import DynamoDB
from patient_api.clock import Stamp
from patient_api.errors import Contention, HeadMismatch, StorageFault
from patient_api.faults import THROTTLES, fault_of, translated
from patient_api.patient import TYPE, RecordKey, Version
from patient_api.trail import AuditTrail

UPDATE_SHARDS: Final = 8
ATTEMPTS: Final = 3

_HEAD: Final = {"S": "head"}
_CONDITION_FAILED: Final = "ConditionalCheckFailed"

Item = Mapping[str, Mapping[str, str]]


class DynamoRecords:
    """The records' table, `patient_records`. `pause` waits a number of seconds."""

    def __init__(
        self,
        *,
        client: DynamoDB,
        table: str,
        trail: AuditTrail,
        pool: ThreadPoolExecutor,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._trail = trail
        self._pool = pool
        self._pause = pause

    def insert(self, version: Version, event: AuditEvent) -> None:
        """As `patients.Records`."""
        self._write(version, event, replaces=None)

    def replace(self, version: Version, event: AuditEvent, *, expected: str) -> None:
        """As `patients.Records`."""
        self._write(version, event, replaces=expected)

    def read(self, key: RecordKey, event: AuditEvent) -> Version | None:
        """As `patients.Records`: record and event at the same time, and neither without the other."""
        written = self._pool.submit(self._trail.put, event)
        try:
            item = self._head(key)
        finally:
            wait((written,))
        written.result()
        if item is None:
            return None
        stamp = Stamp.parse(item["version"]["S"])
        if stamp is None:
            raise StorageFault(operation="GetItem", code="UnreadableVersion")
        return Version(key, stamp, item["resource"]["S"])

    def current(self, key: RecordKey) -> str | None:
        """As `patients.Records`."""
        item = self._head(key, ProjectionExpression="#version", ExpressionAttributeNames={"#version": "version"})
        return item["version"]["S"] if item else None

    def _head(self, key: RecordKey, **projection: Any) -> Item | None:
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key={"pk": _pk(key), "sk": _HEAD}, ConsistentRead=True, **projection
            )
        item: Item | None = answer.get("Item")
        return item

    def _write(self, version: Version, event: AuditEvent, *, replaces: str | None) -> None:
        request = {
            "TransactItems": [
                {"Put": self._version(version, replaces)},
                {"Put": self._moved_head(version, replaces)},
                {"Put": self._trail.request(event)},
            ],
            # A repeated attempt whose first answer got lost is then the same transaction, not a failed condition.
            "ClientRequestToken": str(uuid4()),
        }
        for attempt in range(1, ATTEMPTS + 1):
            if self._transacted(request):
                return
            if attempt < ATTEMPTS:
                self._pause(random.uniform(0.02, 0.08) * attempt)  # noqa: S311 - spreads writers, guards nothing
        raise Contention

    def _transacted(self, request: Mapping[str, Any]) -> bool:
        """Whether the transaction was carried out; False when another one was in its way."""
        with translated("TransactWriteItems"):
            try:
                self._client.transact_write_items(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] == "TransactionCanceledException":
                    return _cancelled(error)
                if error.response["Error"]["Code"] == "TransactionConflictException":
                    return False
                raise
        return True

    def _version(self, version: Version, replaces: str | None) -> dict[str, Any]:
        item = {
            "pk": _pk(version.key),
            "sk": {"S": f"v#{version.stamp}"},
            "version": {"S": str(version.stamp)},
            "resource": {"S": version.resource},
        }
        # Which version the writer knew tells a concurrent sibling from a successor, and cannot be found out later.
        if replaces is not None:
            item["replaces"] = {"S": replaces}
        return {"TableName": self._table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}

    def _moved_head(self, version: Version, replaces: str | None) -> dict[str, Any]:
        shard = crc32(version.key.id.encode()) % UPDATE_SHARDS
        put = {
            "TableName": self._table,
            "Item": {
                "pk": _pk(version.key),
                "sk": _HEAD,
                "version": {"S": str(version.stamp)},
                "resource": {"S": version.resource},
                "update_shard": {"S": f"{version.key.tenant}#{TYPE}#{shard}"},
                "updated": {"S": str(version.stamp)},
            },
        }
        if replaces is None:
            return {**put, "ConditionExpression": "attribute_not_exists(pk)"}
        return {
            **put,
            "ConditionExpression": "#version = :expected",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":expected": {"S": replaces}},
        }


def _pk(key: RecordKey) -> dict[str, str]:
    return {"S": f"{key.tenant}#{TYPE}#{key.id}"}


def _cancelled(error: ClientError) -> bool:
    """False for a conflict with another transaction; raises for every other reason.

    Reasons come in the order of the items, `None` for those that were not at fault
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    """
    codes = [str(reason.get("Code", "None")) for reason in error.response.get("CancellationReasons", ())]
    if codes[1:2] == [_CONDITION_FAILED]:
        raise HeadMismatch
    culprits = [code for code in codes if code != "None"]
    if "TransactionConflict" in culprits:
        return False
    throttles = [code for code in culprits if code in THROTTLES]
    if throttles:
        raise StorageFault(operation="TransactWriteItems", code=throttles[0], throttled=True)
    if culprits:
        raise StorageFault(operation="TransactWriteItems", code=culprits[0], of_key="KMS" in culprits[0])
    raise fault_of(error, "TransactWriteItems")
