"""Settles the conflicts that a drill's own updates left, as clients do: through the API, by who reads both sides.

Only one region is written to: two merges of the same versions, one in each region, would be a conflict of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drain.asking import CONFLICTS, INDEX
from healthcare_dr.ops.drill.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.updating import FHIR
from healthcare_dr.ops.seed.people import Resource, encoded

if TYPE_CHECKING:
    import httpx

FOLLOWS: Final = "urn:healthcare-dr:follows"
LARGEST_MERGE: Final = 10
"""How many versions the API takes in Merges."""
PAGE: Final = 50
POLL_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 3.0
"""How long no region may show a conflict: a version is replicated before the conflict that it makes is marked."""
WITHIN_SECONDS: Final = 120.0
PASSING: Final = (404, 409, 412, 422, 429, 502, 503, 504)
"""What another round may mend: a version that has not arrived, a write in between, a loaded region."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """How many conflicts were shown, how many of them both regions show as settled, and the ids of the records that
    still are in conflict somewhere, those whose conflict nobody was shown included."""

    found: int
    settled: int
    left: tuple[str, ...]


@dataclass(frozen=True)
class _Past:
    """A record's history: what each version follows, and the newest one's resource, None when that deleted it."""

    lineage: Mapping[str, Sequence[str]]
    resource: Resource | None


class Merging:
    """The conflicts of one ledger; those of others are left alone.

    `endpoint` is the region that merges are written in; `tables` are clients of DynamoDB by region. To be used when
    the drill's clients have stopped and replication has caught up.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        endpoint: Endpoint,
        token: str,
        client: "httpx.Client",
        tables: Mapping[str, Any],
        table: str,
        tenant: str,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._ledger, self._endpoint, self._token, self._client = ledger, endpoint, token, client
        self._tables, self._table, self._tenant = tables, table, tenant
        self._clock, self._sleep = clock, sleep

    def run(self, *, within_seconds: float = WITHIN_SECONDS) -> Merged:
        """Settle them, and return when no region has shown one for 3 s, or time is up.

        Documents are only waited for: the platform merges their siblings by itself.

        Raises:
            DeploymentError: the table cannot be asked, or the API refuses what no waiting mends.
        """
        own = self._own()
        found: set[tuple[str, str]] = set()
        deadline, quiet_since = self._clock() + within_seconds, self._clock()
        while True:
            shown = {marker for region in self._tables for marker in self._shelf(region) if marker[0] in own}
            found |= shown
            now = self._clock()
            if shown:
                quiet_since = now
            if now >= deadline or now - quiet_since >= QUIET_SECONDS:
                left = {pk.rpartition("#")[2] for pk, _ in shown} | self._unseen()
                return Merged(found=len(found), settled=len(found - shown), left=tuple(sorted(left)))
            for pk in sorted({pk for pk, _ in shown}):
                _, kind, id = pk.split("#")
                if kind == "Patient":
                    self._merge(id)
            self._sleep(POLL_SECONDS)

    def _unseen(self) -> frozenset[str]:
        """The ids of the patients that both regions updated and whose history has more than one end all the same."""
        regions: dict[str, set[str]] = {}
        for write in self._ledger.writes():
            if write.kind == "update":
                regions.setdefault(write.id, set()).add(write.region)
        found = set[str]()
        for id in (id for id, updated in regions.items() if len(updated) > 1):
            past = self._past(id)
            if past is None or unmerged(past.lineage):
                found.add(id)
        return frozenset(found)

    def _own(self) -> frozenset[str]:
        """The partitions of the ledger's records."""
        kinds = {"patient": "Patient", "update": "Patient", "document": "DocumentReference"}
        return frozenset(f"{self._tenant}#{kinds[write.kind]}#{write.id}" for write in self._ledger.writes())

    def _shelf(self, region: str) -> Sequence[tuple[str, str]]:
        """The keys of the conflicts that are open in a region, whosoever they are."""
        request = {
            "TableName": self._table,
            "IndexName": INDEX,
            "KeyConditionExpression": "update_shard = :shelf",
            "ExpressionAttributeValues": {":shelf": {"S": CONFLICTS}},
        }
        found: list[tuple[str, str]] = []
        try:
            while True:
                page = self._tables[region].query(**request)
                found += [(item["pk"]["S"], item["sk"]["S"]) for item in page["Items"]]
                if not page.get("LastEvaluatedKey"):
                    return found
                request |= {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        except (ClientError, BotoCoreError) as error:
            raise DeploymentError(f"conflicts in {region} cannot be read: {' '.join(str(error).split())}") from error

    def _merge(self, id: str) -> None:
        """Put the newest version's content in place of it and of all that it does not know, as far as is here yet."""
        past = self._past(id)
        if past is None or past.resource is None:
            return
        merges = unmerged(past.lineage)[:LARGEST_MERGE]
        if merges:
            self._ask(
                f"/fhir/Patient/{id}",
                method="PUT",
                headers={
                    "Content-Type": FHIR,
                    "If-Match": f'W/"{max(past.lineage)}"',
                    "Merges": ", ".join(f'W/"{version}"' for version in merges),
                },
                content=encoded(past.resource),
            )

    def _past(self, id: str) -> _Past | None:
        path = f"/fhir/Patient/{id}/_history"
        entries: list[Resource] = []
        query = f"_count={PAGE}"
        while query:
            page = self._ask(f"{path}?{query}")
            if page is None:
                return None
            entries += page.get("entry", ())
            links = {link["relation"]: link["url"] for link in page["link"]}
            query = urlsplit(links.get("next", "")).query
        return _Past({_version(entry): _follows(entry) for entry in entries}, entries[0].get("resource"))

    def _ask(self, path: str, **request: Any) -> Resource | None:
        """The answer's JSON; None when another round has to try again."""
        import httpx

        try:
            answer = self._endpoint.ask(self._client, path, token=self._token, **request)
        except httpx.TransportError:
            return None
        if answer.status_code in PASSING:
            return None
        if answer.status_code != 200:
            raise DeploymentError(
                f"{self._endpoint.region} answered {answer.status_code} when a conflict was merged; see its logs"
            )
        found: Resource = answer.json()
        return found


def unmerged(lineage: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The last version of each line but the newest version's own, newest first.

    `lineage` gives what each version follows. A merge that names an earlier version of a line is in conflict with those
    that come after it.
    """
    followed = {other for follows in lineage.values() for other in follows}
    return tuple(sorted(lineage.keys() - followed, reverse=True)[1:])


def _version(entry: Resource) -> str:
    return str(entry["response"]["etag"]).removeprefix('W/"').removesuffix('"')


def _follows(entry: Resource) -> tuple[str, ...]:
    return tuple(found["valueId"] for found in entry.get("extension", ()) if found["url"] == FOLLOWS)
