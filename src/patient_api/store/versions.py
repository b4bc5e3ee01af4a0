"""Store versions of records in DynamoDB.

A record is one partition: each version ever written is an item `v#<stamp>`, and `head#<region>` is a copy of the newest
version, on which writes in that region are conditional. A write adds its version, moves its region's head, and adds the
index items and the audit event, in one transaction.

Replication between regions resolves each item by last writer wins, and so could replace a newer copy by an older one. A
head is safe from that because only its own region writes it: it only moves forward, and a version that was acknowledged
in a region is never replaced there by a writer that has not read it. Reads return the newest version rather than the
head, which follows a moment later when a version arrives from the other region.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from patient_api.audit.trail import AuditTrail
from patient_api.aws import DynamoDB
from patient_api.aws_errors import translated
from patient_api.clock import Stamp
from patient_api.contract.audit import AuditEvent
from patient_api.contract.keys import CONFLICT_PREFIX, VERSION_PREFIX
from patient_api.errors import HeadMismatch, Unprocessable
from patient_api.store.model import (
    Item,
    Marker,
    RecordKey,
    Token,
    Version,
    head_item,
    head_sk,
    marker_item,
    pk,
    token_item,
    version_in,
    version_item,
)
from patient_api.store.transactions import LARGEST, Transactions

T = TypeVar("T")

HEAD_ATTEMPTS: Final = 3

_NEW: Final = {"ConditionExpression": "attribute_not_exists(pk)"}
# What one transaction takes beside the version, its head and the audit event.
_BESIDE: Final = LARGEST - 3
_AFTER_ALL: Final = f"{VERSION_PREFIX}~"  # stamps begin with a digit


@dataclass(frozen=True)
class HistoryPage:
    """A page of a record's history. `more` is whether older versions follow."""

    versions: Sequence[Version]
    more: bool


