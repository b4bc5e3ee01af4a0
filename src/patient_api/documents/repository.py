"""Store documents in the records table: their versions, one replica item for each region, and the lists of open work.

A replica item has the sort key `replica#<region>` and the fields of `lifecycle.Replica`. While its document is open, it
is in a partition of the index `by-update`: `$platform#pending#<region>` or `$platform#awaited#<region>`. The entries
of a tenant are adjacent there, so that a reader can take some of each tenant without reading all of any.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB, translated
from patient_api.contract.audit import AuditEvent
from patient_api.contract.keys import (
    AFTER_VERSIONS,
    REPLICA_PREFIX,
    UPDATE_INDEX,
    USED_KEY,
    VERSION_PREFIX,
    awaited_partition,
    pending_partition,
)
from patient_api.contract.keys import key as item_key
from patient_api.documents.lifecycle import (
    ANNOUNCE,
    Actor,
    Document,
    Listing,
    Replica,
    State,
    Transition,
    check,
)
from patient_api.errors import Contention, StorageFault
from patient_api.store.model import Item, RecordKey, Token, Version, version_of_item
from patient_api.store.versions import Put, VersionStore

PAGE: Final = 500
"""Entries of a list that one request reads."""

_AFTER_TENANT: Final = "#~"  # sorts after every entry of a tenant, and before those of the next one
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS: Final = ("upload", "version_id", "sha256")


@dataclass(frozen=True)
class ListEntry:
    """An open document, and the time by which its list is ordered."""

    key: RecordKey
    listing: Listing
    at: datetime


@dataclass(frozen=True)
class UsedKey:
    """An Idempotency-Key, as the key of a record, and the fingerprint of the request that it is used with."""

    key: RecordKey
    fingerprint: str

    @property
    def put(self) -> Put:
        """The put of its item, which another request with the key has not written."""
        return {
            "Item": {**item_key(self.key.partition, USED_KEY), "fingerprint": {"S": self.fingerprint}},
            "ConditionExpression": "attribute_not_exists(pk) OR #fingerprint = :fingerprint",
            "ExpressionAttributeNames": {"#fingerprint": "fingerprint"},
            "ExpressionAttributeValues": {":fingerprint": {"S": self.fingerprint}},
        }


class DocumentRepository:
    """The documents in this region's replica of the records table. Every method raises StorageFault."""

    def __init__(self, *, client: DynamoDB, table: str, region: str, records: VersionStore) -> None:
        self.region = region
        self._client = client
        self._table = table
        self._records = records

    def read(self, key: RecordKey) -> Document:
        """Return the document with all items that this region has."""
        versions: list[Version] = []
        replicas: list[Replica] = []
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":pk": {"S": key.partition},
                ":first": {"S": REPLICA_PREFIX},
                ":last": {"S": AFTER_VERSIONS},
            },
            "ConsistentRead": True,
        }
        while True:
            with translated("Query"):
                response = self._client.query(**request)
            for item in response["Items"]:
                if item["sk"]["S"].startswith(VERSION_PREFIX):
                    versions.append(version_of_item(item))
                else:
                    replicas.append(replica_of(item))
            if "LastEvaluatedKey" not in response:
                return Document.of(key, versions, replicas)
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    def save(
        self, document: Document, replica: Replica, transition: Transition | None = None, actor: Actor | None = None
    ) -> Document:
        """Write this region's replica item, and return the document with it.

        Without a transition, the document stays in its state. Raises Contention when the item has changed since the
        document was read.
        """
        if transition is not None and actor is not None:
            check(transition, document.state(self.region), actor)
        with translated("PutItem"):
            try:
                self._client.put_item(TableName=self._table, **_put(document.key, replica))
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                raise Contention from None
        return Document(document.key, document.versions, {**document.replicas, self.region: replica})

    def used_with(self, key: RecordKey) -> str | None:
        """Return the fingerprint of the request that an Idempotency-Key was used with in this region, None without."""
        with translated("GetItem"):
            response = self._client.get_item(
                TableName=self._table, Key=item_key(key.partition, USED_KEY), ConsistentRead=True
            )
        return str(response["Item"]["fingerprint"]["S"]) if "Item" in response else None

    def announce(
        self,
        document: Document,
        version: Version,
        event: AuditEvent,
        *,
        tokens: Collection[Token],
        replica: Replica,
        used: UsedKey | None = None,
    ) -> None:
        """Write the first version of a document, which has no items or those of an orphan.

        Raises HeadMismatch, and Contention also when the replica item has changed since the document was read, or
        another request has used the key.
        """
        check(ANNOUNCE, document.state(self.region), Actor.CLIENT)
        items = [_put(version.key, replica), *([] if used is None else [used.put])]
        self._records.insert(version, event, tokens=tokens, items=items)

    def conclude(
        self,
        document: Document,
        version: Version,
        event: AuditEvent,
        replica: Replica,
        transition: Transition,
        actor: Actor,
    ) -> None:
        """Write a `final` or `entered-in-error` version with this region's replica item.

        Raises HeadMismatch, and Contention also when the replica item has changed since the document was read.
        """
        check(transition, document.state(self.region), actor)
        self._records.replace(version, event, items=[_put(document.key, replica)])

    def reject(self, document: Document, replica: Replica, event: AuditEvent) -> None:
        """Write the replica item of a region that rejects its bytes, without a version. Raises Contention."""
        self._records.put(_put(document.key, replica), event)

    def own(self, document: Document) -> Replica:
        """Return this region's replica item, a new one where it has none."""
        return document.replicas.get(self.region) or Replica(
            region=self.region, state=State.ANNOUNCED, at=_EPOCH, since=_EPOCH, revision=-1
        )

    def listed(
        self, listing: Listing, *, per_tenant: int, until: datetime | None = None
    ) -> Mapping[str, Sequence[ListEntry]]:
        """Return the first entries of each tenant in a list, at most `per_tenant`, up to the time `until`."""
        found: dict[str, list[ListEntry]] = {}
        after = "#"  # sorts before every tenant
        while True:
            page = self._page(listing, after)
            for position, entry in page:
                entries = found.setdefault(entry.key.tenant, [])
                after = position
                if len(entries) == per_tenant or (until is not None and entry.at > until):
                    after = f"{entry.key.tenant}{_AFTER_TENANT}"
                else:
                    entries.append(entry)
            if len(page) < PAGE:
                return {tenant: entries for tenant, entries in found.items() if entries}

    def _page(self, listing: Listing, after: str) -> list[tuple[str, ListEntry]]:
        """Return up to PAGE entries, fewer only at the end of the list."""
        found: list[tuple[str, ListEntry]] = []
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": UPDATE_INDEX,
            "KeyConditionExpression": "update_shard = :list AND updated > :after",
            "ExpressionAttributeValues": {":list": {"S": _partition(listing, self.region)}, ":after": {"S": after}},
        }
        while True:
            with translated("Query"):
                response = self._client.query(**request, Limit=PAGE - len(found))
            found += [(item["updated"]["S"], _entry(item, listing)) for item in response["Items"]]
            if "LastEvaluatedKey" not in response or len(found) == PAGE:
                return found
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


