"""Brings a record in order after an item of it arrived, from a writer in this region or from the other one.

Items of a record replicate one by one, in any order, and the last writer wins each: an older head can replace a newer
one, and two regions can each write a version that follows the same one. Nothing here takes anything away:

- the head is put to the newest version of this region, and only ever forward;
- versions that follow the same one become the members of a marker, `c#<the one they follow>`, or `c#0` for several
  first versions. It is closed by the first version that descends from all of them.

Both follow from the versions alone, and versions are only ever added: whatever the order of arrival, once both regions
hold the same versions they come to hold the same heads and markers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB
from patient_api.clock import Stamp
from patient_api.errors import StorageFault
from patient_api.faults import translated
from patient_api.records.items import (
    CONFLICT,
    HEAD,
    OPEN_CONFLICTS,
    VERSION,
    Item,
    Marker,
    head_item,
    marker_item,
    pk,
    version_in,
)
from patient_api.records.model import RecordKey
from patient_api.records.siblings import ORIGIN, Conflict, Link, conflict_after, continues

ATTEMPTS: Final = 5
LARGEST_PAGE: Final = 1_000
LONGEST: Final = 20_000  # versions of one record that are compared with each other

_VERSION_NAME: Final = {"#version": "version"}
_LINK_NAMES: Final = {**_VERSION_NAME, "#replaces": "replaces", "#merges": "merges"}
_LAST: Final = f"{VERSION}~"  # sorts behind every version


@dataclass(frozen=True)
class Change:
    """What arrived of one record: versions, and the version of the latest head, None when there was no head."""

    key: RecordKey
    links: tuple[Link, ...] = ()
    head: str | None = None


class Reconciler:
    """Reconciles the records of one region's replica.

    `opened` hears of each conflict that this region is the first to record, with the version that its members follow;
    `mended` of each head that was put forward.
    """

    def __init__(
        self,
        *,
        client: DynamoDB,
        table: str,
        region: str,
        opened: Callable[[RecordKey, str], None],
        mended: Callable[[RecordKey], None],
    ) -> None:
        self._client = client
        self._table = table
        self._region = region
        self._opened = opened
        self._mended = mended

    def reconcile(self, change: Change) -> None:
        """Mend the head, and mark siblings. The same change twice is as once. Raises StorageFault.

        A change that continues the newest versions, as nearly all do, costs one query of one more than it holds.
        """
        links = {link.stamp: link for link in change.links}
        top = self._links(change.key, newest_first=True, limit=len(links) + 1)
        if not top:
            return
        if self._is_behind(change, top[0].stamp):
            self._mend(change.key, top[0].stamp)
        if links and not continues(top, links.keys()):
            self._mark(change.key, {stamp for link in change.links for stamp in link.follows})

    def _is_behind(self, change: Change, newest: str) -> bool:
        if change.head is None and all(_region(link.stamp) == self._region for link in change.links):
            # Written here, in one transaction with its head; what came over that head since is a change of its own.
            return False
        if change.head is not None and change.head >= newest:
            return False
        head = self._get(change.key, HEAD, ProjectionExpression="#version", ExpressionAttributeNames=_VERSION_NAME)
        return head is None or head["version"]["S"] < newest

    def _mend(self, key: RecordKey, newest: str) -> None:
        item = self._get(key, f"{VERSION}{newest}")
        if item is None:
            raise StorageFault(operation="GetItem", code="MissingVersion")
        forward = {
            "ConditionExpression": "attribute_not_exists(pk) OR #version < :newest",
            "ExpressionAttributeNames": _VERSION_NAME,
            "ExpressionAttributeValues": {":newest": {"S": newest}},
        }
        if self._put(head_item(version_in(item)), forward):
            self._mended(key)

    def _mark(self, key: RecordKey, followed: set[str]) -> None:
        """Bring the markers of versions that were followed, and those still open, up to date."""
        # Versions and markers may arrive while this looks at them: it ends when it has found nothing to change.
        for _ in range(ATTEMPTS):
            known = self._conflicts(key)
            wanted = sorted(followed | {after for after, conflict in known.items() if conflict.resolved is None})
            lineage = {link.stamp: link.follows for link in self._links(key, after=wanted[0])}
            due = {after: conflict_after(after, lineage, known.get(after)) for after in wanted}
            changed = {after: found for after, found in due.items() if found is not None and found != known.get(after)}
            for after, conflict in changed.items():
                self._record(key, after, conflict, known.get(after))
            if not changed:
                return
        raise StorageFault(operation="PutItem", code="Contention")

    def _record(self, key: RecordKey, after: str, found: Conflict, known: Conflict | None) -> None:
        newest = Stamp.parse(max(found.members))
        if newest is None:
            raise StorageFault(operation="Read", code="UnreadableVersion")
        item = marker_item(
            Marker(
                key,
                f"{CONFLICT}{after}",
                newest,
                OPEN_CONFLICTS if found.resolved is None else None,
                facts={} if found.resolved is None else {"resolved": found.resolved},
                members=sorted(found.members),
            )
        )
        if self._put(item, _unchanged(known)) and (known is None or (known.resolved and not found.resolved)):
            self._opened(key, after)

    def _conflicts(self, key: RecordKey) -> dict[str, Conflict]:
        """The record's markers, by what their members follow."""
        condition = {
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :conflict)",
            "ExpressionAttributeValues": {":pk": {"S": pk(key)}, ":conflict": {"S": CONFLICT}},
        }
        return {item["sk"]["S"].removeprefix(CONFLICT): _conflict(item) for item in self._query(condition, LONGEST)}

    def _links(
        self, key: RecordKey, *, after: str = ORIGIN, newest_first: bool = False, limit: int = LONGEST
    ) -> Sequence[Link]:
        """At most `limit` versions newer than `after`."""
        low = f"{VERSION}{after}"
        condition = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :last",
            "ExpressionAttributeValues": {":pk": {"S": pk(key)}, ":low": {"S": low}, ":last": {"S": _LAST}},
            "ProjectionExpression": "sk, #version, #replaces, #merges",
            "ExpressionAttributeNames": _LINK_NAMES,
            "ScanIndexForward": not newest_first,
        }
        return [Link.of(item) for item in self._query(condition, limit) if item["sk"]["S"] != low]

    def _query(self, condition: Mapping[str, Any], limit: int) -> Sequence[Item]:
        found: list[Item] = []
        start: dict[str, Any] = {}
        while len(found) < limit:
            with translated("Query"):
                answer = self._client.query(
                    TableName=self._table,
                    ConsistentRead=True,
                    Limit=min(limit - len(found), LARGEST_PAGE),
                    **condition,
                    **start,
                )
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                break
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        return found

    def _get(self, key: RecordKey, sk: str, **projection: Any) -> Item | None:
        with translated("GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key={"pk": {"S": pk(key)}, "sk": {"S": sk}}, ConsistentRead=True, **projection
            )
        item: Item | None = answer.get("Item")
        return item

    def _put(self, item: Item, condition: Mapping[str, Any]) -> bool:
        """False when the condition forbids it."""
        with translated("PutItem"):
            try:
                self._client.put_item(TableName=self._table, Item=item, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                return False
        return True


def _conflict(item: Item) -> Conflict:
    members = frozenset(member["S"] for member in item["members"]["L"])
    return Conflict(members, item["resolved"]["S"] if "resolved" in item else None)


def _unchanged(known: Conflict | None) -> dict[str, Any]:
    """The condition that a marker still is as it was read."""
    if known is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    names = {"#members": "members", "#resolved": "resolved"}
    values: dict[str, Any] = {":members": {"L": [{"S": stamp} for stamp in sorted(known.members)]}}
    condition = "#members = :members AND attribute_not_exists(#resolved)"
    if known.resolved is not None:
        condition = "#members = :members AND #resolved = :resolved"
        values[":resolved"] = {"S": known.resolved}
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def _region(stamp: str) -> str:
    return stamp.split("-", 2)[2]
