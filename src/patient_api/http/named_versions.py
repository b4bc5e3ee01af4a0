"""The rule for versions that a request names and that this region may not have received yet.

A request names versions of a record in If-Match, If-None-Match, Minimum-Version and Merges, as `meta.versionId` in its
body, and in the URL of a vread. A region can answer for a named version as follows:

- KNOWN: this region has the version, or one that replaces or merges it. The request is answered as always.
- EXPECTED: this region has neither, and the version may be on its way from the peer region. The response is 503 with
  Retry-After, and never 404, 405, 409, 410, 412, 422 or an older version.
- UNKNOWN: the version was never written, or was lost with its region. The request is answered as always: usually with
  412, and 422 for Merges.

A version is in its own region before its writer receives it, so an absent version of this region is UNKNOWN. An absent
version of the peer is EXPECTED until a heartbeat that the peer wrote LATEST_MS after it has arrived: replication, which
carries both, has then brought it, or never will. While replication stands still, so do heartbeats.

A vread and Merges need the version itself: one of the peer region is EXPECTED also when its successor is here. Merges
accepts an UNKNOWN version that a marker names, because its conflict could not be closed otherwise. A version in
If-Match is not looked up when the header also names the current version, and an older one in If-None-Match neither. A
request that names no version cannot be told from one about a record that never existed, so clients send the ETag that
they have.

Nearly all requests name the newest version or the one before it. They cost no further read of the table. Others cost a
look-up of the version, and if it is absent a query of the lineage items between it and the newest version. One of those
versions counts as a successor only if both of its items have arrived. The heartbeat is read only when a version of the
peer is absent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Self

from patient_api.clock import FUTURE_MS, Stamp
from patient_api.contract.headers import NOT_YET_HERE, RETRY_AFTER
from patient_api.errors import ApiError, NotYetHere, Stale
from patient_api.http.preconditions import LARGEST_MERGE, Preconditions, Tags, minimum_version
from patient_api.http.request import Request
from patient_api.store.model import RecordKey, Version
from patient_api.store.versions import VersionStore

RETRY_SECONDS: Final = "1"
LATEST_MS: Final = 300_000
"""How much later than a version a heartbeat may have been written and still arrive before it.

DynamoDB replicates items in no guaranteed order, usually within a second; the queues of busy partitions take longer,
above all after a standstill. It also covers the time between stamp and write, and the errors of both clocks.
"""


def not_yet_here() -> NotYetHere:
    """Return the refusal of a request that names a version which may be on its way."""
    return NotYetHere(NOT_YET_HERE, headers={RETRY_AFTER: RETRY_SECONDS})


@dataclass(frozen=True)
class NamedVersions:
    """The versions that a request names, apart from those that it merges. Tags of other servers are left out."""

    minimum: Stamp | None = None
    match: Sequence[Stamp] = field(default=())
    none_match: Sequence[Stamp] = field(default=())

    @classmethod
    def of(cls, request: Request, conditions: Preconditions) -> Self:
        """Return the versions in the headers of a request and in its preconditions. Raises Malformed."""
        return cls(minimum_version(request), _stamps(conditions.match), _stamps(conditions.none_match))

    def refusal(
        self, current: Version | None, arrived: Callable[[Stamp], bool], awaited: Callable[[Stamp], bool], peer: str
    ) -> ApiError | None:
        """Return why a region cannot answer the request, None when it can.

        `current` is the version that it would answer with, `peer` the other region. `arrived` returns whether the
        region has a version or one that follows it, `awaited` whether an absent version of the peer may be on its way.
        """
        match, none_match = self.match, self.none_match
        if current is not None and current.stamp in match:
            match = ()
        if current is not None and current.stamp in none_match:
            # Its client has the current version. But 304 would take one that has a newer version back to it.
            none_match = [stamp for stamp in none_match if stamp > current.stamp]
        minimum = [] if self.minimum is None else [self.minimum]
        # A list may have hundreds of tags. The newest ones decide what the client has seen.
        tags = sorted({*match, *none_match}, reverse=True)[:LARGEST_MERGE]
        absent = False
        for stamp in (*minimum, *(stamp for stamp in tags if stamp.region == peer)):
            if arrived(stamp):
                continue
            if stamp.region == peer and awaited(stamp):
                return not_yet_here()
            absent = absent or stamp in minimum
        if current is not None and absent:
            return Stale("This region does not have the version in Minimum-Version: it was never written, or was lost.")
        return None


@dataclass(frozen=True)
class Arrivals:
    """Finds out which named versions have arrived in this region, and which may still arrive.

    `peer` is the other region, and `heartbeat_ms` returns when it wrote the last of its heartbeats that arrived here,
    None without one. Times are in milliseconds since 1970. Every method raises StorageFault.
    """

    records: VersionStore
    peer: str
    heartbeat_ms: Callable[[], int | None]
    now_ms: Callable[[], int]

    def refusal(self, named: NamedVersions, key: RecordKey, current: Version | None) -> ApiError | None:
        """Return why this region cannot answer a request about a record, of which `current` is the newest version."""

        def arrived(stamp: Stamp) -> bool:
            if current is None or stamp > current.stamp:
                return False
            # The newest version and those that it follows need no further read. Later ones, which may have arrived
            # meanwhile, do not count: the response does not contain them.
            if stamp in (current.stamp, current.replaces, *current.merges):
                return True
            return self.records.holds(key, stamp) or self.records.is_followed(key, stamp, until=current.stamp)

        return named.refusal(current, arrived, self._awaited(key), self.peer)

    def refusal_among(
        self, named: NamedVersions, key: RecordKey, versions: Sequence[Version], current: Version | None
    ) -> ApiError | None:
        """Return the same for a record of which all versions here have been read."""
        known = {stamp for version in versions for stamp in (version.stamp, version.replaces, *version.merges)}
        return named.refusal(current, known.__contains__, self._awaited(key), self.peer)

    def missing(self, key: RecordKey, stamp: Stamp, otherwise: ApiError) -> ApiError:
        """Return the refusal of a request that needs an absent version itself: `otherwise` if it will not arrive."""
        return not_yet_here() if stamp.region == self.peer and self._awaited(key)(stamp) else otherwise

    def may_arrive(self, named: NamedVersions) -> bool:
        """Return whether the record of a named version may be on its way, when no record here matches criteria."""
        awaited = self._awaited(None)
        return any(stamp.region == self.peer and awaited(stamp) for stamp in (*named.match, *named.none_match))

    def _awaited(self, key: RecordKey | None) -> Callable[[Stamp], bool]:
        """Return whether a version of the peer that was not here may be on its way, or has arrived in the meantime.

        The returned function reads the heartbeat at most once. Without a key, the record of the version is unknown.
        """
        complete_ms = cache(self._complete_ms)

        def awaited(stamp: Stamp) -> bool:
            # Versions and the heartbeat may have arrived together since the version was looked up.
            return stamp.millis > complete_ms() or (key is not None and self.records.holds(key, stamp))

        return awaited

    def _complete_ms(self) -> int:
        """Return the time before which no version of the peer is on its way any more, 0 when it is not known."""
        at_ms = self.heartbeat_ms()
        # After a heartbeat from the future, one of the two clocks is wrong.
        return 0 if at_ms is None or at_ms - self.now_ms() > FUTURE_MS else at_ms - LATEST_MS


def _stamps(tags: Tags | None) -> Sequence[Stamp]:
    if tags is None or tags.versions is None:
        return ()
    return tuple(stamp for stamp in map(Stamp.parse, sorted(tags.versions)) if stamp is not None)
