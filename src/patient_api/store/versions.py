"""Store versions of records in DynamoDB.

A record is one partition: each version ever written is an item `v#<stamp>`, and `head#<region>` is a copy of the newest
version, on which writes in that region are conditional. The small item `l#<stamp>` repeats which versions a version
follows. A write adds its version and its lineage item, moves its region's head, and adds the index items and the audit
event, in one transaction.

Replication between regions resolves each item by last writer wins, and so could replace a newer copy by an older one. A
head is safe from that because only its own region writes it: it only moves forward, and a version that was acknowledged
in a region is never replaced there by a writer that has not read it. Reads return the newest version rather than the
head, which follows a moment later when a version arrives from the other region.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError

from patient_api.audit.trail import AuditTrail
from patient_api.aws import THROTTLES, DynamoDB, fault_of, translated
from patient_api.clock import Stamp
from patient_api.contract.audit import AuditEvent
from patient_api.contract.keys import AFTER_VERSIONS, CONFLICT_PREFIX, LINEAGE_PREFIX, VERSION_PREFIX
from patient_api.contract.keys import key as item_key
from patient_api.errors import Contention, HeadMismatch, StorageFault, Unprocessable
from patient_api.store.model import (
    Item,
    RecordKey,
    Token,
    Version,
    head_item,
    head_sk,
    lineage_item,
    token_item,
    version_item,
    version_of_item,
)
from patient_api.store.reconciliation import Conflict, Link

T = TypeVar("T")

HEAD_ATTEMPTS: Final = 3
TRANSACTION_ATTEMPTS: Final = 3
LARGEST_TRANSACTION: Final = 100  # actions of one TransactWriteItems

Put = Mapping[str, Any]
"""An item to write, as `Item`, and the condition for it."""

_NEW: Final = {"ConditionExpression": "attribute_not_exists(pk)"}
_FURTHER: Final = 3  # puts of a version, its head and its lineage item, before those of further items
# A transaction also holds the version, its head, its lineage item and the audit event.
_LARGEST_INDEX: Final = LARGEST_TRANSACTION - 4


@dataclass(frozen=True)
class HistoryPage:
    """A page of a record's history. `more` is whether older versions follow."""

    versions: Sequence[Version]
    more: bool


