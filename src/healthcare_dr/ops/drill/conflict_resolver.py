"""Resolve the conflicts that a drill's own updates left, as clients do: through the API, after reading both sides.

The merged version has the content of the newest one, and the appends of all others. Only one region is written to:
merges of the same versions in both regions would be a new conflict. A busy region is read again while it or its
conflicts make progress.
"""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.consistency import tips
from healthcare_dr.ops.drill.load.client import appended, with_appended
from healthcare_dr.ops.drill.load.ledger import BUSY, Endpoint, Ledger
from healthcare_dr.ops.drill.load.optimistic_update import FHIR
from healthcare_dr.ops.drill.progress import POLL_SECONDS, STALL_SECONDS, StallDetector
from healthcare_dr.ops.drill.record_versions import RecordVersions, read_versions
from healthcare_dr.ops.seed.people import Resource, encoded
from patient_api.contract.keys import OPEN_CONFLICTS, UPDATE_INDEX

if TYPE_CHECKING:
    import httpx

LARGEST_MERGE: Final = 10
"""How many versions the API accepts in the header `Merges`."""
QUIET_SECONDS: Final = 3.0
"""How long no region may list a conflict: a version is replicated before its conflict is marked."""
BUSY_CODES: Final = (
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "ServiceUnavailable",
    "503",
    "429",
)
"""Errors of DynamoDB that are temporary."""
OVERTAKEN: Final = (404, 405, 409, 412, 422)
"""Responses that a later attempt may change: a record has not arrived, or another write was faster."""


@dataclass(frozen=True, kw_only=True)
class ResolvedConflicts:
    """The conflicts of a drill and how many were resolved."""

    found: int
    """How many conflicts the regions listed."""
    merged: int
    """How many of them no region lists any more."""
    left: tuple[str, ...]
    """The ids of the records that are still in conflict, including those that no region lists."""
    unanswered: tuple[str, ...] = ()
    """The ids of the records whose state is unknown, because the region was busy."""


