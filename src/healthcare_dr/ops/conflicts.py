"""Read the open conflicts: records with concurrent versions of both regions that are not merged."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from patient_api.contract.keys import AFTER_LINEAGE, HEAD_PREFIX, LINEAGE_PREFIX, OPEN_CONFLICTS, UPDATE_INDEX

AT_A_TIME: Final = 8

Item = Mapping[str, Any]
Links = Mapping[str, frozenset[str]]
"""The versions that each version of a record replaces or merges."""


@dataclass(frozen=True, kw_only=True)
class OpenConflict:
    """A record with concurrent versions. An update of `current` that merges `others` closes the conflict.

    `current` is the newest version that a region returns. A version of `others` may have been lost with its region.
    `since` is the time of the versions that opened the conflict, `listed_in` are the regions that list it.
    """

    tenant: str
    record: str
    """Such as `Patient/<id>`."""
    current: str
    others: tuple[str, ...]
    """The last version of each other branch; none if the record is merged and the conflict is about to be closed."""
    since: str
    listed_in: tuple[str, ...]


@dataclass(frozen=True)
class Conflicts:
    """The open conflicts in the regions that responded, oldest first. `unasked` maps the other regions to errors."""

    open: tuple[OpenConflict, ...]
    unasked: Mapping[str, str]


@dataclass(frozen=True)
class _Known:
    """A region's view of a record.

    Attributes:
        began: the newest version of its oldest open conflict.
        head: the newest version that the region returns.
        links: of all versions whose lineage items the region has. A version itself may be on its way, or lost.
    """

    began: str
    head: str
    links: Links


def read_conflicts(clients: Mapping[str, Any], *, table: str) -> Conflicts:
    """Read the open conflicts of each region. `clients` maps regions to DynamoDB clients.

    Raises:
        DeploymentError: no region responds.
    """
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = dict(
            zip(clients, pool.map(lambda region: _open_conflicts(clients[region], table, region), clients), strict=True)
        )
    unasked = {region: answer for region, answer in answers.items() if isinstance(answer, str)}
    if len(unasked) == len(clients):
        reasons = "; ".join(f"{region}: {why}" for region, why in unasked.items())
        raise DeploymentError(f"no region returns its conflicts ({reasons})")
    listed = {region: answer for region, answer in answers.items() if not isinstance(answer, str)}
    found = [_conflict(pk, listed) for pk in sorted({pk for records in listed.values() for pk in records})]
    return Conflicts(tuple(sorted(found, key=lambda conflict: conflict.since)), unasked)


def _conflict(pk: str, listed: Mapping[str, Mapping[str, _Known]]) -> OpenConflict:
    known = {region: records[pk] for region, records in listed.items() if pk in records}
    links: dict[str, frozenset[str]] = {}
    for each in known.values():
        links |= each.links
    current = max(each.head for each in known.values())
    followed = frozenset[str]().union(*links.values())
    others = links.keys() - followed - {current}
    tenant, kind, identifier = pk.split("#")
    return OpenConflict(
        tenant=tenant,
        record=f"{kind}/{identifier}",
        current=current,
        others=tuple(sorted(others)),
        since=_written(min(each.began for each in known.values())),
        listed_in=tuple(known),
    )


def _open_conflicts(client: Any, table: str, region: str) -> Mapping[str, _Known] | str:
    request = {
        "TableName": table,
        "IndexName": UPDATE_INDEX,
        "KeyConditionExpression": "update_shard = :shelf",
        "ExpressionAttributeValues": {":shelf": {"S": OPEN_CONFLICTS}},
    }
    try:
        began: dict[str, str] = {}
        for item in _items(client, request):
            pk, newest = item["pk"]["S"], item["updated"]["S"]
            began[pk] = min(newest, began.get(pk, newest))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            known = pool.map(lambda pk: _known(client, table, pk, region, began[pk]), began)
            return {pk: found for pk, found in zip(began, known, strict=True) if found is not None}
    except (ClientError, BotoCoreError) as error:
        return " ".join(str(error).split())


def _known(client: Any, table: str, pk: str, region: str, began: str) -> _Known | None:
    """Return the region's view of a record, None when it has no version of it."""
    request = {
        "TableName": table,
        "ConsistentRead": True,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :heads AND :lineage",
        "ExpressionAttributeValues": {
            ":pk": {"S": pk},
            ":heads": {"S": HEAD_PREFIX},
            ":lineage": {"S": AFTER_LINEAGE},
        },
    }
    items = {item["sk"]["S"]: item for item in _items(client, request)}
    head = items.get(f"{HEAD_PREFIX}{region}")
    if head is None:
        return None
    links = {item["version"]["S"]: _followed(item) for sk, item in items.items() if sk.startswith(LINEAGE_PREFIX)}
    return _Known(began, head["version"]["S"], links)


def _followed(item: Item) -> frozenset[str]:
    merged = [entry["S"] for entry in item["merges"]["L"]] if "merges" in item else []
    return frozenset([*([item["replaces"]["S"]] if "replaces" in item else []), *merged])


def query_pages(client: Any, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of a DynamoDB query."""
    following: Mapping[str, Any] = {}
    while True:
        page = client.query(**request, **following)
        yield page
        if not page.get("LastEvaluatedKey"):
            return
        following = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _items(client: Any, request: Mapping[str, Any]) -> Iterator[Item]:
    return (item for page in query_pages(client, request) for item in page["Items"])


def _written(version: str) -> str:
    """Return the time of a version: its stamp starts with milliseconds since 1970."""
    moment = datetime.fromtimestamp(int(version.partition("-")[0]) / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