@dataclass(eq=False, repr=False, kw_only=True)
class VersionStore:
    """The records table in `region`. Every method raises StorageFault when DynamoDB fails.

    Reads with an audit event write it at the same time, and return nothing unless it is written. `pause` sleeps for
    seconds.
    """

    client: DynamoDB
    table: str
    region: str
    trail: AuditTrail
    pool: ThreadPoolExecutor
    pause: Callable[[float], None] = time.sleep

    def insert(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), items: Sequence[Put] = ()
    ) -> None:
        """Add a record's first version with its index items and further items.

        Raises HeadMismatch, and Contention also when the condition of a further item fails.
        """
        self._write(version, event, tokens, items, _NEW)

    def replace(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), items: Sequence[Put] = ()
    ) -> None:
        """Add a version if the record is still at the one that it replaces. Raises as `insert` does."""
        expected = str(version.replaces)
        condition = _head_is(expected)
        for _ in range(HEAD_ATTEMPTS - 1):
            try:
                return self._write(version, event, tokens, items, condition)
            except HeadMismatch:
                # The expected version may have come from the other region just now. Then it is the newest one, and this
                # region's head has yet to follow.
                newest = self.newest(version.key)
                head = self._head(version.key)
                if newest is None or str(newest.stamp) != expected or (head is not None and head > expected):
                    raise
                condition = _NEW if head is None else _head_is(head)
        return self._write(version, event, tokens, items, condition)

    def put(self, item: Put, event: AuditEvent) -> None:
        """Write an item that is no version, with its audit event. Raises Contention when its condition fails."""
        self._transact([{"TableName": self.table, **item}, self.trail.put_request(event)], further=range(1))

    def newest(self, key: RecordKey, event: AuditEvent | None = None) -> Version | None:
        """Return the newest version in this region, None when there is none."""
        return self._with_event(event, lambda: self._first(key, ascending=False))

    def version(self, key: RecordKey, stamp: Stamp, event: AuditEvent) -> Version | None:
        """Return a version, None when this region does not have it."""

        def read() -> Version | None:
            item = self._item(key, f"{VERSION_PREFIX}{stamp}")
            return version_of_item(item) if item else None

        return self._with_event(event, read)

    def history(self, key: RecordKey, event: AuditEvent, *, limit: int, before: Stamp | None = None) -> HistoryPage:
        """Return up to `limit` versions older than `before`, newest first."""

        def read() -> HistoryPage:
            last = f"{VERSION_PREFIX}{before}" if before is not None else AFTER_VERSIONS
            # One more than the page, and `before` itself, which BETWEEN includes.
            found, cut = self._versions(key, ascending=False, last=last, Limit=limit + 2)
            older = [version for version in found if version.stamp != before]
            # A response of DynamoDB is at most 1 MB, so it may have fewer items than the limit.
            return HistoryPage(older[:limit], more=len(older) > limit or (cut and len(found) < limit + 2))

        return self._with_event(event, read)

    def holds(self, key: RecordKey, stamp: Stamp) -> bool:
        """Return whether this region has the version. Its lineage item alone is not enough."""
        return self._has_version(key, str(stamp))

    def is_in_conflict(self, key: RecordKey, stamp: Stamp) -> bool:
        """Return whether a marker names the version, whether or not this region has it."""
        return any(str(stamp) in conflict.members for conflict in self._conflicts(key))

    def is_followed(self, key: RecordKey, stamp: Stamp, *, until: Stamp) -> bool:
        """Return whether a version up to `until` that this region has replaces or merges this one.

        The lineage items between both are read. Replication may have brought one without its version, so the versions
        themselves are looked up.
        """
        start: dict[str, Any] = {}
        while True:
            with translated("Query"):
                response = self.client.query(
                    TableName=self.table,
                    KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                    ExpressionAttributeValues={
                        ":pk": {"S": key.partition},
                        ":first": {"S": f"{LINEAGE_PREFIX}{stamp}"},
                        ":last": {"S": f"{LINEAGE_PREFIX}{until}"},
                    },
                    ConsistentRead=True,
                    **start,
                )
            links = map(Link.of, response["Items"])
            if any(str(stamp) in link.follows and self._has_version(key, link.stamp) for link in links):
                return True
            if "LastEvaluatedKey" not in response:
                return False
            start = {"ExclusiveStartKey": response["LastEvaluatedKey"]}

    def follows(self, key: RecordKey) -> bool:
        """Return whether this region has a head of the record, so that `insert` would raise HeadMismatch."""
        return self._head(key) is not None

    def first(self, key: RecordKey) -> Version | None:
        """Return the oldest version, None when there is none."""
        return self._first(key, ascending=True)

    def concurrent(self, key: RecordKey, versions: Sequence[Version]) -> Mapping[Stamp, Sequence[str]]:
        """Return, for each of these versions of a record, those written concurrently in another region.

        Equal siblings are left out. A version whose lineage item has not arrived here is assumed to differ.
        """
        # A member that resolved a conflict descends from the others, and is concurrent with none of them.
        groups = [conflict.members - {conflict.resolved} for conflict in self._conflicts(key)]
        held = {str(version.stamp): Link.of(version_item(version)) for version in versions}
        members = set[str]().union(*(group for group in groups if not group.isdisjoint(held)))
        for stamp in sorted(members - held.keys()):
            item = self._item(key, f"{LINEAGE_PREFIX}{stamp}")
            if item is not None:
                held[stamp] = Link.of(item)

        def others(own: str) -> Sequence[str]:
            near = {other for group in groups if own in group for other in group} - {own}
            return sorted(other for other in near if other not in held or not held[own].equals(held[other]))

        return {version.stamp: others(str(version.stamp)) for version in versions}

    def _conflicts(self, key: RecordKey) -> Sequence[Conflict]:
        """Return the conflicts of a record."""
        with translated("Query"):
            response = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :conflicts)",
                ExpressionAttributeValues={":pk": {"S": key.partition}, ":conflicts": {"S": CONFLICT_PREFIX}},
                ConsistentRead=True,
            )
        return [Conflict.of(item) for item in response["Items"]]

    def _first(self, key: RecordKey, *, ascending: bool) -> Version | None:
        found, _ = self._versions(key, ascending=ascending, Limit=1)
        return next(iter(found), None)

    def _versions(
        self, key: RecordKey, *, ascending: bool, last: str = AFTER_VERSIONS, **limits: int
    ) -> tuple[Sequence[Version], bool]:
        """Return versions up to a sort key, and whether DynamoDB stopped before the last of them."""
        with translated("Query"):
            response = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":pk": {"S": key.partition},
                    ":first": {"S": VERSION_PREFIX},
                    ":last": {"S": last},
                },
                ScanIndexForward=ascending,
                ConsistentRead=True,
                **limits,
            )
        return [version_of_item(item) for item in response["Items"]], "LastEvaluatedKey" in response

    def _has_version(self, key: RecordKey, stamp: str) -> bool:
        return self._item(key, f"{VERSION_PREFIX}{stamp}", ProjectionExpression="sk") is not None

    def _head(self, key: RecordKey) -> str | None:
        """Return the stamp of this region's head."""
        item = self._item(key, head_sk(self.region))
        return item["version"]["S"] if item else None

    def _item(self, key: RecordKey, sk: str, **options: str) -> Item | None:
        with translated("GetItem"):
            response = self.client.get_item(
                TableName=self.table, Key=item_key(key.partition, sk), ConsistentRead=True, **options
            )
        item: Item | None = response.get("Item")
        return item

    def _with_event(self, event: AuditEvent | None, read: Callable[[], T]) -> T:
        """Return the result of `read`, executed while the event is written. Raises when either fails."""
        if event is None:
            return read()
        written = self.pool.submit(self.trail.put, event)
        try:
            result = read()
        finally:
            written.exception()  # waits
        written.result()
        return result

    def _write(
        self,
        version: Version,
        event: AuditEvent,
        tokens: Collection[Token],
        items: Sequence[Put],
        condition: dict[str, Any],
    ) -> None:
        check_index_size(tokens, items)
        puts = [
            {"Item": version_item(version), **_NEW},
            {"Item": head_item(version, self.region), **condition},
            {"Item": lineage_item(version), **_NEW},
            *items,
            *({"Item": token_item(version, token)} for token in tokens),
        ]
        further = range(_FURTHER, _FURTHER + len(items))
        self._transact(
            [*({"TableName": self.table, **put} for put in puts), self.trail.put_request(event)], further=further
        )

    def _transact(self, puts: Sequence[Mapping[str, Any]], *, further: range) -> None:
        """Execute all of the puts or none. The second one is that of the head; `further` are those of further items."""
        request = {
            "TransactItems": [{"Put": put} for put in puts],
            # DynamoDB recognizes a retry whose first response was lost, instead of failing its conditions.
            "ClientRequestToken": str(uuid4()),
        }
        for attempt in range(1, TRANSACTION_ATTEMPTS + 1):
            with translated("TransactWriteItems"):
                try:
                    self.client.transact_write_items(**request)
                except ClientError as error:
                    _check_conflict(error, head=1, further=further)
                else:
                    return
            if attempt < TRANSACTION_ATTEMPTS:
                self.pause(random.uniform(0.02, 0.08) * attempt)  # noqa: S311 - spreads writers, guards nothing
        raise Contention


