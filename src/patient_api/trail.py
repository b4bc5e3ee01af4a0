"""The audit trail in DynamoDB: items are added, never changed.

Keys are spread over 16 partitions an hour, so that no writer waits for another's; by record they are found through the
index `by-record`.
"""

from typing import Any, Final
from zlib import crc32

from botocore.exceptions import ClientError

from patient_api.audit import AuditEvent
from patient_api.aws import DynamoDB
from patient_api.faults import translated
from patient_api.patient import instant

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
        "outcome": event.outcome.value,
        "region": event.region,
        "source_ip": event.source_ip,
        "request_id": event.request_id,
        "version": event.version,
        "amends": event.amends,
    }
    item = {name: {"S": text} for name, text in texts.items() if text is not None}
    return {**item, "status": {"N": str(int(event.status))}}
