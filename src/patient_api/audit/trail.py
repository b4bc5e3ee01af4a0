"""Write and read audit events in DynamoDB. Items are added and never changed.

Events are read newest first: by patient, through the index `by-record`, or hour by hour, from all shards of the hour.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB, translated
from patient_api.contract.audit import SHARDS, AuditEvent, event_of, hour_partition, item_of, patient_partition
from patient_api.contract.keys import RECORD_INDEX
from patient_api.errors import StorageFault

Entry = tuple[str, AuditEvent]
"""The sort key of an event, `<instant>#<id>`, and the event."""


class AuditTrail:
    """Writes to the audit table. Both writes raise StorageFault; the caller must then withhold what they document."""

    def __init__(self, *, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, event: AuditEvent) -> None:
        """Write one event. An equal one, which an attempt without a response has written, counts as this one."""
        request = self.put_request(event)
        with translated("PutItem"):
            try:
                self._client.put_item(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                if error.response.get("Item") != request["Item"]:
                    raise StorageFault(operation="PutItem", code="OtherEvent") from None

    def put_all(self, events: Sequence[AuditEvent]) -> None:
        """Write up to 100 events, all or none."""
        if len(events) == 1:
            self.put(events[0])
            return
        with translated("TransactWriteItems"):
            self._client.transact_write_items(
                TransactItems=[{"Put": self.put_request(event)} for event in events], ClientRequestToken=str(uuid4())
            )

    def put_request(self, event: AuditEvent) -> dict[str, Any]:
        """Return the put of one event, for PutItem or within a transaction."""
        return {
            "TableName": self._table,
            "Item": item_of(event),
            "ConditionExpression": "attribute_not_exists(pk)",
        }


class AuditLog:
    """Reads the audit table, newest events first. Every method raises StorageFault.

    `low` (inclusive) and `before` (exclusive) are sort keys of events, or beginnings of them such as an instant.
    """

    def __init__(self, *, client: DynamoDB, table: str, pool: ThreadPoolExecutor) -> None:
        self._client = client
        self._table = table
        self._pool = pool

    def of_patients(self, tenant: str, ids: Sequence[str], *, low: str, before: str, limit: int) -> Sequence[Entry]:
        """Return up to `limit` events about any of the patients."""
        # `record` is a reserved word of DynamoDB.
        index = {"IndexName": RECORD_INDEX, "ExpressionAttributeNames": {"#record": "record"}}
        partitions = [patient_partition(tenant, id) for id in ids]
        return self._newest("#record = :partition", partitions, index, low, before, limit)

    def of_hour(self, tenant: str, hour: str, *, low: str, before: str, limit: int) -> Sequence[Entry]:
        """Return up to `limit` events of an hour such as `2027-01-15T08`."""
        partitions = [hour_partition(tenant, hour, shard) for shard in range(SHARDS)]
        return self._newest("pk = :partition", partitions, {"ConsistentRead": True}, low, before, limit)

    def _newest(
        self, equals: str, partitions: Sequence[str], options: Mapping[str, Any], low: str, before: str, limit: int
    ) -> Sequence[Entry]:
        if low >= before:
            return []
        read = partial(self._query, equals, options, low, before, limit)
        found = chain.from_iterable(self._pool.map(read, partitions) if len(partitions) > 1 else map(read, partitions))
        return sorted(found, key=lambda entry: entry[0], reverse=True)[:limit]

    def _query(
        self, equals: str, options: Mapping[str, Any], low: str, before: str, limit: int, partition: str
    ) -> Sequence[Entry]:
        with translated("Query"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression=f"{equals} AND sk BETWEEN :low AND :before",
                ExpressionAttributeValues={
                    ":partition": {"S": partition},
                    ":low": {"S": low},
                    ":before": {"S": before},
                },
                ScanIndexForward=False,
                # BETWEEN includes an event at `before`.
                Limit=limit + 1,
                **options,
            )
        entries = [(item["sk"]["S"], _event(item)) for item in response["Items"]]
        return [entry for entry in entries if entry[0] < before][:limit]


def _event(item: Mapping[str, Mapping[str, str]]) -> AuditEvent:
    try:
        return event_of(item)
    except ValueError:
        raise StorageFault(operation="Read", code="UnreadableEvent") from None