def check_index_size(tokens: Collection[Token], items: Collection[Put] = ()) -> None:
    """Check that a version and its index items fit into one transaction. Raises Unprocessable."""
    if len(tokens) + len(items) > _LARGEST_INDEX:
        raise Unprocessable("The resource has too many names and identifiers to be indexed.")


def _head_is(stamp: str) -> dict[str, Any]:
    """Return the condition that the head is at this version."""
    return {
        "ConditionExpression": "#version = :expected",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":expected": {"S": stamp}},
    }


def _check_conflict(error: ClientError, *, head: int, further: range) -> None:
    """Return if the error is a conflict with another transaction, and raise for every other reason.

    Reasons have the order of the items, with the code `None` for items that caused no failure
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    """
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        raise error
    codes = [str(reason.get("Code", "None")) for reason in error.response.get("CancellationReasons", ())]
    if codes[head : head + 1] == ["ConditionalCheckFailed"]:
        raise HeadMismatch
    if "ConditionalCheckFailed" in codes[further.start : further.stop]:
        raise Contention
    causes = [code for code in codes if code != "None"]
    if "TransactionConflict" in causes:
        return
    throttles = [code for code in causes if code in THROTTLES]
    if throttles:
        raise StorageFault(operation="TransactWriteItems", code=throttles[0], throttled=True)
    if causes:
        raise StorageFault(operation="TransactWriteItems", code=causes[0], of_key="KMS" in causes[0])
    raise fault_of(error, "TransactWriteItems")
