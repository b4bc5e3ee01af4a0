"""Choose the most selective criterion of a search, and read its candidates from the index in a total order.

No search scans a table. Candidates are streams, which read no further than they are consumed.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Final, TypeAlias, TypeVar

from patient_api.contract.keys import PATIENT
from patient_api.fhir.dates import reach, year_of
from patient_api.search.parameters import Code, Criterion, Id, Search, Text, When
from patient_api.store.index import (
    LARGEST_BATCH,
    LONG_PREFIX,
    Index,
    IndexEntry,
    birth_year,
    identifier,
    name_prefix,
    subject,
)
from patient_api.store.model import Token

LARGEST_YEARS: Final = 10  # years of birth that are looked for one by one
MILLISECOND: Final = 1_000_000  # in nanoseconds
LAST_MILLIS: Final = 10**13 - 1  # the last that a stamp can hold

ClearToken: TypeAlias = tuple[str, str]
Range: TypeAlias = tuple[int | None, int | None]  # both included


@dataclass(frozen=True)
class Plan:
    """By `ids`, else by any of the `tokens`, else by the time of the last change, of which `window` is the range.

    `window` is in milliseconds since 1970, its end excluded.
    """

    ids: tuple[str, ...] | None = None
    tokens: tuple[ClearToken, ...] | None = None
    window: tuple[int, int] = (0, LAST_MILLIS)

    @property
    def indexed(self) -> bool:
        """Return whether the number of candidates is independent of the number of records."""
        return self.ids is not None or self.tokens is not None


def plan(kind: str, search: Search) -> Plan:
    """The plan of a search of resources of that type."""
    window = window_of(search.named("_lastUpdated"))
    for criterion in search.named("_id"):
        return Plan(ids=tuple(sorted(value.id for value in criterion.each(Id))), window=window)
    ways = _of_patients(search) if kind == PATIENT else _of_documents(search)
    return Plan(tokens=min(ways, default=(0, None), key=_cost)[1], window=window)


# How much a way is expected to find, and the tokens to go by.
_Way: TypeAlias = tuple[int, tuple[ClearToken, ...] | None]
_SYSTEM, _VALUE, _LONG, _SHORT, _YEAR = range(5)


def _cost(way: _Way) -> tuple[int, int]:
    return way[0], len(way[1] or ())


def _of_patients(search: Search) -> list[_Way]:
    ways: list[_Way] = []
    for criterion in search.named("identifier"):
        codes = criterion.each(Code)
        # A whole system has no token: every patient of a tenant would be written to the same partition.
        tokens = [identifier(code.system, code.code) for code in codes if code.code is not None]
        if len(tokens) == len(codes):
            worst = _VALUE if any(code.system is None for code in codes) else _SYSTEM
            ways.append((worst, _tokens(tokens)))
    for criterion in search.criteria:
        texts = criterion.each(Text)
        found = [token for text in texts if (token := name_prefix(text.folded)) is not None]
        if texts and len(found) == len(texts):
            worst = _LONG if all(len(beginning) == LONG_PREFIX for _, beginning in found) else _SHORT
            ways.append((worst, _tokens(found)))
    first, last = _years(search.named("birthdate"))
    if first is not None and last is not None and last - first < LARGEST_YEARS:
        ways.append((_YEAR, _tokens(birth_year(f"{year:04d}") for year in range(first, last + 1))))
    return ways


def _of_documents(search: Search) -> list[_Way]:
    return [
        (_VALUE, _tokens(subject(value.id) for value in criterion.each(Id))) for criterion in search.named("patient")
    ]


def _tokens(tokens: Iterable[ClearToken]) -> tuple[ClearToken, ...]:
    return tuple(dict.fromkeys(tokens))


def _years(criteria: Sequence[Criterion]) -> Range:
    # A date of birth lies within one year: if it reaches into a span, so does its year.
    return _intersection(_union(_year_range(value) for value in criterion.each(When)) for criterion in criteria)


def _year_range(value: When) -> Range:
    low, high = reach(value.prefix, value.span)
    return None if low is None else year_of(low), None if high is None else year_of(high - 1)


def window_of(criteria: Sequence[Criterion]) -> tuple[int, int]:
    """Return the range of milliseconds since 1970, the end excluded, in which dates that match can lie."""
    low, high = _intersection(_union(_millis_range(value) for value in criterion.each(When)) for criterion in criteria)
    first = 0 if low is None else min(max(low, 0), LAST_MILLIS)
    end = LAST_MILLIS if high is None else min(max(high + 1, 0), LAST_MILLIS)
    return first, end


def _millis_range(value: When) -> Range:
    low, high = reach(value.prefix, value.span)
    return None if low is None else low // MILLISECOND, None if high is None else (high - 1) // MILLISECOND


def _union(ranges: Iterable[Range]) -> Range:
    return reduce(lambda one, other: (_least(one[0], other[0]), _most(one[1], other[1])), ranges)


def _least(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _intersection(ranges: Iterable[Range]) -> Range:
    known = list(ranges)
    return (
        max((low for low, _ in known if low is not None), default=None),
        min((high for _, high in known if high is not None), default=None),
    )


C = TypeVar("C", str, IndexEntry)
# The candidates that follow one, that many if there are, and whether these were the last.
Fetch = Callable[[C | None, int], tuple[Sequence[C], bool]]


class Candidates:
    """Streams of one tenant's records of a type. `first` is the page size of the first read of each partition."""

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

    def by_update(self, window: tuple[int, int], *, ascending: bool, after: IndexEntry | None) -> Iterator[IndexEntry]:
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

    def _shelf(self, shelf: str, low: str, high: str, *, ascending: bool) -> Fetch[IndexEntry]:
        def read(last: IndexEntry | None, limit: int) -> tuple[Sequence[IndexEntry], bool]:
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
