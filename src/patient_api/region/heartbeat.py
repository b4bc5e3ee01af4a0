"""Write and read heartbeats, and measure replication lag by them.

A region overwrites its heartbeat every minute, and replication carries it to the other region. The heartbeat contains
the address of the region's own API, so neither stack needs an output of the other.

The lag is measured where heartbeats arrive in the table's stream, because a read shows only how old the last heartbeat
is. DynamoDB's own `ReplicationLatency` is published by the region that sends, which may be the lost one, and has no
data while nothing is written.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from patient_api.aws import DynamoDB, date_of, translated
from patient_api.contract.keys import HEARTBEAT_PARTITION, key
from patient_api.contract.metrics import Metric
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog


@dataclass(frozen=True)
class Heartbeat:
    """`at_ms` is when it was written, in milliseconds since 1970. `endpoint` is the address of its region's own API."""

    region: str
    at_ms: int
    endpoint: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Heartbeat":
        """Return the heartbeat in an item. Raises StorageFault when the item has another form."""
        try:
            return cls(item["sk"]["S"], int(item["at"]["N"]), item["endpoint"]["S"])
        except (KeyError, TypeError, ValueError):
            raise StorageFault(operation="Read", code="UnreadableHeartbeat") from None


class Heartbeats:
    """The heartbeats in this region's replica of the records table. All methods raise StorageFault."""

    def __init__(self, *, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    def write(self, heartbeat: Heartbeat) -> None:
        """Replace the region's last heartbeat."""
        item = {
            **key(HEARTBEAT_PARTITION, heartbeat.region),
            "at": {"N": str(heartbeat.at_ms)},
            "endpoint": {"S": heartbeat.endpoint},
        }
        with translated("PutItem"):
            self._client.put_item(TableName=self._table, Item=item)

    def newest(self, region: str) -> Heartbeat | None:
        """Return the last heartbeat of `region` that arrived here, None when there is none."""
        response = self._get(region)
        return Heartbeat.of(response["Item"]) if "Item" in response else None

    def time_ms(self, region: str) -> int:
        """Return DynamoDB's time in milliseconds since 1970, rounded down to a second, from a read of the heartbeat.

        The clock of the function may be wrong.
        """
        try:
            return int(parsedate_to_datetime(date_of(self._get(region)) or "").timestamp()) * 1000
        except ValueError:
            raise StorageFault(operation="Read", code="UnreadableDate") from None

    def _get(self, region: str) -> dict[str, Any]:
        with translated("GetItem"):
            return self._client.get_item(
                TableName=self._table, Key=key(HEARTBEAT_PARTITION, region), ConsistentRead=True
            )


class ReplicationLag:
    """Publishes `ReplicationLag` for each heartbeat of `peer_region` in a stream. `now_ms` is milliseconds since 1970.

    The lag is an upper bound, by up to two seconds: a heartbeat and its arrival are dated by DynamoDB in whole seconds.
    Where the time of arrival is later than `now_ms`, the lag is as exact as the clock of the function.
    """

    def __init__(self, *, peer_region: str, log: StructuredLog, now_ms: Callable[[], int]) -> None:
        self._peer_region = peer_region
        self._log = log
        self._now_ms = now_ms

    def publish(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Publish the lag of each heartbeat in a batch of a stream. Logs heartbeats that cannot be read."""
        for change in (entry["dynamodb"] for entry in records if entry["eventName"] != "REMOVE"):
            keys = change["Keys"]
            if (keys["pk"]["S"], keys["sk"]["S"]) != (HEARTBEAT_PARTITION, self._peer_region):
                continue
            try:
                written_ms = Heartbeat.of(change.get("NewImage", {})).at_ms
            except StorageFault as fault:
                self._log.error("storage fault", operation=fault.operation, code=fault.code)
                continue
            lag_ms = max(0, self._arrived_ms(change) - written_ms)
            self._log.count({Metric.REPLICATION_LAG: lag_ms / 1000}, unit="Seconds")

    def _arrived_ms(self, change: Mapping[str, Any]) -> int:
        # Reading the stream late is no lag, so the time of arrival counts. It has whole seconds, rounded down.
        now_ms, arrived = self._now_ms(), change.get("ApproximateCreationDateTime")
        return now_ms if arrived is None else min(now_ms, (int(arrived) + 1) * 1000)
