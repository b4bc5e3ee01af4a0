"""Searches of patients and of documents: who may, what is found, and the record of it."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import StorageFault, TooCostly
from patient_api.http.authorization import Authorization
from patient_api.http.criteria import Criteria, Pairs
from patient_api.http.negotiation import lenient
from patient_api.http.paging import BundleEntry, Cursors, bundle
from patient_api.http.request import Request
from patient_api.search.engine import Page, SearchEngine, SearchResult
from patient_api.search.parameters import Search, criteria_in, search_in
from patient_api.store.index import Index, Tokenizer, patients
from patient_api.store.model import Version

# The parameter that confines a search to one patient.
_CONFINED: Final = {PATIENT: "_id", DOCUMENT: "patient"}


class Searches:
    """`new_id` gives a unique id; the pool's threads read the partitions of an index side by side."""

    def __init__(
        self,
        *,
        authorization: Authorization,
        index: Index,
        finder: Tokenizer,
        cursors: Cursors,
        pool: ThreadPoolExecutor,
        new_id: Callable[[], str],
    ) -> None:
        self._authorization = authorization
        self._engine = SearchEngine(index=index, finder=finder, pool=pool)
        self._cursors = cursors
        self._new_id = new_id

    def search(self, request: Request, kind: str) -> str:
        """A page as a Bundle of type `searchset`. Raises Malformed, TooCostly, StorageFault, and as `Gate.admit`."""
        event = self._authorization.authorize(request, Action.EXECUTE, "search-type", kind)
        search = search_in(kind, request.parameters(), lenient=lenient(request))
        tenant = request.caller.tenant
        scope = (tenant, "search-type", kind, search.fingerprint)
        patient = search.only(_CONFINED[kind])
        event = event if patient is None else replace(event, record=f"{PATIENT}/{patient}")
        try:
            position = self._cursors.open(search.cursor, *scope) if search.cursor is not None else None
            page = self._engine.page(tenant, kind, search, position) if search.count else Page(())
            if search.counted and page.total is None:
                page = replace(page, total=self._engine.count(tenant, kind, search))
            following = self._cursors.seal(*scope, position=page.following) if page.following else None
            # Before the answer: what cannot be put on record is not handed out.
            self._authorization.record_all(self._events(event, page))
        except TooCostly as error:
            self._authorization.refuse(event, error)
        except StorageFault:
            self._authorization.record_failure(event)
            raise
        entries = [_entry(one, request.base) for one in page.found]
        links_ = links(request, kind, search.pairs, following)
        return bundle("searchset", [*entries, *outcome(search)], links=links_, total=page.total)

    def matches(self, tenant: str, criteria: Criteria) -> Sequence[Version]:
        """Return at most two patients that meet the criteria of a conditional request.

        Performs no authorization and writes no audit event; callers must. Raises Malformed, TooCostly, StorageFault.
        """
        return self._engine.two(tenant, PATIENT, criteria_in(PATIENT, criteria))

    def _events(self, event: AuditEvent, page: Page) -> Sequence[AuditEvent]:
        return [_access(replace(event, id=self._new_id()), one) for one in page.found] or [event]


def links(request: Request, kind: str, pairs: Pairs, following: str | None) -> Mapping[str, str]:
    """Return a page's links, with the parameters that were understood.

    The parameters of a form are not put into a URL: the client sends the form again.
    """
    posted = request.method == "POST"
    given = [] if posted else list(pairs)
    path = f"{request.base}/{kind}{'/_search' if posted else ''}"
    found = {"self": _url(path, given)}
    if following:
        found["next"] = _url(path, [*(pair for pair in given if pair[0] != "_cursor"), ("_cursor", following)])
    return found


def outcome(search: Search) -> Sequence[BundleEntry]:
    """The entry that names the parameters that were dropped, if there were any."""
    return [BundleEntry.outcome(search.dropped)] if search.dropped else []


def _url(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _entry(one: SearchResult, base: str) -> BundleEntry:
    return BundleEntry.match(one.version.resource or "", url=f"{base}/{one.version.key.reference}")


def _access(event: AuditEvent, one: SearchResult) -> AuditEvent:
    """A document is put into the trail of the patient it is about."""
    key = one.version.key
    if key.type == PATIENT:
        return replace(event, record=key.reference)
    about = next((f"{PATIENT}/{patient}" for patient in patients(one.resource)), key.type)
    return replace(event, record=about, entity=key.reference)