def _put(key: RecordKey, replica: Replica) -> Put:
    """Return the put of a replica item, on condition of the revision before it."""
    put: dict[str, Any] = {"Item": replica_item(key, replica), "ConditionExpression": "attribute_not_exists(pk)"}
    if replica.revision:
        put |= {
            "ConditionExpression": "#revision = :revision",
            "ExpressionAttributeNames": {"#revision": "revision"},
            "ExpressionAttributeValues": {":revision": {"N": str(replica.revision - 1)}},
        }
    return put


def replica_item(key: RecordKey, replica: Replica) -> dict[str, Any]:
    """Return the item of a region's replica."""
    item: dict[str, Any] = {
        **item_key(key.partition, f"{REPLICA_PREFIX}{replica.region}"),
        "state": {"S": replica.state.value},
        "at": {"N": _millis(replica.at)},
        "since": {"N": _millis(replica.since)},
        "offered": {"BOOL": replica.offered},
        "standby": {"BOOL": replica.standby},
        "revision": {"N": str(replica.revision)},
    }
    item |= {name: {"S": text} for name in _TEXTS if (text := getattr(replica, name)) is not None}
    if replica.lease is not None:
        item["lease"] = {"N": _millis(replica.lease)}
    if replica.listing is not None:
        position = f"{key.tenant}#{int(_millis(replica.at)):013d}#{key.id}"
        item |= {"update_shard": {"S": _partition(replica.listing, replica.region)}, "updated": {"S": position}}
    return item


def replica_of(item: Item) -> Replica:
    """Return the replica in an item. Raises StorageFault when the item has another form."""
    try:
        texts: dict[str, str] = {name: item[name]["S"] for name in _TEXTS if name in item}
        return Replica(
            region=item["sk"]["S"].removeprefix(REPLICA_PREFIX),
            state=State(item["state"]["S"]),
            at=_time(item["at"]["N"]),
            since=_time(item["since"]["N"]),
            offered=item["offered"]["BOOL"],
            standby=item["standby"]["BOOL"],
            lease=_time(item["lease"]["N"]) if "lease" in item else None,
            revision=int(item["revision"]["N"]),
            **texts,
        )
    except (KeyError, ValueError):
        raise StorageFault(operation="Read", code="UnreadableReplica") from None


def _partition(listing: Listing, region: str) -> str:
    return {Listing.PENDING: pending_partition, Listing.AWAITED: awaited_partition}[listing](region)


def _entry(item: Item, listing: Listing) -> ListEntry:
    return ListEntry(RecordKey(*item["pk"]["S"].split("#")), listing, _time(item["updated"]["S"].split("#")[1]))


def _millis(time: datetime) -> str:
    return str((time - _EPOCH) // timedelta(milliseconds=1))


def _time(millis: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(millis))
