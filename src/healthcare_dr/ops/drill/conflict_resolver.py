"""Resolve the conflicts that a drill's own updates left, as clients do: through the API, after reading both sides.

Only one region is written to: merges of the same versions in both regions would be a new conflict. A busy region is
read again while it or its conflicts make progress.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.load.ledger import BUSY, Endpoint, Ledger
from healthcare_dr.ops.drill.load.optimistic_update import FHIR
from healthcare_dr.ops.drill.waiting import STALL_SECONDS, StallDetector
from healthcare_dr.ops.seed.people import Resource, encoded
from patient_api.contract.keys import OPEN_CONFLICTS, UPDATE_INDEX

if TYPE_CHECKING:
    import httpx

FOLLOWS: Final = "urn:healthcare-dr:follows"
LARGEST_MERGE: Final = 10
"""How many versions the API takes in Merges."""
PAGE: Final = 50
POLL_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 3.0
"""How long no region may show a conflict: a version is replicated before the conflict that it makes is marked."""
BUSY_CODES: Final = (
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "ServiceUnavailable",
    "503",
    "429",
)
"""Errors of DynamoDB that pass by themselves."""
OVERTAKEN: Final = (404, 405, 409, 412, 422)
"""Answers that another round may change: a version that has not arrived, or a write in between."""


@dataclass(frozen=True, kw_only=True)
class ResolvedConflicts:
    """The conflicts of a drill and how many were resolved."""

    found: int
    """How many conflicts the regions showed."""
    settled: int
    """How many of them both regions show as resolved."""
    left: tuple[str, ...]
    """The ids of the records that are still in conflict somewhere, those that no region showed included."""
    unanswered: tuple[str, ...] = ()
    """The ids of the records of which nothing is known: the region was busy for as long as it was asked."""


@dataclass(frozen=True)
class _Past:
    """A record's history: what each version follows, and the newest one's resource, None when that deleted it."""

    lineage: Mapping[str, Sequence[str]]
    resource: Resource | None


class ConflictResolver:
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
        self._busy: set[str] = set()
        """The patients of which the API had no time to answer when it was asked last."""
        self._clean: set[str] = set()
        """The patients whose histories were found without a conflict: no client writes any more."""

    def run(self, *, stall_seconds: float = STALL_SECONDS) -> ResolvedConflicts:
        """Resolve them, and return when no region has shown one for 3 s and no history has one, or nothing progresses.

        Documents are only waited for: the platform merges their siblings by itself.

        Raises:
            DeploymentError: the table cannot be read, or the API refuses what no waiting mends.
        """
        own = self._own()
        found: set[tuple[str, str]] = set()
        stall, quiet_since = StallDetector(self._clock, stall_seconds), self._clock()
        while True:
            shown = self._shown(own)
            if shown is not None:
                found |= shown
            if shown or shown is None:
                quiet_since = self._clock()
            unseen, unanswered = frozenset[str](), frozenset[str]()
            quiet = self._clock() - quiet_since >= QUIET_SECONDS
            if quiet:
                unseen, unanswered = self._unseen()
            # What no region shows may be marked later; it is left only when nothing changes any more.
            if (quiet and not unseen and not unanswered) or stall.over:
                return self._merged(found, shown, unseen, unanswered)
            for pk in sorted({pk for pk, _ in shown or ()}):
                _, kind, id = pk.split("#")
                if kind == "Patient":
                    self._merge(id)
            stall.note((None if shown is None else frozenset(shown), unseen, unanswered))
            self._sleep(POLL_SECONDS)

    def _merged(
        self,
        found: set[tuple[str, str]],
        shown: Set[tuple[str, str]] | None,
        unseen: frozenset[str],
        unanswered: frozenset[str],
    ) -> ResolvedConflicts:
        """Summarize the result. Conflicts of a region that was busy at the end are not counted."""
        open_ = {pk.rpartition("#")[2] for pk, _ in (found if shown is None else shown)}
        nothing_known = (open_ if shown is None else open_ & self._busy) | unanswered
        return ResolvedConflicts(
            found=len(found),
            settled=len(found - (found if shown is None else shown)),
            left=tuple(sorted((open_ - nothing_known) | unseen)),
            unanswered=tuple(sorted(nothing_known)),
        )

    def _shown(self, own: frozenset[str]) -> set[tuple[str, str]] | None:
        """Return the open conflicts of the ledger's records in any region; None when a region is busy."""
        shown: set[tuple[str, str]] = set()
        for region in self._tables:
            shelf = self._shelf(region)
            if shelf is None:
                return None
            shown |= {marker for marker in shelf if marker[0] in own}
        return shown

    def _unseen(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the ids of the patients that both regions updated and whose history has more than one end, and of
        those whose history the region has no time to give."""
        regions: dict[str, set[str]] = {}
        for write in self._ledger.writes():
            if write.kind == "update":
                regions.setdefault(write.id, set()).add(write.region)
        unseen, unanswered = set[str](), set[str]()
        for id in (id for id, updated in regions.items() if len(updated) > 1 and id not in self._clean):
            past = self._past(id)
            if past is None:
                unanswered.add(id)
            elif unmerged(past.lineage):
                unseen.add(id)
            else:
                self._clean.add(id)
        return frozenset(unseen), frozenset(unanswered)

    def _own(self) -> frozenset[str]:
        """The partitions of the ledger's records."""
        kinds = {"patient": "Patient", "update": "Patient", "document": "DocumentReference"}
        return frozenset(f"{self._tenant}#{kinds[write.kind]}#{write.id}" for write in self._ledger.writes())

    def _shelf(self, region: str) -> Sequence[tuple[str, str]] | None:
        """Return the keys of all conflicts that are open in a region; None when it is busy."""
        request = {
            "TableName": self._table,
            "IndexName": UPDATE_INDEX,
            "KeyConditionExpression": "update_shard = :shelf",
            "ExpressionAttributeValues": {":shelf": {"S": OPEN_CONFLICTS}},
        }
        found: list[tuple[str, str]] = []
        try:
            while True:
                page = self._tables[region].query(**request)
                found += [(item["pk"]["S"], item["sk"]["S"]) for item in page["Items"]]
                if not page.get("LastEvaluatedKey"):
                    return found
                request |= {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        except (BotoConnectionError, HTTPClientError):
            return None
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in BUSY_CODES:
                return None
            raise DeploymentError(f"conflicts in {region} cannot be read: {' '.join(str(error).split())}") from error

    def _merge(self, id: str) -> None:
        """Replace the newest version and all concurrent versions that have arrived here by the newest version's
        content.
        """
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
            busy = answer.status_code in BUSY
        except httpx.TransportError:
            busy = True
        (self._busy.add if busy else self._busy.discard)(path.split("/")[3])
        if busy:
            return None
        if answer.status_code in OVERTAKEN:
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
