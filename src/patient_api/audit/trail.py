"""The audit trail in DynamoDB: items are added, never changed.

Keys are spread over 16 partitions an hour, so that no writer waits for another's; by record they are found through the
index `by-record`.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

from botocore.exceptions import ClientError

from patient_api.audit.event import AuditEvent
from patient_api.aws import DynamoDB
from patient_api.clock import instant
from patient_api.faults import translated

SHARDS: Final = 16


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
            "Item": _item(event),
            "ConditionExpression": "attribute_not_exists(pk)",
        }


def _item(event: AuditEvent) -> dict[str, dict[str, str]]:
    at = instant(event.at)
    shard = crc32(event.id.encode()) % SHARDS
    texts = {
        "pk": f"{event.tenant}#{at[:13]}#{shard:02d}",
        "sk": f"{at}#{event.id}",
        "record": f"{event.tenant}#{event.record}",
        "at": at,
        "event": event.id,
        "tenant": event.tenant,
        "subject": event.subject,
        "action": event.action.value,
        "interaction": event.interaction,
        "outcome": event.outcome.value,
        "region": event.region,
        "source_ip": event.source_ip,
        "request_id": event.request_id,
        "entity": event.entity,
        "version": event.version,
        "amends": event.amends,
    }
    item = {name: {"S": text} for name, text in texts.items() if text is not None}
    return {**item, "status": {"N": str(int(event.status))}}
