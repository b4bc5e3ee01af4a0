"""The sign of life of a region: an item that it overwrites every minute and that replication carries to the other one.

It says where the region's own API is, so that each region learns the other's address without being told by a stack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from patient_api.aws import DynamoDB
from patient_api.errors import StorageFault
from patient_api.faults import translated

PARTITION: Final = "$platform#heartbeat"


@dataclass(frozen=True)
class Heartbeat:
    """`at_ms` is in milliseconds since 1970, by the writer's clock; `endpoint` the base address of its own API."""

    region: str
    at_ms: int
    endpoint: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Heartbeat":
        """The heartbeat in an item. Raises StorageFault for what no sentinel has written."""
        try:
            return cls(item["sk"]["S"], int(item["at"]["N"]), item["endpoint"]["S"])
        except (KeyError, TypeError, ValueError):
            raise StorageFault(operation="Read", code="UnreadableHeartbeat") from None


class Heartbeats:
    """The heartbeats in this region's replica of the records' table. Both methods raise StorageFault."""

    def __init__(self, *, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def write(self, heartbeat: Heartbeat) -> None:
        """Put it in place of the region's last one."""
        item = {
            "pk": {"S": PARTITION},
            "sk": {"S": heartbeat.region},
            "at": {"N": str(heartbeat.at_ms)},
            "endpoint": {"S": heartbeat.endpoint},
        }
        with translated("PutItem"):
            self._client.put_item(TableName=self._table, Item=item)

    def newest(self, region: str) -> Heartbeat | None:
        """The last one of `region` that has arrived here."""
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key={"pk": {"S": PARTITION}, "sk": {"S": region}}, ConsistentRead=True
            )
        return Heartbeat.of(answer["Item"]) if "Item" in answer else None
