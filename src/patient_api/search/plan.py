"""Choose the most selective criterion of a search, and read its candidates from the index in a total order.

No search scans a table. Candidates are streams, which read no further than they are consumed.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from patient_api.search.parameters import DateComparison, IndexToken, bounds
from patient_api.search.query import Search
from patient_api.store.index import LARGEST_BATCH, Index, IndexEntry
from patient_api.store.model import Token

MILLISECOND: Final = 1_000_000  # in nanoseconds
LAST_MILLIS: Final = 10**13 - 1  # the last that a stamp can hold


@dataclass(frozen=True)
class Plan:
    """The way to the candidates: by `ids`, else by any of the `tokens`, else by the time of the last change.

    `window` is the range of that time in milliseconds since 1970, its end excluded.
    """

    ids: tuple[str, ...] | None = None
    tokens: tuple[IndexToken, ...] | None = None
    window: tuple[int, int] = (0, LAST_MILLIS)

    @property
    def indexed(self) -> bool:
        """Return whether the number of candidates is independent of the number of records."""
        return self.ids is not None or self.tokens is not None


def plan(search: Search) -> Plan:
    """Return the plan with the lowest expected cost."""
    window = window_of(search.values("_lastUpdated"))
    for ids in search.values("_id"):
        return Plan(ids=tuple(sorted(ids)), window=window)
    best = min(search.lookups(), key=lambda lookup: lookup.cost, default=None)
    return Plan(tokens=None if best is None else best.tokens, window=window)


def window_of(criteria: Sequence[Sequence[DateComparison]]) -> tuple[int, int]:
    """Return the range of milliseconds since 1970, its end excluded, in which dates that match can lie."""
    low, high = bounds(criteria)
    first = 0 if low is None else min(max(low // MILLISECOND, 0), LAST_MILLIS)
    end = LAST_MILLIS if high is None else min(max((high - 1) // MILLISECOND + 1, 0), LAST_MILLIS)
    return first, end


C = TypeVar("C", str, IndexEntry)
# Returns up to that many candidates that follow one, and whether they are the last.
Fetch = Callable[[C | None, int], tuple[Sequence[C], bool]]


@dataclass(eq=False, repr=False, kw_only=True)
class Candidates:
    """Streams of one tenant's records of a type. `first` is the page size of the first read of each partition."""

    index: Index
    pool: ThreadPoolExecutor
    tenant: str
    type: str
    first: int

    def with_any(self, tokens: Sequence[Token], *, after: str | None) -> Iterator[str]:
        """Yield the ids of records that had any of the tokens, ascending."""

        def fetch(token: Token) -> Fetch[str]:
            def read(last: str | None, limit: int) -> tuple[Sequence[str], bool]:
                found = self.index.ids(self.tenant, self.type, token, after=last or "", limit=limit)
                return found, len(found) < limit

            return read

        merged = heapq.merge(*self._streams([fetch(token) for token in tokens], after))
        return (id for id, _ in groupby(merged))

    def by_update(self, window: tuple[int, int], *, ascending: bool, after: IndexEntry | None) -> Iterator[IndexEntry]:
        """Yield records in the order of their last change and, where that is equal, of their ids.

        `window` is in milliseconds since 1970, its end excluded. A record that changes meanwhile may come twice.
        """
        if window[0] >= window[1]:
            return iter(())
        # These are shorter than every stamp, so they sort before the first one of their millisecond.
        low, high = (f"{millis:013d}" for millis in window)
        partitions = self.index.update_partitions(self.tenant, self.type)
        fetches = [self._updates(partition, low, high, ascending=ascending) for partition in partitions]
        return heapq.merge(*self._streams(fetches, after), reverse=not ascending)

    def _updates(self, partition: str, low: str, high: str, *, ascending: bool) -> Fetch[IndexEntry]:
        def read(last: IndexEntry | None, limit: int) -> tuple[Sequence[IndexEntry], bool]:
            start, end = low, high
            if last is not None:
                start, end = (last.updated, high) if ascending else (low, last.updated)
            size = limit + 1  # `last` itself comes again
            while True:
                found = self.index.updates(partition, low=start, high=end, ascending=ascending, limit=size)
                complete = len(found) < size
                # The index has no order among records of the same stamp, so such a group is taken as a whole.
                whole = [entry for entry in found if complete or entry.updated != found[-1].updated]
                fresh = [entry for entry in whole if last is None or (entry > last if ascending else entry < last)]
                if fresh or complete:
                    return sorted(fresh, reverse=not ascending), complete
                size *= 2

        return read

    def _streams(self, fetches: Sequence[Fetch[C]], after: C | None) -> Sequence[Iterator[C]]:
        if len(fetches) == 1:
            return [_stream(fetches[0], fetches[0](after, self.first), self.first)]
        firsts = [self.pool.submit(fetch, after, self.first) for fetch in fetches]
        return [_stream(fetch, first.result(), self.first) for fetch, first in zip(fetches, firsts, strict=True)]


def _stream(fetch: Fetch[C], first: tuple[Sequence[C], bool], limit: int) -> Iterator[C]:
    found, complete = first
    while True:
        yield from found
        if complete:
            return
        limit = min(2 * limit, LARGEST_BATCH)
        found, complete = fetch(found[-1], limit)
