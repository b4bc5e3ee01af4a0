"""Serve searches of patients and documents: authorize, search, and write audit events before responding."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.http.authorization import Authorization
from patient_api.http.criteria import Criteria, Pairs
from patient_api.http.negotiation import lenient
from patient_api.http.paging import BundleEntry, Cursors, bundle
from patient_api.http.request import Request
from patient_api.search.engine import Page, SearchEngine, SearchResult
from patient_api.search.parameters import Tokenizer, subject
from patient_api.search.query import Search, parse_criteria, parse_search
from patient_api.store.index import Index
from patient_api.store.model import Version

# The parameter that restricts a search to one patient.
_PATIENT_PARAMETER: Final = {PATIENT: "_id", DOCUMENT: "patient"}


class Searches:
    """Searches of patients and documents.

    `new_id` returns a unique id. The threads of `pool` read the partitions of an index in parallel.
    """

    def __init__(
        self,
        *,
        authorization: Authorization,
        index: Index,
        tokenizer: Tokenizer,
        cursors: Cursors,
        pool: ThreadPoolExecutor,
        new_id: Callable[[], str],
    ) -> None:
        self._authorization = authorization
        self._engine = SearchEngine(index=index, tokenizer=tokenizer, pool=pool)
        self._cursors = cursors
        self._new_id = new_id

    def search(self, request: Request, type: str) -> str:
        """Return a page as a Bundle of type `searchset`.

        Raises Malformed, TooCostly, StorageFault, and as `Authorization.authorize`.
        """
        event = self._authorization.authorize(request, Action.EXECUTE, "search-type", type)
        search = parse_search(type, request.parameters(), lenient=lenient(request))
        tenant = request.caller.tenant
        scope = (tenant, "search-type", type, search.fingerprint)
        patient = search.only(_PATIENT_PARAMETER[type])
        event = event if patient is None else replace(event, record=f"{PATIENT}/{patient}")
        with self._authorization.auditing(event):
            position = self._cursors.open(search.cursor, *scope) if search.cursor is not None else None
            page = self._engine.page(tenant, type, search, position) if search.count else Page(())
            if search.counted and page.total is None:
                page = replace(page, total=self._engine.count(tenant, type, search))
            cursor = self._cursors.seal(*scope, position=page.following) if page.following else None
            self._authorization.record_all(self._events(event, page))
        entries = [_entry(result, request.base) for result in page.found]
        links = page_links(request, type, search.pairs, cursor)
        return bundle("searchset", [*entries, *dropped_parameters(search)], links=links, total=page.total)

    def matches(self, tenant: str, criteria: Criteria) -> Sequence[Version]:
        """Return up to two patients that meet the criteria of a conditional request.

        Performs no authorization and writes no audit event; callers must. Raises Malformed, TooCostly, StorageFault.
        """
        return self._engine.first_two(tenant, PATIENT, parse_criteria(PATIENT, criteria))

    def _events(self, event: AuditEvent, page: Page) -> Sequence[AuditEvent]:
        """Return one event for each result, or the event of the search when there is none."""
        return [_access(replace(event, id=self._new_id()), result) for result in page.found] or [event]


def page_links(request: Request, type: str, pairs: Pairs, cursor: str | None) -> Mapping[str, str]:
    """Return a page's links, with the parameters that were understood.

    The parameters of a form do not appear in a URL: the client sends the form again.
    """
    posted = request.method == "POST"
    given = [] if posted else list(pairs)
    path = f"{request.base}/{type}{'/_search' if posted else ''}"
    links = {"self": _url(path, given)}
    if cursor:
        links["next"] = _url(path, [*(pair for pair in given if pair[0] != "_cursor"), ("_cursor", cursor)])
    return links


def dropped_parameters(search: Search) -> Sequence[BundleEntry]:
    """Return the entry that names the parameters that were dropped, if there were any."""
    return [BundleEntry.outcome(search.dropped)] if search.dropped else []


def _url(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _entry(result: SearchResult, base: str) -> BundleEntry:
    return BundleEntry.match(result.version.resource or "", url=f"{base}/{result.version.key.reference}")


def _access(event: AuditEvent, result: SearchResult) -> AuditEvent:
    """Return the event of one result. An access to a document is recorded for its patient."""
    key = result.version.key
    if key.type == PATIENT:
        return replace(event, record=key.reference)
    record = next((f"{PATIENT}/{id}" for id in subject(result.resource)), key.type)
    return replace(event, record=record, entity=key.reference)
