"""Process the streams of both tables: reconcile records, and report tampering and replication lag.

New versions and their lineage items are delivered together or apart, and in any order.

A stream delivers a batch at least once, and the changes of one item in order. The response lists the first change of
each record that failed. Lambda delivers the batch again from there, and reconciliation is idempotent
(https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).

The peer's heartbeats in the stream measure the replication lag.

Versions, lineage items and audit events are only ever added. IAM cannot allow adding an item and forbid replacing it,
so the change or removal of one is reported, unless both images of the change are equal. `TamperedItems` counts it each
time Lambda delivers it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from patient_api.contract.keys import LINEAGE_PREFIX, VERSION_PREFIX
from patient_api.contract.metrics import Metric
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import ReplicationLag
from patient_api.store.model import Item, RecordKey, version_of_item
from patient_api.store.reconciliation import Change, Link

_CHANGED: Final = frozenset({"MODIFY", "REMOVE"})
_APPEND_ONLY: Final = (VERSION_PREFIX, LINEAGE_PREFIX)
"""The beginnings of sort keys of items of the records table that must not change."""

Response = dict[str, list[dict[str, str]]]


@dataclass
class _Arrived:
    """The new versions and lineage items of one record in a batch, in stream order.

    `sequence` is the sequence number of the first one.
    """

    sequence: str
    items: list[Item] = field(default_factory=list)


class StreamProcessor:
    """Processes batches of stream records.

    `reconcile` reconciles one record and may raise StorageFault. `audit_table` is the name of the audit table. `lag`
    measures the replication lag.
    """

    def __init__(
        self,
        *,
        reconcile: Callable[[Change], None],
        audit_table: str,
        lag: ReplicationLag,
        log: StructuredLog,
    ) -> None:
        self._reconcile = reconcile
        self._lag = lag
        self._audit = f":table/{audit_table}/"
        self._log = log

    def __call__(self, event: Mapping[str, Any]) -> Response:
        """Reconcile each record of a batch once. Returns the failed items, which Lambda delivers again."""
        self._lag.publish(event["Records"])
        for entry in event["Records"]:
            if self._is_tampering(entry):
                self._report(entry)
        # A batch of the audit table contains no items of records.
        arrived = _by_record(event["Records"])
        failed = [arrivals.sequence for key, arrivals in arrived.items() if not self._reconciled(key, arrivals)]
        return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in failed]}

    def _is_tampering(self, entry: Mapping[str, Any]) -> bool:
        change = entry["dynamodb"]
        if entry["eventName"] not in _CHANGED or (
            "OldImage" in change and change["OldImage"] == change.get("NewImage")
        ):
            return False
        in_trail = self._audit in entry["eventSourceARN"]
        return in_trail or str(change["Keys"]["sk"]["S"]).startswith(_APPEND_ONLY)

    def _report(self, entry: Mapping[str, Any]) -> None:
        keys = {name: value["S"] for name, value in entry["dynamodb"]["Keys"].items()}
        # Keys contain ids and times, and no values of records.
        self._log.error("an item that must not change was changed", change=entry["eventName"], **keys)
        self._log.count({Metric.TAMPERED_ITEMS: 1})

    def _reconciled(self, key: RecordKey, arrivals: _Arrived) -> bool:
        try:
            self._reconcile(_change_of(key, arrivals))
        except StorageFault as fault:
            self._log.error("storage fault", operation=fault.operation, code=fault.code, **key_fields(key))
            self._log.count({Metric.KEY_FAILURES if fault.of_key else Metric.STORAGE_FAILURES: 1})
            return False
        except Exception as error:  # noqa: BLE001 - one record must not block the others of its batch
            self._log.unexpected(error, **key_fields(key))
            return False
        return True


def _by_record(stream: Sequence[Mapping[str, Any]]) -> dict[RecordKey, _Arrived]:
    found: dict[RecordKey, _Arrived] = {}
    for change in (entry["dynamodb"] for entry in stream if entry["eventName"] == "INSERT"):
        key, sk = _record_of(change["Keys"]["pk"]["S"]), change["Keys"]["sk"]["S"]
        if key is not None and sk.startswith(_APPEND_ONLY):
            found.setdefault(key, _Arrived(change["SequenceNumber"])).items.append(change["NewImage"])
    return found


def _record_of(pk: str) -> RecordKey | None:
    """Return the record of a partition, None for partitions of the platform and of the search index."""
    parts = pk.split("#")
    if len(parts) != 3 or pk.startswith("$") or "?" in pk:
        return None
    return RecordKey(*parts)


def _change_of(key: RecordKey, arrivals: _Arrived) -> Change:
    versions = [version_of_item(item) for item in arrivals.items if item["sk"]["S"].startswith(VERSION_PREFIX)]
    links = dict.fromkeys(map(Link.of, arrivals.items))
    return Change(key, tuple(links), max(versions, key=lambda version: version.stamp, default=None))


def key_fields(key: RecordKey) -> dict[str, str]:
    """Return the log fields that identify a record."""
    return {"tenant": key.tenant, "record": key.reference}