class VersionStore:
    """The records' table, `patient_records`, in `region`. Every method raises StorageFault when the store fails."""

    def __init__(
        self,
        *,
        client: DynamoDB,
        table: str,
        region: str,
        trail: AuditTrail,
        transactions: Transactions,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._client = client
        self._table = table
        self._region = region
        self._trail = trail
        self._transactions = transactions
        self._pool = pool

    def insert(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), markers: Sequence[Marker] = ()
    ) -> None:
        """Add a record's first version and all that belongs to it, or nothing. Raises HeadMismatch, Contention."""
        self._write(version, event, tokens, markers, _NEW)

    def replace(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), markers: Sequence[Marker] = ()
    ) -> None:
        """Add a version, if the record is still at the one it replaces. Raises HeadMismatch, Contention."""
        expected = str(version.replaces)
        condition = _at(expected)
        for _ in range(HEAD_ATTEMPTS - 1):
            try:
                return self._write(version, event, tokens, markers, condition)
            except HeadMismatch:
                # A version from the other region is here before this region's head is put to it, which may happen any
                # moment: then it is the head that is wrong.
                newest = self.newest(version.key)
                head = self._head_version(version.key)
                if newest is None or str(newest.stamp) != expected or (head is not None and head > expected):
                    raise
                condition = _NEW if head is None else _at(head)
        return self._write(version, event, tokens, markers, condition)

    def newest(self, key: RecordKey, event: AuditEvent | None = None) -> Version | None:
        """The newest version in this region, None when there is none; with `event` on record beyond doubt."""
        return self._with_event(event, lambda: self._newest(key))

    def version(self, key: RecordKey, stamp: Stamp, event: AuditEvent) -> Version | None:
        """That very version, None when this region has it not; with `event` on record beyond doubt."""
        return self._with_event(event, lambda: self._item(key, f"{VERSION_PREFIX}{stamp}"))

    def history(self, key: RecordKey, event: AuditEvent, *, limit: int, before: Stamp | None = None) -> HistoryPage:
        """At most `limit` versions, newest first, older than `before`; with `event` on record beyond doubt."""
        return self._with_event(event, lambda: self._past(key, limit=limit, before=before))

    def holds(self, key: RecordKey, stamp: Stamp) -> bool:
        """Return whether this region has the version."""
        return self._get(key, f"{VERSION_PREFIX}{stamp}") is not None

    def first(self, key: RecordKey) -> Version | None:
        """The oldest version."""
        found, _ = self._versions(key, ascending=True, Limit=1)
        return next(iter(found), None)

    def conflicts(self, key: RecordKey) -> Sequence[frozenset[str]]:
        """The groups of versions that were written at the same time in different regions."""
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :conflicts)",
                ExpressionAttributeValues={":pk": {"S": pk(key)}, ":conflicts": {"S": CONFLICT_PREFIX}},
                ConsistentRead=True,
            )
        return [frozenset(member["S"] for member in item["members"]["L"]) for item in answer["Items"]]

    def _newest(self, key: RecordKey) -> Version | None:
        found, _ = self._versions(key, ascending=False, Limit=1)
        return next(iter(found), None)

    def _past(self, key: RecordKey, *, limit: int, before: Stamp | None) -> HistoryPage:
        upto = f"{VERSION_PREFIX}{before}" if before is not None else _AFTER_ALL
        found, cut = self._versions(key, ascending=False, upto=upto, Limit=limit + 2)
        older = [version for version in found if version.stamp != before]
        # One answer of DynamoDB ends at 1 MB, however many were asked for.
        return HistoryPage(older[:limit], more=len(older) > limit or (cut and len(found) < limit + 2))

    def _versions(
        self, key: RecordKey, *, ascending: bool, upto: str = _AFTER_ALL, **bounds: int
    ) -> tuple[Sequence[Version], bool]:
        """Versions up to a sort key, and whether DynamoDB stopped before the last of them."""
        with translated("Query"):
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":pk": {"S": pk(key)},
                    ":first": {"S": VERSION_PREFIX},
                    ":last": {"S": upto},
                },
                ScanIndexForward=ascending,
                ConsistentRead=True,
                **bounds,
            )
        return [version_in(item) for item in answer["Items"]], "LastEvaluatedKey" in answer

    def _item(self, key: RecordKey, sk: str) -> Version | None:
        item = self._get(key, sk)
        return version_in(item) if item else None

    def _head_version(self, key: RecordKey) -> str | None:
        item = self._get(key, head_sk(self._region))
        return item["version"]["S"] if item else None

    def _get(self, key: RecordKey, sk: str) -> Item | None:
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key={"pk": {"S": pk(key)}, "sk": {"S": sk}}, ConsistentRead=True
            )
        item: Item | None = answer.get("Item")
        return item

    def _with_event(self, event: AuditEvent | None, read: Callable[[], T]) -> T:
        """Return the result of `read`, executed while the event is written. Raises when either fails."""
        if event is None:
            return read()
        written = self._pool.submit(self._trail.put, event)
        try:
            found = read()
        finally:
            wait((written,))
        written.result()
        return found

    def _write(
        self,
        version: Version,
        event: AuditEvent,
        tokens: Collection[Token],
        markers: Sequence[Marker],
        condition: dict[str, Any],
    ) -> None:
        check_tokens(tokens, markers)
        puts = [
            {"Item": version_item(version), **_NEW},
            {"Item": head_item(version, self._region), **condition},
            *({"Item": marker_item(marker)} for marker in markers),
            *({"Item": token_item(version, token)} for token in tokens),
        ]
        self._transactions.write(
            [*({"TableName": self._table, **put} for put in puts), self._trail.request(event)], head=1
        )


def check_tokens(tokens: Collection[Token], markers: Collection[Marker] = ()) -> None:
    """Check that a version can be written with all that finds it. Raises Unprocessable."""
    if len(tokens) + len(markers) > _BESIDE:
        raise Unprocessable("The resource has too many names and identifiers to be found by.")


def _at(version: str) -> dict[str, Any]:
    """The condition that the head is at this version."""
    return {
        "ConditionExpression": "#version = :expected",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":expected": {"S": version}},
    }
