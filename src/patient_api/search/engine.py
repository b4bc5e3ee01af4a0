"""Find the records that match a search, page by page.

Index tokens and lists lead to candidates only, and the head of each candidate decides. A page ends when it is full, or
when the search has read as many candidates as one call may cost. So a page can be short or empty and still have a next
one.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from patient_api.errors import Malformed, StorageFault, TooCostly
from patient_api.search.parameters import Resource, Tokenizer
from patient_api.search.plan import Candidates, Plan, plan
from patient_api.search.query import Search
from patient_api.store.index import LARGEST_BATCH, Index, IndexEntry
from patient_api.store.model import RecordKey, Version

BUDGET: Final = 500  # candidates read for one page
LARGEST_SORTED: Final = 1000  # candidates that are counted, or sorted in another order than the index has
# A response of Lambda is at most 6 MB, and escaping doubles a resource of quotation marks.
LARGEST_PAGE: Final = 2_500_000  # bytes

Position = Sequence[str]
T = TypeVar("T")


@dataclass(frozen=True)
class SearchResult:
    """A version that matches, and its parsed resource."""

    version: Version
    resource: Resource

    @property
    def size(self) -> int:
        """The size of the resource, in bytes."""
        return len((self.version.resource or "").encode())


@dataclass(frozen=True)
class Page:
    """`following` is where the next page begins, None when there is none. `total` is None when it is not known."""

    found: Sequence[SearchResult]
    following: Position | None = None
    total: int | None = None


class SearchEngine:
    """Searches records of one region's table. Every method raises StorageFault."""

    def __init__(self, *, index: Index, tokenizer: Tokenizer, pool: ThreadPoolExecutor) -> None:
        self._index = index
        self._tokenizer = tokenizer
        self._pool = pool

    def page(self, tenant: str, type: str, search: Search, position: Position | None) -> Page:
        """Return the page that begins at `position`. Raises TooCostly."""
        chosen = plan(search)
        if chosen.indexed and search.sort:
            return self._sorted(tenant, type, search, chosen, position)
        first = search.count + 1
        if chosen.indexed:
            ids = self._ids(tenant, type, chosen, after=position[0] if position else None, first=first)
            return self._page(tenant, type, search, ((id, (id,)) for id in ids), whole=position is None)
        entries = self._candidates(tenant, type, first).by_update(
            chosen.window, ascending=search.sort != "-_lastUpdated", after=IndexEntry(*position) if position else None
        )
        positions = ((entry.id, (entry.updated, entry.id)) for entry in entries)
        return self._page(tenant, type, search, positions, whole=position is None)

    def count(self, tenant: str, type: str, search: Search) -> int:
        """Return how many records match. Raises TooCostly for more than LARGEST_SORTED candidates."""
        chosen = plan(search)
        remedy = "search by an identifier or more letters of a name, or read the pages without a total."
        if chosen.indexed:
            ids = self._all_ids(tenant, type, chosen, remedy)
        else:
            entries = self._candidates(tenant, type, LARGEST_BATCH).by_update(chosen.window, ascending=True, after=None)
            ids = _limited((entry.id for entry in entries), remedy)
        return sum(1 for _ in self._matching(tenant, type, search, ids))

    def first_two(self, tenant: str, type: str, search: Search) -> Sequence[Version]:
        """Return up to two versions that match, of all that this region has. Raises Malformed, TooCostly."""
        chosen = plan(search)
        if not chosen.indexed:
            raise Malformed(
                "The criteria must contain an identifier, a name, a date of birth within ten years, or an _id."
            )
        ids = self._all_ids(tenant, type, chosen, "search by an identifier or more letters of a name.")
        return [result.version for result in islice(self._matching(tenant, type, search, ids), 2)]

    def _candidates(self, tenant: str, type: str, first: int) -> Candidates:
        return Candidates(index=self._index, pool=self._pool, tenant=tenant, type=type, first=first)

    def _ids(self, tenant: str, type: str, chosen: Plan, *, after: str | None, first: int) -> Iterator[str]:
        if chosen.ids is not None:
            return (id for id in chosen.ids if after is None or id > after)
        tokens = [self._tokenizer.token(tenant, type, *token) for token in chosen.tokens or ()]
        return self._candidates(tenant, type, first).with_any(tokens, after=after)

    def _all_ids(self, tenant: str, type: str, chosen: Plan, remedy: str) -> Iterator[str]:
        return _limited(self._ids(tenant, type, chosen, after=None, first=LARGEST_SORTED + 1), remedy)

    def _page(
        self, tenant: str, type: str, search: Search, candidates: Iterator[tuple[str, Position]], *, whole: bool
    ) -> Page:
        """Return a page of candidates in their order. `whole` is true when they start at the first one."""
        found: dict[str, SearchResult] = {}
        examined, size, last = 0, 0, None
        for batch in _batches(candidates, search.count + 1):
            results = self._results(tenant, type, search, [id for id, _ in batch])
            for (id, position), result in zip(batch, results, strict=True):
                if result is not None and id not in found:
                    if len(found) == search.count or (found and size + result.size > LARGEST_PAGE):
                        return Page(tuple(found.values()), following=last)
                    found[id] = result
                    size += result.size
                last = position
            examined += len(batch)
            if examined >= BUDGET:
                return Page(tuple(found.values()), following=last)
        return Page(tuple(found.values()), total=len(found) if whole else None)

    def _sorted(self, tenant: str, type: str, search: Search, chosen: Plan, position: Position | None) -> Page:
        """Return a page of sorted results. All matches are read before the first one is returned."""
        ascending = search.sort == "_lastUpdated"
        after = IndexEntry(*position) if position else None
        remedy = "search by an identifier or more letters of a name, or leave out _sort."
        total, first = 0, list[tuple[IndexEntry, SearchResult]]()
        for result in self._matching(tenant, type, search, self._all_ids(tenant, type, chosen, remedy)):
            total += 1
            entry = IndexEntry(str(result.version.stamp), result.version.key.id)
            if after is None or (entry > after if ascending else entry < after):
                first.append((entry, result))
                # Few are kept, so that the resources of all matches are not in memory at once.
                if len(first) > LARGEST_BATCH + search.count:
                    first = _first(first, search.count + 1, ascending=ascending)
        first = _first(first, search.count + 1, ascending=ascending)
        shown, size = list[tuple[IndexEntry, SearchResult]](), 0
        for entry, result in first[: search.count]:
            size += result.size
            if shown and size > LARGEST_PAGE:
                break
            shown.append((entry, result))
        end = shown[-1][0] if len(shown) < len(first) else None
        following = (end.updated, end.id) if end else None
        return Page([result for _, result in shown], following=following, total=total)

    def _matching(self, tenant: str, type: str, search: Search, ids: Iterator[str]) -> Iterator[SearchResult]:
        for batch in _batches(ids, LARGEST_BATCH):
            yield from filter(None, self._results(tenant, type, search, batch))

    def _results(self, tenant: str, type: str, search: Search, ids: Sequence[str]) -> Sequence[SearchResult | None]:
        """Return the result for each id, None for a record that does not match or was deleted."""
        heads = self._index.heads([RecordKey(tenant, type, id) for id in ids])
        return [_result(heads.get(RecordKey(tenant, type, id)), search) for id in ids]


def _result(head: Version | None, search: Search) -> SearchResult | None:
    if head is None or head.resource is None:
        return None
    try:
        resource = json.loads(head.resource)
    except ValueError:
        raise StorageFault(operation="Read", code="UnreadableVersion") from None
    return SearchResult(head, resource) if search.matches(resource) else None


def _first(
    entries: Iterable[tuple[IndexEntry, SearchResult]], count: int, *, ascending: bool
) -> list[tuple[IndexEntry, SearchResult]]:
    return sorted(entries, key=lambda entry: entry[0], reverse=not ascending)[:count]


def _limited(ids: Iterator[str], remedy: str) -> Iterator[str]:
    """Return the ids, each once. Raises TooCostly for more than LARGEST_SORTED."""
    found = list(islice(ids, LARGEST_SORTED + 1))
    if len(found) > LARGEST_SORTED:
        raise TooCostly(f"The search would read more than {LARGEST_SORTED} records: {remedy}")
    # A record that changes while it is listed may come twice.
    return iter(dict.fromkeys(found))


def _batches(entries: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield batches of growing size: a search that has to read beyond its first batch usually has to read far."""
    while batch := list(islice(entries, size)):
        yield batch
        size = min(2 * size, LARGEST_BATCH)
