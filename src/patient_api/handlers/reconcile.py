"""The Lambda entry point for the streams of both tables. Reconciles records with versions that arrived in this region.

A stream delivers a batch at least once, and the changes of an item in their order. The function returns the sequence
number of the first change that failed; Lambda then delivers the batch again from there, and reconciling again is
idempotent (https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).

The stream also delivers the peer's heartbeats, which measure the replication lag.

Versions and audit events are only ever added. IAM cannot allow adding an item and forbid replacing it, so a change or
removal of one is reported: `TamperedItems` counts it each time Lambda delivers it.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from patient_api.aws import Clients
from patient_api.contract.functions import RECONCILE, SENTINEL, Environment
from patient_api.contract.keys import VERSION_PREFIX
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import ReplicationLag
from patient_api.store.model import Item, RecordKey, version_of_item
from patient_api.store.reconciliation import Change, Link, Reconciler

# Under whose name the lag is published, with all else that a region says of its peer.

_CHANGED: Final = frozenset({"MODIFY", "REMOVE"})

Response = dict[str, list[dict[str, str]]]


@dataclass
class _Arrived:
    """A record's part in a batch: its new versions in their order, and the number of the first."""

    sequence: str
    versions: list[Item] = field(default_factory=list)


class Reconciliation:
    """`reconcile` does it for one record, and may raise StorageFault. `audit_table` is the name of the audit table;
    `heartbeats` looks for those of the peer."""

    def __init__(
        self,
        *,
        reconcile: Callable[[Change], None],
        audit_table: str,
        heartbeats: ReplicationLag,
        log: StructuredLog,
    ) -> None:
        self._reconcile = reconcile
        self._heartbeats = heartbeats
        self._audit = f":table/{audit_table}/"
        self._log = log

    def __call__(self, event: Mapping[str, Any]) -> Response:
        """Reconcile each record of a batch once. Returns the items that failed, for Lambda to deliver again."""
        self._heartbeats.publish(event["Records"])
        for entry in event["Records"]:
            if self._is_tampering(entry):
                self._report(entry)
        # In a batch of the audit table there is no version.
        arrived = _by_record(event["Records"])
        failed = [arrivals.sequence for key, arrivals in arrived.items() if not self._reconciled(key, arrivals)]
        return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence in failed]}

    def _is_tampering(self, entry: Mapping[str, Any]) -> bool:
        if entry["eventName"] not in _CHANGED:
            return False
        in_trail = self._audit in entry["eventSourceARN"]
        return in_trail or str(entry["dynamodb"]["Keys"]["sk"]["S"]).startswith(VERSION_PREFIX)

    def _report(self, entry: Mapping[str, Any]) -> None:
        keys = {name: value["S"] for name, value in entry["dynamodb"]["Keys"].items()}
        # Keys hold ids and times, but no patient data.
        self._log.error("an item that must not change was changed", change=entry["eventName"], **keys)
        self._log.count({"TamperedItems": 1})

    def _reconciled(self, key: RecordKey, arrivals: _Arrived) -> bool:
        try:
            self._reconcile(_change(key, arrivals))
        except StorageFault as fault:
            self._log.error("storage fault", operation=fault.operation, code=fault.code, **_named(key))
            self._log.count({"KeyFailures" if fault.of_key else "StorageFailures": 1})
            return False
        except Exception as error:  # noqa: BLE001 - the last resort: one record must not hold up all others
            self._log.unexpected(error, **_named(key))
            return False
        return True


def build(*, environment: Environment, clients: Clients, log: StructuredLog) -> Reconciliation:
    """The reconciliation of one region on these clients."""
    heartbeats = ReplicationLag(
        peer_region=environment.peer_region,
        log=StructuredLog(service=SENTINEL.name, region=environment.region, level=environment.log_level),
        now_ms=lambda: time.time_ns() // 1_000_000,
    )

    def opened(key: RecordKey, after: str) -> None:
        log.info("conflict", after=after, **_named(key))
        log.count({"Conflicts": 1})

    reconciler = Reconciler(
        client=clients.dynamodb(),
        table=environment.records_table,
        region=environment.region,
        opened=opened,
    )
    return Reconciliation(
        reconcile=reconciler.reconcile,
        audit_table=environment.audit_table,
        heartbeats=heartbeats,
        log=log,
    )


def wire(variables: Mapping[str, str]) -> Reconciliation:
    """The reconciliation as Lambda's environment describes it. Raises KeyError with the name of what is not set."""
    environment = Environment.of(variables, RECONCILE)
    return build(
        environment=environment,
        clients=Clients(region=environment.region),
        log=StructuredLog(service=RECONCILE.name, region=environment.region, level=environment.log_level),
    )


def _by_record(stream: Sequence[Mapping[str, Any]]) -> dict[RecordKey, _Arrived]:
    found: dict[RecordKey, _Arrived] = {}
    for change in (entry["dynamodb"] for entry in stream if entry["eventName"] == "INSERT"):
        key, sk = _record_of(change["Keys"]["pk"]["S"]), change["Keys"]["sk"]["S"]
        if key is not None and sk.startswith(VERSION_PREFIX):
            found.setdefault(key, _Arrived(change["SequenceNumber"])).versions.append(change["NewImage"])
    return found


def _record_of(pk: str) -> RecordKey | None:
    """The record whose partition this is; None for the platform's own and for those a search looks in."""
    parts = pk.split("#")
    if len(parts) != 3 or pk.startswith("$") or "?" in pk:
        return None
    return RecordKey(*parts)


def _change(key: RecordKey, arrivals: _Arrived) -> Change:
    newest = max((version_of_item(item) for item in arrivals.versions), key=lambda version: version.stamp)
    return Change(key, tuple(Link.of(item) for item in arrivals.versions), newest)


def _named(key: RecordKey) -> dict[str, str]:
    return {"tenant": key.tenant, "record": key.reference}


@cache
def _wired() -> Reconciliation:
    return wire(os.environ)


def handler(event: Mapping[str, Any], context: object) -> Response:  # noqa: ARG001 - Lambda's signature
    """Answer one batch of the stream."""
    return _wired()(event)
