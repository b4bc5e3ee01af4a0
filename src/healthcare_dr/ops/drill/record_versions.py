"""Read the versions of patients through the API: what each one follows, and what it contains."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.consistency import Lineage
from healthcare_dr.ops.drill.load.client import appended
from healthcare_dr.ops.drill.load.ledger import BUSY, UNANSWERED_SECONDS, Endpoint
from healthcare_dr.ops.drill.progress import POLL_SECONDS, StallDetector
from healthcare_dr.ops.seed.people import Resource

if TYPE_CHECKING:
    import httpx

FOLLOWS: Final = "urn:healthcare-dr:follows"
STAMPED: Final = ("versionId", "lastUpdated")
PAGE: Final = 50

Request = Callable[[str], "Resource | None"]
"""Returns the JSON at a path; None when the region is busy."""


@dataclass(frozen=True)
class RecordVersions:
    """The versions of a patient in one region: the versions that each one follows, and the resources.

    A deleted version has no resource.
    """

    follows: Mapping[str, Sequence[str]]
    resources: Mapping[str, Resource]

    @property
    def lineage(self) -> Lineage:
        """The versions with their lists."""
        return Lineage(self.follows, {version: appended(resource) for version, resource in self.resources.items()})

    @property
    def with_equal(self) -> Mapping[str, Sequence[str]]:
        """The versions that each one follows, so that only versions in conflict are not followed.

        Versions that replace the same version with the same content are no conflict: a repeated request has written
        them. So a version also follows the older versions that equal it, and those that equal a version from which one
        that it follows descends, if they were written between the one that it follows and itself.

        The platform has the same rule in `patient_api.store.reconciliation`. A drill has its own, from what clients
        see, so that an error there is not repeated here.
        """
        groups: dict[tuple[Sequence[str], str], list[str]] = {}
        equal: dict[str, list[str]] = {}
        behind: dict[str, set[str]] = {}
        found: dict[str, Sequence[str]] = {}
        for version, follows in sorted(self.follows.items()):
            older = groups.setdefault((follows[:1], _content(self.resources.get(version))), [])
            between = [
                other
                for followed in follows
                for ancestor in behind.get(followed, ())
                for other in equal[ancestor]
                if other > followed
            ]
            found[version] = tuple(dict.fromkeys((*follows, *older, *between)))
            older.append(version)
            equal[version] = older
            behind[version] = {version}.union(*(behind.get(one, ()) for one in found[version]))
        return found


def read_versions(request: Request, id: str) -> RecordVersions | None:
    """Return the versions of a patient; None when the region is busy."""
    path = f"/fhir/Patient/{id}/_history"
    entries: list[Resource] = []
    query = f"_count={PAGE}"
    while query:
        page = request(f"{path}?{query}")
        if page is None:
            return None
        entries += page.get("entry", ())
        links = {link["relation"]: link["url"] for link in page["link"]}
        query = urlsplit(links.get("next", "")).query
    return RecordVersions(
        {_version(entry): _follows(entry) for entry in entries},
        {_version(entry): entry["resource"] for entry in entries if "resource" in entry},
    )


@dataclass(frozen=True, kw_only=True)
class VersionReader:
    """Reads versions from all regions, which `endpoints` names.

    Regions that differ or do not answer are read again, until nothing has changed for `patience_seconds`.
    """

    endpoints: Mapping[str, Endpoint]
    token: str
    client: "httpx.Client"
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    patience_seconds: float = UNANSWERED_SECONDS

    def lineages(self, ids: Collection[str]) -> dict[str, dict[str, Lineage | None]]:
        """Return the versions of these patients by region and id; None where a region gave no answer.

        Raises:
            DeploymentError: a region answers with an error that is not temporary.
        """
        found: dict[str, dict[str, Lineage | None]] = {region: {} for region in self.endpoints}
        left, stall = set(ids), StallDetector(self.clock, self.patience_seconds)
        while left:
            for id in sorted(left):
                for region in self.endpoints:
                    found[region][id] = self._read(region, id)
            left = {id for id in left if not _agree([records[id] for records in found.values()])}
            stall.note(frozenset((id, _size(records[id])) for records in found.values() for id in left))
            if stall.stalled:
                break
            if left:
                self.sleep(POLL_SECONDS)
        return found

    def _read(self, region: str, id: str) -> Lineage | None:
        import httpx

        def request(path: str) -> Resource | None:
            try:
                answer = self.endpoints[region].request(self.client, path, token=self.token)
            except httpx.TransportError:
                return None
            if answer.status_code in BUSY:
                return None
            if answer.status_code == 404:
                return {"link": []}
            if answer.status_code != 200:
                raise DeploymentError(f"{region} answered {answer.status_code} when a history was read; see its logs")
            found: Resource = answer.json()
            return found

        versions = read_versions(request, id)
        return None if versions is None else versions.lineage


def _content(resource: Resource | None) -> str:
    """Return the content of a version without what the server adds to it."""
    if resource is None:
        return "deleted"
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in STAMPED}
    return json.dumps({**resource, "id": None, "meta": meta}, sort_keys=True)


def _agree(lineages: Sequence[Lineage | None]) -> bool:
    return lineages[0] is not None and all(lineage == lineages[0] for lineage in lineages)


def _size(lineage: Lineage | None) -> int:
    return -1 if lineage is None else len(lineage.follows)


def _version(entry: Resource) -> str:
    return str(entry["response"]["etag"]).removeprefix('W/"').removesuffix('"')


def _follows(entry: Resource) -> tuple[str, ...]:
    return tuple(found["valueId"] for found in entry.get("extension", ()) if found["url"] == FOLLOWS)
