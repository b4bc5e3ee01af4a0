"""Reconcile a record after items of it arrived, from a writer in this region or in the other one.

A version follows the version that it replaces and those that it merges. Versions that follow the same one are
*siblings*. A version descends from all that it follows, and from all that those descend from.

Siblings with the same content are equal: a request that was repeated in the other region has written both. They are no
conflict. The newer one counts as following the older one too, and so does the first version newer than both in each
line that descends from one of them (`lineage_of`): it has their content behind it. So equal siblings unite by
themselves, no further version is written, and versions that differ again after them conflict with each other.

Items of a record replicate one by one and in any order, and each region can write a version that follows the same one.
Reconciliation deletes nothing:

- When a version arrives, it moves this region's head to a newer version from the other region, and only forward. The
  other region's head is not touched, and a version of this region was written together with its head.
- It records siblings in a marker, `c#<the version that they follow>`, or `c#0` for several first versions. The first
  version that descends from all siblings closes the marker. Versions can be large, so it compares their lineage items.

A version and its lineage item arrive apart and in either order, or one of them is lost with its region. Both say what
the version follows, and the arrival of either one updates the markers. So a marker may name a version whose own item
has not arrived.

Versions of a type in `folds` never conflict: a function returns the current one of all versions, in which the head is
a copy. That version may be older than others.

All results depend on versions and lineage items alone, and both are only ever added. So once both regions hold the
same ones, their heads are at the same version and their markers are equal, in any order of arrival.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB, translated
from patient_api.clock import Stamp
from patient_api.contract.keys import (
    AFTER_LINEAGE,
    AFTER_VERSIONS,
    CONFLICT_PREFIX,
    HEAD_PREFIX,
    LINEAGE_PREFIX,
    OPEN_CONFLICTS,
    VERSION_PREFIX,
)
from patient_api.errors import StorageFault
from patient_api.store.model import (
    Item,
    Marker,
    RecordKey,
    Version,
    head_item,
    head_sk,
    marker_item,
    version_of_item,
)

ORIGIN: Final = "0"
"""What first versions follow. It sorts before every stamp."""
ATTEMPTS: Final = 5
LARGEST_PAGE: Final = 1_000
LARGEST_RECORD: Final = 20_000  # versions of one record that are compared with each other

_VERSION_NAME: Final = {"#version": "version"}

Lineage = Mapping[str, Collection[str]]
"""The stamps of versions, and those that each follows."""


@dataclass(frozen=True)
class Link:
    """A version and those that it follows: the one that it replaces, or ORIGIN, then those that it merges.

    Siblings with the same digest are equal.
    """

    stamp: str
    follows: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, item: Item) -> "Link":
        """Return the link in a lineage item or a version. Raises StorageFault when the item has another form."""
        try:
            replaces = item["replaces"]["S"] if "replaces" in item else ORIGIN
            merged = [entry["S"] for entry in item["merges"]["L"]] if "merges" in item else []
            return cls(item["version"]["S"], (replaces, *merged), item["digest"]["S"])
        except (KeyError, TypeError):
            raise StorageFault(operation="Read", code="UnreadableVersion") from None

    def equals(self, other: "Link") -> bool:
        """Return whether the version of another link is an equal sibling."""
        return self.stamp != other.stamp and (self.follows[0], self.digest) == (other.follows[0], other.digest)


@dataclass(frozen=True)
class Change:
    """The items of one record that arrived together.

    Attributes:
        links: of the versions and of the lineage items, each version once.
        newest: of the versions, the newest one; None when only lineage items arrived.
    """

    key: RecordKey
    links: tuple[Link, ...] = ()
    newest: Version | None = None


@dataclass(frozen=True)
class Conflict:
    """The state of a marker: the siblings, and the version that resolved their conflict.

    That version is itself a member when it merged versions of which some were still on their way to the region that
    wrote the marker. It descends from all the others.
    """

    members: frozenset[str]
    resolved: str | None = None

    @classmethod
    def of(cls, item: Item) -> "Conflict":
        """Return the conflict in a marker item."""
        members = frozenset(member["S"] for member in item["members"]["L"])
        return cls(members, item["resolved"]["S"] if "resolved" in item else None)


@dataclass(eq=False, repr=False, kw_only=True)
class Reconciler:
    """Reconciles the records of one region's replica.

    `folds` has, by resource type, the function that returns the current one of all versions of a record. Calls `opened`
    for each conflict that this region is the first to record, with the version that its members follow.
    """

    client: DynamoDB
    table: str
    region: str
    opened: Callable[[RecordKey, str], None]
    folds: Mapping[str, Callable[[Sequence[Version]], Version]] = field(default_factory=dict)

    def reconcile(self, change: Change) -> None:
        """Update the head, and mark siblings. Idempotent. Raises StorageFault.

        Nearly all changes continue the newest versions. They cost one query of one lineage item more than the change
        has, and one put if the newest version is from the other region.
        """
        fold = self.folds.get(change.key.type)
        if fold is not None:
            if change.newest is not None:
                self._fold_head(change.key, fold)
            return
        if change.newest is not None and change.newest.stamp.region != self.region:
            self._advance_head(change.newest)
        arrived = {link.stamp: link for link in change.links}
        stored = self._links(change.key, newest_first=True, limit=len(arrived) + 1)
        newest = sorted(({link.stamp: link for link in stored} | arrived).values(), key=_stamp_of, reverse=True)
        if not _continues(newest, arrived.keys()):
            self._update_markers(change.key, arrived)

    def _advance_head(self, newest: Version) -> None:
        forward = {
            "ConditionExpression": "attribute_not_exists(pk) OR #version < :version",
            "ExpressionAttributeNames": _VERSION_NAME,
            "ExpressionAttributeValues": {":version": {"S": str(newest.stamp)}},
        }
        self._put(head_item(newest, self.region), forward)

    def _fold_head(self, key: RecordKey, fold: Callable[[Sequence[Version]], Version]) -> None:
        """Move the head to the current version of a type whose versions never conflict."""
        condition = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :head AND :last",
            "ExpressionAttributeValues": {
                ":pk": {"S": key.partition},
                ":head": {"S": HEAD_PREFIX},
                ":last": {"S": AFTER_VERSIONS},
            },
        }
        for _ in range(ATTEMPTS):
            items = {item["sk"]["S"]: item for item in self._query(condition, LARGEST_RECORD)}
            current = fold([version_of_item(item) for sk, item in items.items() if sk.startswith(VERSION_PREFIX)])
            head = items.get(head_sk(self.region))
            if head is not None and head["version"]["S"] == str(current.stamp):
                return
            unchanged: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
            if head is not None:
                unchanged = {
                    "ConditionExpression": "#version = :version",
                    "ExpressionAttributeNames": _VERSION_NAME,
                    "ExpressionAttributeValues": {":version": head["version"]},
                }
            if self._put(head_item(current, self.region), unchanged):
                return
        raise StorageFault(operation="PutItem", code="Contention")

    def _update_markers(self, key: RecordKey, arrived: Mapping[str, Link]) -> None:
        """Update the markers of what the change follows, of equal siblings, and those that are still open."""
        followed = {stamp for link in arrived.values() for stamp in link.follows}
        # Versions and markers may arrive meanwhile, so repeat until there is nothing to change.
        for _ in range(ATTEMPTS):
            known = self._conflicts(key)
            due = followed | {after for after, conflict in known.items() if conflict.resolved is None}
            links = self._links_since(key, due, arrived)
            lineage = lineage_of(links)
            due |= _equal_siblings(links).keys()
            found = {after: conflict_after(after, lineage, known.get(after)) for after in sorted(due)}
            changed = {
                after: conflict for after, conflict in found.items() if conflict and conflict != known.get(after)
            }
            for after, conflict in changed.items():
                self._write_marker(key, after, conflict, known.get(after))
            if not changed:
                return
        raise StorageFault(operation="PutItem", code="Contention")

    def _write_marker(self, key: RecordKey, after: str, conflict: Conflict, known: Conflict | None) -> None:
        newest = Stamp.parse(max(conflict.members))
        if newest is None:
            raise StorageFault(operation="Read", code="UnreadableVersion")
        marker = Marker(
            key,
            f"{CONFLICT_PREFIX}{after}",
            newest,
            OPEN_CONFLICTS if conflict.resolved is None else None,
            facts={} if conflict.resolved is None else {"resolved": conflict.resolved},
            members=sorted(conflict.members),
        )
        written = self._put(marker_item(marker), _unchanged(known))
        if written and (known is None or (known.resolved and not conflict.resolved)):
            self.opened(key, after)

    def _conflicts(self, key: RecordKey) -> dict[str, Conflict]:
        """Return the record's conflicts by the version that their members follow."""
        condition = {
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :conflict)",
            "ExpressionAttributeValues": {":pk": {"S": key.partition}, ":conflict": {"S": CONFLICT_PREFIX}},
        }
        items = self._query(condition, LARGEST_RECORD)
        return {item["sk"]["S"].removeprefix(CONFLICT_PREFIX): Conflict.of(item) for item in items}

    def _links_since(self, key: RecordKey, due: Set[str], arrived: Mapping[str, Link]) -> Collection[Link]:
        """Return the versions from the oldest of the due ones on, and all that may be equal siblings of one of them.

        Equal siblings are newer than the version that they replace. Reads one item of each due version. The lineage
        items of the `arrived` versions may be absent.
        """
        first = min(self._replaced_by(key, stamp) for stamp in sorted(due))
        while True:
            links = {**arrived, **{link.stamp: link for link in self._links(key, after=first)}}.values()
            oldest = min(link.follows[0] for link in links)
            if oldest >= first:
                return links
            first = oldest

    def _replaced_by(self, key: RecordKey, stamp: str) -> str:
        """Return the version that a version replaces, or the version itself when its lineage item is not here."""
        if stamp == ORIGIN:
            return ORIGIN
        condition = {
            "KeyConditionExpression": "pk = :pk AND sk = :sk",
            "ExpressionAttributeValues": {":pk": {"S": key.partition}, ":sk": {"S": f"{LINEAGE_PREFIX}{stamp}"}},
        }
        return next((Link.of(item).follows[0] for item in self._query(condition, 1)), stamp)

    def _links(
        self, key: RecordKey, *, after: str = ORIGIN, newest_first: bool = False, limit: int = LARGEST_RECORD
    ) -> Sequence[Link]:
        """Return the links of up to `limit` versions newer than `after`, as far as their lineage items are here."""
        low = f"{LINEAGE_PREFIX}{after}"
        condition = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :last",
            "ExpressionAttributeValues": {
                ":pk": {"S": key.partition},
                ":low": {"S": low},
                ":last": {"S": AFTER_LINEAGE},
            },
            "ScanIndexForward": not newest_first,
        }
        return [Link.of(item) for item in self._query(condition, limit) if item["sk"]["S"] != low]

    def _query(self, condition: Mapping[str, Any], limit: int) -> Sequence[Item]:
        found: list[Item] = []
        start: dict[str, Any] = {}
        while len(found) < limit:
            with translated("Query"):
                response = self.client.query(
                    TableName=self.table,
                    ConsistentRead=True,
                    Limit=min(limit - len(found), LARGEST_PAGE),
                    **condition,
                    **start,
                )
            found += response["Items"]
            if "LastEvaluatedKey" not in response:
                break
            start = {"ExclusiveStartKey": response["LastEvaluatedKey"]}
        return found

    def _put(self, item: Item, condition: Mapping[str, Any]) -> bool:
        """Return False when the condition failed."""
        with translated("PutItem"):
            try:
                self.client.put_item(TableName=self.table, Item=item, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                return False
        return True


def lineage_of(links: Iterable[Link]) -> Lineage:
    """Return what each version follows, which includes its older equal siblings.

    Let A and B be equal siblings. A version that follows F, where F descends from A or is A, also follows B if B was
    written between F and that version. Whether it descends from B in another way does not matter: the versions in
    between may be on their way, and what a version follows must not depend on them.
    """
    ordered = sorted(links, key=lambda link: link.stamp)
    equal = _equal_siblings(ordered)
    lineage: dict[str, set[str]] = {}
    behind: dict[str, frozenset[str]] = {}
    """Of each version, those with equal siblings among itself and the versions that it descends from."""
    for link in ordered:
        follows = set(link.follows) | {other for other in equal.get(link.stamp, ()) if other < link.stamp}
        ahead = list(follows)
        while ahead:
            followed = ahead.pop()
            siblings = set[str]().union(*(equal[stamp] for stamp in behind.get(followed, ())))
            found = {other for other in siblings if followed < other < link.stamp} - follows
            follows |= found
            ahead += found
        lineage[link.stamp] = follows
        behind[link.stamp] = frozenset(equal.keys() & {link.stamp}).union(*(behind.get(one, ()) for one in follows))
    return lineage


def _equal_siblings(links: Iterable[Link]) -> Mapping[str, Set[str]]:
    """Return the versions that have equal siblings, each with the group to which it belongs."""
    groups: dict[tuple[str, str], set[str]] = {}
    for link in links:
        groups.setdefault((link.follows[0], link.digest), set()).add(link.stamp)
    return {stamp: group for group in groups.values() if len(group) > 1 for stamp in group}


def conflict_after(after: str, lineage: Lineage, known: Conflict | None = None) -> Conflict | None:
    """Return the conflict among the versions that follow `after`, None when there is none.

    `lineage` has the versions newer than `after` whose lineage items this region holds. `known` is the conflict in the
    marker so far, which the other region, with more versions, may have written.
    """
    members = frozenset(stamp for stamp, follows in lineage.items() if after in follows)
    if known is not None:
        if members <= known.members and known.resolved is not None:
            return known
        members |= known.members
    resolved = _common_descendant(members, lineage)
    if len(members) < 2 or (known is None and resolved in members):
        return None
    return Conflict(members, resolved)


def _common_descendant(members: frozenset[str], lineage: Lineage) -> str | None:
    """Return the oldest version that descends from all members, or is one and descends from the others."""
    behind: dict[str, frozenset[str]] = {}
    # A version is always newer than those that it follows.
    for stamp in sorted(lineage):
        # The lineage item of a member that the version follows may be lost.
        near = members & {stamp, *lineage[stamp]}
        behind[stamp] = near.union(*(behind.get(other, frozenset()) for other in lineage[stamp]))
        if behind[stamp] == members:
            return stamp
    return None


def _stamp_of(link: Link) -> str:
    return link.stamp


def _continues(newest: Sequence[Link], arrived: Set[str]) -> bool:
    """Return whether the arrived versions are the newest ones, each following exactly the one before it."""
    top = newest[: len(arrived)]
    before = [*(link.stamp for link in newest[1:]), ORIGIN]
    chained = all(link.follows == (stamp,) for link, stamp in zip(top, before, strict=False))
    return chained and {link.stamp for link in top} == arrived


def _unchanged(known: Conflict | None) -> dict[str, Any]:
    """Return the condition that a marker is as it was read."""
    if known is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    values: dict[str, Any] = {":members": {"L": [{"S": stamp} for stamp in sorted(known.members)]}}
    condition = "#members = :members AND attribute_not_exists(#resolved)"
    if known.resolved is not None:
        condition = "#members = :members AND #resolved = :resolved"
        values[":resolved"] = {"S": known.resolved}
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {"#members": "members", "#resolved": "resolved"},
        "ExpressionAttributeValues": values,
    }
