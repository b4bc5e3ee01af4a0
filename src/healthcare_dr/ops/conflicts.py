"""The open conflicts: records that both regions wrote at once, and that nobody has merged yet."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drain.asking import CONFLICTS, INDEX

AT_A_TIME = 8


class DynamoDB(Protocol):
    """What of boto3's client is used."""

    def query(self, **request: Any) -> Mapping[str, Any]:
        """Read from an index, page by page."""

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        """Read one item."""


@dataclass(frozen=True, kw_only=True)
class OpenConflict:
    """A record's versions that were written in ignorance of each other, in their order: the last one is served.

    `since` is when the last of them was written, `listed_in` are the regions that know of it.
    """

    tenant: str
    record: str
    """Such as `Patient/<id>`."""
    versions: tuple[str, ...]
    since: str
    listed_in: tuple[str, ...]


@dataclass(frozen=True)
class Conflicts:
    """What the regions that answered know; `unasked` says of each other one why it did not."""

    open: tuple[OpenConflict, ...]
    unasked: Mapping[str, str]


def read_conflicts(clients: Mapping[str, DynamoDB], *, table: str) -> Conflicts:
    """Ask each region for its list, the oldest first. `clients` are DynamoDB's, by region.

    Raises:
        DeploymentError: no region answers.
    """
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = dict(zip(clients, pool.map(lambda client: _asked(client, table), clients.values()), strict=True))
    unasked = {region: answer for region, answer in answers.items() if isinstance(answer, str)}
    if len(unasked) == len(clients):
        reasons = "; ".join(f"{region}: {why}" for region, why in unasked.items())
        raise DeploymentError(f"no region tells its conflicts ({reasons})")
    known: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for region, answer in answers.items():
        for conflict in () if isinstance(answer, str) else answer:
            known.setdefault(conflict, []).append(region)
    found = (
        OpenConflict(
            tenant=tenant, record=record, versions=versions, since=_written(versions[-1]), listed_in=tuple(regions)
        )
        for (tenant, record, versions), regions in known.items()
    )
    return Conflicts(tuple(sorted(found, key=lambda conflict: (conflict.since, conflict.record))), unasked)


def _asked(client: DynamoDB, table: str) -> Sequence[tuple[str, str, tuple[str, ...]]] | str:
    try:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            read = pool.map(lambda key: _conflict(client, table, key), _listed(client, table))
            return [conflict for conflict in read if conflict is not None]
    except (ClientError, BotoCoreError) as error:
        return " ".join(str(error).split())


def _listed(client: DynamoDB, table: str) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {
        "TableName": table,
        "IndexName": INDEX,
        "KeyConditionExpression": "update_shard = :shelf",
        "ExpressionAttributeValues": {":shelf": {"S": CONFLICTS}},
    }
    while True:
        page = client.query(**request)
        for item in page["Items"]:
            yield {"pk": item["pk"], "sk": item["sk"]}
        if not page.get("LastEvaluatedKey"):
            return
        request = request | {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _conflict(client: DynamoDB, table: str, key: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]] | None:
    """None for one that was merged since it was listed."""
    item = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    if "members" not in item or "resolved" in item:
        return None
    tenant, kind, identifier = item["pk"]["S"].split("#")
    return tenant, f"{kind}/{identifier}", tuple(sorted(member["S"] for member in item["members"]["L"]))


def _written(version: str) -> str:
    """When a version was written: its clock begins with milliseconds since the epoch."""
    moment = datetime.fromtimestamp(int(version.partition("-")[0]) / 1000, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
