"""Write and read the audit trail in DynamoDB. Items are added and never changed.

Events are read newest first: by patient, through the index `by-record`, or hour by hour, from all shards of the hour.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB
from patient_api.aws_errors import translated
from patient_api.contract.audit import SHARDS, AuditEvent, event_of, hour_partition, item_of, record_partition
from patient_api.contract.keys import PATIENT, RECORD_INDEX
from patient_api.errors import StorageFault


class AuditTrail:
    """The trail's table, `audit_logs`."""

    def __init__(self, *, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, event: AuditEvent) -> None:
        """Keep one event. Raises StorageFault."""
        with translated("PutItem"):
            try:
                self._client.put_item(**self.request(event))
            except ClientError as error:
                # The event's id is unique: what is there is this very item, kept by an attempt whose answer got lost.
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise

    def put_all(self, events: Sequence[AuditEvent]) -> None:
        """Keep all of at most 100 events, or none. Raises StorageFault."""
        if len(events) == 1:
            self.put(events[0])
            return
        with translated("TransactWriteItems"):
            self._client.transact_write_items(
                TransactItems=[{"Put": self.request(event)} for event in events], ClientRequestToken=str(uuid4())
            )

    def request(self, event: AuditEvent) -> dict[str, Any]:
        """The put of one event, by itself or within a transaction."""
        return {
            "TableName": self._table,
            "Item": item_of(event),
            "ConditionExpression": "attribute_not_exists(pk)",
        }


Placed = tuple[str, AuditEvent]


class AuditLog:
    """The trail's table, `audit_logs`. A place in it is the sort key of an event, `<instant>#<id>`, or begins like one.

    Every method raises StorageFault.
    """

    def __init__(self, *, client: DynamoDB, table: str, pool: ThreadPoolExecutor) -> None:
        self._client = client
        self._table = table
        self._pool = pool

    def of_patients(
        self, tenant: str, patients: Sequence[str], *, low: str, before: str, limit: int
    ) -> Sequence[Placed]:
        """The newest events, at most `limit`, about any of the patients, from the place `low` to ahead of `before`."""
        # `record` is a word of DynamoDB's own.
        index = {"IndexName": RECORD_INDEX, "ExpressionAttributeNames": {"#record": "record"}}
        records = [record_partition(tenant, f"{PATIENT}/{patient}") for patient in patients]
        return self._newest("#record = :partition", records, index, low, before, limit)

    def of_hour(self, tenant: str, hour: str, *, low: str, before: str, limit: int) -> Sequence[Placed]:
        """The newest events, at most `limit`, of an hour such as `2027-01-15T08`, as `of_patients`."""
        shards = [hour_partition(tenant, hour, shard) for shard in range(SHARDS)]
        return self._newest("pk = :partition", shards, {"ConsistentRead": True}, low, before, limit)

    def _newest(
        self, equals: str, partitions: Sequence[str], how: Mapping[str, Any], low: str, before: str, limit: int
    ) -> Sequence[Placed]:
        if low >= before:
            return []
        read = partial(self._partition, equals, how, low, before, limit)
        found = chain.from_iterable(self._pool.map(read, partitions) if len(partitions) > 1 else map(read, partitions))
        return sorted(found, key=lambda placed: placed[0], reverse=True)[:limit]

    def _partition(
        self, equals: str, how: Mapping[str, Any], low: str, before: str, limit: int, partition: str
    ) -> Sequence[Placed]:
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression=f"{equals} AND sk BETWEEN :low AND :before",
                ExpressionAttributeValues={
                    ":partition": {"S": partition},
                    ":low": {"S": low},
                    ":before": {"S": before},
                },
                ScanIndexForward=False,
                # BETWEEN takes the event at `before` along, if there is one.
                Limit=limit + 1,
                **how,
            )
        placed = [(item["sk"]["S"], event_in(item)) for item in answer["Items"]]
        return [one for one in placed if one[0] < before][:limit]


def event_in(item: Mapping[str, Mapping[str, str]]) -> AuditEvent:
    """Return the event of an item. Raises StorageFault when the item does not have the form of an event."""
    try:
        return event_of(item)
    except ValueError:
        raise StorageFault(operation="Read", code="UnreadableEvent") from None