class ConflictResolver:
    """Resolves the conflicts of the records in one ledger, and no others.

    `endpoint` is that of the region in which merges are written; `tables` are DynamoDB clients by region. `updated`
    returns the ids of the patients that a client tried to update, acknowledged or not. To be used when the drill's
    clients have stopped and replication has caught up.
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
        updated: Callable[[], Collection[str]],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._ledger, self._endpoint, self._token, self._client = ledger, endpoint, token, client
        self._tables, self._table, self._tenant = tables, table, tenant
        self._updated, self._clock, self._sleep = updated, clock, sleep
        self._busy: set[str] = set()
        """The patients for which the last response of the API was an error for lack of capacity, or none."""
        self._clean: set[str] = set()
        """The patients whose histories have no conflict. No client writes any more, so this is final."""

    def run(self, *, stall_seconds: float = STALL_SECONDS) -> ResolvedConflicts:
        """Resolve the conflicts. Return when no region has listed one for 3 s and no history has one, or on a stall.

        Conflicts of documents are not written: the platform merges them by itself.

        Raises:
            DeploymentError: the table cannot be read, or the API returns an error that is not temporary.
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
            # A conflict that no region lists may be marked later: it counts as left only after a stall.
            if (quiet and not unseen and not unanswered) or stall.stalled:
                return self._summary(found, shown, unseen, unanswered)
            for pk in sorted({pk for pk, _ in shown or ()}):
                _, kind, id = pk.split("#")
                if kind == "Patient":
                    self._merge(id)
            stall.note((None if shown is None else frozenset(shown), unseen, unanswered))
            self._sleep(POLL_SECONDS)

    def _summary(
        self,
        found: set[tuple[str, str]],
        shown: Set[tuple[str, str]] | None,
        unseen: frozenset[str],
        unanswered: frozenset[str],
    ) -> ResolvedConflicts:
        """Summarize the result. Conflicts of a region that was busy at the end are not counted."""
        open_ = {pk.rpartition("#")[2] for pk, _ in (found if shown is None else shown)}
        unknown = (open_ if shown is None else open_ & self._busy) | unanswered
        return ResolvedConflicts(
            found=len(found),
            merged=len(found - (found if shown is None else shown)),
            left=tuple(sorted((open_ - unknown) | unseen)),
            unanswered=tuple(sorted(unknown)),
        )

    def _shown(self, own: frozenset[str]) -> set[tuple[str, str]] | None:
        """Return the open conflicts of the ledger's records that any region lists; None when a region is busy."""
        shown: set[tuple[str, str]] = set()
        for region in self._tables:
            listed = self._open_conflicts(region)
            if listed is None:
                return None
            shown |= {marker for marker in listed if marker[0] in own}
        return shown

    def _unseen(self) -> tuple[frozenset[str], frozenset[str]]:
        """Of the patients that clients updated, return the ids of those whose history has more than one end, and of
        those whose history cannot be read because the region is busy.
        """
        unseen, unanswered = set[str](), set[str]()
        # An update without a response may be the only one of a region.
        for id in sorted(set(self._updated()) - self._clean):
            history = read_versions(self._request, id)
            if history is None:
                unanswered.add(id)
            elif unmerged(history.with_equal):
                unseen.add(id)
            else:
                self._clean.add(id)
        return frozenset(unseen), frozenset(unanswered)

    def _own(self) -> frozenset[str]:
        """Return the partition keys of the ledger's records."""
        kinds = {"patient": "Patient", "update": "Patient", "document": "DocumentReference"}
        return frozenset(f"{self._tenant}#{kinds[write.kind]}#{write.id}" for write in self._ledger.writes())

    def _open_conflicts(self, region: str) -> Sequence[tuple[str, str]] | None:
        """Return the keys of all conflicts that are open in a region; None when it is busy."""
        request = {
            "TableName": self._table,
            "IndexName": UPDATE_INDEX,
            "KeyConditionExpression": "update_shard = :shard",
            "ExpressionAttributeValues": {":shard": {"S": OPEN_CONFLICTS}},
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
        """Replace the newest version and all concurrent versions that have arrived here by their union."""
        history = read_versions(self._request, id)
        if history is None or (newest := max(history.follows)) not in history.resources:
            return
        merges = unmerged(history.with_equal)[:LARGEST_MERGE]
        if merges:
            self._request(
                f"/fhir/Patient/{id}",
                method="PUT",
                headers={
                    "Content-Type": FHIR,
                    "If-Match": f'W/"{newest}"',
                    "Merges": ", ".join(f'W/"{version}"' for version in merges),
                },
                content=encoded(united(history, newest, merges)),
            )

    def _request(self, path: str, **request: Any) -> Resource | None:
        """Return the JSON of the response; None when the request has to be repeated later."""
        import httpx

        try:
            answer = self._endpoint.request(self._client, path, token=self._token, **request)
            busy = answer.status_code in BUSY
        except httpx.TransportError:
            busy = True
        (self._busy.add if busy else self._busy.discard)(path.split("/")[3])
        if busy or answer.status_code in OVERTAKEN:
            return None
        if answer.status_code != 200:
            raise DeploymentError(
                f"{self._endpoint.region} answered {answer.status_code} when a conflict was merged; see its logs"
            )
        found: Resource = answer.json()
        return found


def unmerged(lineage: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the last version of each branch except the newest one, newest first.

    `lineage` contains the predecessors of each version. A merge that names an earlier version of a branch conflicts
    with the versions after it.
    """
    return tuple(tips(lineage)[1:])


def united(history: RecordVersions, newest: str, others: Sequence[str]) -> Resource:
    """Return the newest resource with the appends that only other versions have, the oldest version's first."""
    values = [value for version in sorted(others) for value in appended(history.resources.get(version, {}))]
    present = appended(history.resources[newest])
    added = dict.fromkeys(value for value in values if value not in present)
    return with_appended(history.resources[newest], *added)
