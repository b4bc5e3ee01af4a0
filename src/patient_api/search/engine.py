"""Pages of what a search finds.

A token or a list leads to candidates only; the head of each decides. A page ends when it is full, or when as many
candidates were looked at as one call may cost: then it can be short, even empty, and still have a next one.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from patient_api.errors import Malformed, StorageFault, TooCostly
from patient_api.search.matching import matches
from patient_api.search.parameters import Search
from patient_api.search.plan import Candidates, Plan, plan
from patient_api.store.index import LARGEST_BATCH, Index, IndexEntry, Resource, Tokenizer
from patient_api.store.model import RecordKey, Version

BUDGET: Final = 500  # candidates looked at for one page
LARGEST_SORTED: Final = 1000  # candidates that are counted, or put in another order than they are found in
# Lambda answers with 6 MB at most, and a resource of quotation marks alone doubles when the answer is quoted.
LARGEST_PAGE: Final = 2_500_000  # bytes

Position = Sequence[str]
T = TypeVar("T")


@dataclass(frozen=True)
class SearchResult:
    """A version that matches, and what it holds."""

    version: Version
    resource: Resource


@dataclass(frozen=True)
class Page:
    """`following` is where the next page begins, None when there is none; `total` is None when it is not known."""

    found: Sequence[SearchResult]
    following: Position | None = None
    total: int | None = None


class SearchEngine:
    """Searches of one region's table. Every method raises StorageFault."""

    def __init__(self, *, index: Index, finder: Tokenizer, pool: ThreadPoolExecutor) -> None:
        self._index = index
        self._finder = finder
        self._pool = pool

    def page(self, tenant: str, kind: str, search: Search, position: Position | None) -> Page:
        """The page that begins at `position`. Raises TooCostly."""
        chosen = plan(kind, search)
        if chosen.indexed and search.sort:
            return self._sorted(tenant, kind, search, chosen, position)
        if chosen.indexed:
            after = position[0] if position else None
            ids = self._ids(tenant, kind, chosen, after=after, first=search.count + 1)
            return self._page(tenant, kind, search, ((one, (one,)) for one in ids), whole=position is None)
        ways = Candidates(index=self._index, pool=self._pool, tenant=tenant, kind=kind, first=search.count + 1)
        listed = ways.by_update(
            chosen.window, ascending=search.sort != "-_lastUpdated", after=IndexEntry(*position) if position else None
        )
        steps = ((one.id, (one.updated, one.id)) for one in listed)
        return self._page(tenant, kind, search, steps, whole=position is None)

    def count(self, tenant: str, kind: str, search: Search) -> int:
        """Return how many records match. Raises TooCostly when more than LARGEST_SORTED candidates have to be read."""
        chosen = plan(kind, search)
        remedy = "search for an identifier or more letters of a name, or page without a total."
        if chosen.indexed:
            names = self._all(tenant, kind, chosen, remedy)
        else:
            ways = Candidates(index=self._index, pool=self._pool, tenant=tenant, kind=kind, first=LARGEST_BATCH)
            listed = ways.by_update(chosen.window, ascending=True, after=None)
            names = _bounded((one.id for one in listed), remedy)
        return sum(
            one is not None
            for batch in _batches(names, LARGEST_BATCH)
            for one in self._matching(tenant, kind, search, batch)
        )

    def two(self, tenant: str, kind: str, search: Search) -> Sequence[Version]:
        """At most two versions that match; nothing this region has is missed. Raises Malformed, TooCostly."""
        chosen = plan(kind, search)
        if not chosen.indexed:
            raise Malformed(
                "The criteria must hold an identifier, a name, a date of birth within ten years, or an _id."
            )
        found: list[Version] = []
        remedy = "search for an identifier or more letters of a name."
        for batch in _batches(self._all(tenant, kind, chosen, remedy), LARGEST_BATCH):
            found += [one.version for one in self._matching(tenant, kind, search, batch) if one]
            if len(found) > 1:
                break
        return found[:2]

    def _all(self, tenant: str, kind: str, chosen: Plan, remedy: str) -> Iterator[str]:
        return _bounded(self._ids(tenant, kind, chosen, after=None, first=LARGEST_SORTED + 1), remedy)

    def _ids(self, tenant: str, kind: str, chosen: Plan, *, after: str | None, first: int) -> Iterator[str]:
        if chosen.ids is not None:
            return (one for one in chosen.ids if after is None or one > after)
        tokens = [self._finder.token(tenant, kind, *clear) for clear in chosen.tokens or ()]
        ways = Candidates(index=self._index, pool=self._pool, tenant=tenant, kind=kind, first=first)
        return ways.with_any(tokens, after=after)

    def _page(
        self, tenant: str, kind: str, search: Search, steps: Iterator[tuple[str, Position]], *, whole: bool
    ) -> Page:
        """Return a page. `whole` is true when the steps start at the first result."""
        found: dict[str, SearchResult] = {}
        examined, size, last = 0, 0, None
        for batch in _batches(steps, search.count + 1):
            matching = self._matching(tenant, kind, search, [name for name, _ in batch])
            for (name, position), one in zip(batch, matching, strict=True):
                if one is not None and name not in found:
                    length = len((one.version.resource or "").encode())
                    if len(found) == search.count or (found and size + length > LARGEST_PAGE):
                        return Page(tuple(found.values()), following=last)
                    found[name] = one
                    size += length
                last = position
            examined += len(batch)
            if examined >= BUDGET:
                return Page(tuple(found.values()), following=last)
        return Page(tuple(found.values()), total=len(found) if whole else None)

    def _sorted(self, tenant: str, kind: str, search: Search, chosen: Plan, position: Position | None) -> Page:
        """Return a page of sorted results. All matches are read before the first one is returned."""
        ascending = search.sort == "_lastUpdated"
        after = IndexEntry(*position) if position else None
        total, size, best = 0, 0, list[tuple[IndexEntry, SearchResult]]()
        remedy = "search for an identifier, more letters of a name, or omit _sort."
        for batch in _batches(self._all(tenant, kind, chosen, remedy), LARGEST_BATCH):
            for one in filter(None, self._matching(tenant, kind, search, batch)):
                total += 1
                place = IndexEntry(str(one.version.stamp), one.version.key.id)
                if after is None or (place > after if ascending else place < after):
                    best.append((place, one))
            best = sorted(best, key=lambda entry: entry[0], reverse=not ascending)[: search.count + 1]
        shown: list[tuple[IndexEntry, SearchResult]] = []
        for entry in best[: search.count]:
            size += len((entry[1].version.resource or "").encode())
            if shown and size > LARGEST_PAGE:
                break
            shown.append(entry)
        more = len(shown) < len(best)
        end = shown[-1][0] if more else None
        return Page([one for _, one in shown], following=(end.updated, end.id) if end else None, total=total)

    def _matching(self, tenant: str, kind: str, search: Search, ids: Sequence[str]) -> Sequence[SearchResult | None]:
        """For each of the ids what it found, None where that does not match or was deleted."""
        heads = self._index.heads([RecordKey(tenant, kind, one) for one in ids])
        return [self._found(heads.get(RecordKey(tenant, kind, one)), search) for one in ids]

    def _found(self, head: Version | None, search: Search) -> SearchResult | None:
        if head is None or head.resource is None:
            return None
        try:
            resource = json.loads(head.resource)
        except ValueError:
            raise StorageFault(operation="Read", code="UnreadableVersion") from None
        return SearchResult(head, resource) if matches(head.key.type, resource, search.criteria) else None


def _bounded(ids: Iterator[str], remedy: str) -> Iterator[str]:
    """All of the ids, each once. Raises TooCostly when there are more than LARGEST_SORTED."""
    found = list(islice(ids, LARGEST_SORTED + 1))
    if len(found) > LARGEST_SORTED:
        raise TooCostly(f"More than {LARGEST_SORTED} records have to be looked at: {remedy}")
    # A record that is changed while it is being listed may come twice.
    return iter(dict.fromkeys(found))


def _batches(entries: Iterator[T], size: int) -> Iterator[list[T]]:
    """The first of that size, the next ones larger: who has to look further than hoped will have to look far."""
    while batch := list(islice(entries, size)):
        yield batch
        size = min(2 * size, LARGEST_BATCH)
