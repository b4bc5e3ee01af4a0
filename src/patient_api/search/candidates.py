"""The records a search has to look at, in a total order: streams that read no further than they are followed."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

from patient_api.records.index import LARGEST_BATCH, Index, Listed
from patient_api.records.items import Token

C = TypeVar("C", str, Listed)
# The candidates that follow one, that many if there are, and whether these were the last.
Fetch = Callable[[C | None, int], tuple[Sequence[C], bool]]


class Candidates:
    """Streams for one tenant's records of a type; `first` is how many the first read of each partition asks for."""

    def __init__(self, *, index: Index, pool: ThreadPoolExecutor, tenant: str, kind: str, first: int) -> None:
        self._index = index
        self._pool = pool
        self._tenant = tenant
        self._kind = kind
        self._first = first

    def with_any(self, tokens: Sequence[Token], *, after: str | None) -> Iterator[str]:
        """Ids of records that had any of the tokens, ascending."""

        def fetch(token: Token) -> Fetch[str]:
            def read(last: str | None, limit: int) -> tuple[Sequence[str], bool]:
                found = self._index.ids(self._tenant, self._kind, token, after=last or "", limit=limit)
                return found, len(found) < limit

            return read

        merged = heapq.merge(*self._streams([fetch(token) for token in tokens], after))
        return (identifier for identifier, _ in groupby(merged))

    def by_update(self, window: tuple[int, int], *, ascending: bool, after: Listed | None) -> Iterator[Listed]:
        """Records in the order of their last change and, where that is the same, of their ids.

        `window` is in milliseconds since 1970, its end excluded. A record that is changed meanwhile may come again.
        """
        if window[0] >= window[1]:
            return iter(())
        # No stamp is as short as these: they stand before the first one of their millisecond.
        low, high = (f"{millis:013d}" for millis in window)
        shelves = self._index.shelves(self._tenant, self._kind)
        fetches = [self._shelf(shelf, low, high, ascending=ascending) for shelf in shelves]
        return heapq.merge(*self._streams(fetches, after), reverse=not ascending)

    def _shelf(self, shelf: str, low: str, high: str, *, ascending: bool) -> Fetch[Listed]:
        def read(last: Listed | None, limit: int) -> tuple[Sequence[Listed], bool]:
            start, end = low, high
            if last is not None:
                start, end = (last.updated, high) if ascending else (low, last.updated)
            asked = limit + 1  # which is where `last` itself comes again
            while True:
                found = self._index.listed(shelf, low=start, high=end, ascending=ascending, limit=asked)
                complete = len(found) < asked
                # The index leaves open in which order records of the same stamp come: such a group is taken whole.
                whole = [one for one in found if complete or one.updated != found[-1].updated]
                fresh = [one for one in whole if last is None or (one > last if ascending else one < last)]
                if fresh or complete:
                    return sorted(fresh, reverse=not ascending), complete
                asked *= 2

        return read

    def _streams(self, fetches: Sequence[Fetch[C]], after: C | None) -> Sequence[Iterator[C]]:
        if len(fetches) == 1:
            return [_stream(fetches[0], fetches[0](after, self._first), self._first)]
        begun = [self._pool.submit(fetch, after, self._first) for fetch in fetches]
        return [_stream(fetch, first.result(), self._first) for fetch, first in zip(fetches, begun, strict=True)]


def _stream(fetch: Fetch[C], begun: tuple[Sequence[C], bool], limit: int) -> Iterator[C]:
    found, complete = begun
    while True:
        yield from found
        if complete:
            return
        limit = min(2 * limit, LARGEST_BATCH)
        found, complete = fetch(found[-1], limit)
