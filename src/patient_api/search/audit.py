"""Serve searches of audit events, newest first. The searches themselves are audited.

A search by patient is not limited in time. Otherwise the trail is read hour by hour: the last day by default, at most
31 days, at most one day per page. So a page can be short or empty and still have a next one.

Requests have the time of the gateway in their events, so the clock of a function that is wrong hides none of them. The
platform's own events have the time of the function that confirms documents: a search by patient finds them at once,
whatever their time, and one without a patient up to `CLOCK_TOLERANCE` in the future.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from patient_api.audit.resource import resource_of
from patient_api.audit.trail import AuditLog, Entry
from patient_api.aws import DynamoDB
from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.keys import AUDIT_EVENT, PATIENT, instant
from patient_api.errors import TooCostly
from patient_api.http.authorization import Authorization
from patient_api.http.negotiation import lenient
from patient_api.http.paging import BundleEntry, Cursors, bundle
from patient_api.http.request import Request
from patient_api.search.plan import window_of
from patient_api.search.query import Search, parse_search
from patient_api.search.service import dropped_parameters, page_links

BUDGET: Final = 500  # events read for one page
LARGEST_READ: Final = 100
HOURS: Final = 26  # for one page: a day, and the hours in which it begins and ends
LONGEST_RANGE: Final = timedelta(days=31)
DEFAULT_RANGE: Final = timedelta(days=1)
CLOCK_TOLERANCE: Final = timedelta(minutes=1)

_HOUR: Final = len("2027-01-15T08")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Step:
    """A position that was read: an event, or without one the beginning of an hour."""

    position: str
    event: AuditEvent | None = None


@dataclass(frozen=True)
class _Range:
    """A range of sort keys, from `low` (inclusive) to `before` (exclusive)."""

    low: str
    before: str


class AuditSearch:
    """Searches of the audit trail of the caller's tenant. `new_id` returns a unique id."""

    def __init__(
        self,
        *,
        authorization: Authorization,
        client: DynamoDB,
        table: str,
        cursors: Cursors,
        pool: ThreadPoolExecutor,
        new_id: Callable[[], str],
    ) -> None:
        self._authorization = authorization
        self._audit_log = AuditLog(client=client, table=table, pool=pool)
        self._cursors = cursors
        self._new_id = new_id

    def search(self, request: Request) -> str:
        """Return a page as a Bundle of type `searchset`.

        Raises Malformed, TooCostly, StorageFault, and as `Authorization.authorize`.
        """
        event = self._authorization.authorize(request, Action.EXECUTE, "search-type", AUDIT_EVENT)
        search = parse_search(AUDIT_EVENT, request.parameters(), lenient=lenient(request))
        # Events of any of the patients of the first criterion are read, and must meet the others.
        patients = list(next(iter(search.values("patient")), ()))
        tenant = request.caller.tenant
        scope = (tenant, "search-type", AUDIT_EVENT, search.fingerprint)
        with self._authorization.auditing(event):
            if search.cursor is None:
                span = _range(search, request.received, limited=not patients)
            else:
                span = _Range(*self._cursors.open(search.cursor, *scope))
            found, following, total = self._found(request, search, patients, span)
            cursor = self._cursors.seal(*scope, position=(span.low, following)) if following else None
            self._authorization.record_all(
                [replace(event, id=self._new_id(), record=f"{PATIENT}/{id}") for id in patients] or [event]
            )
        # A single event cannot be read, so no URL of the server leads to it (https://hl7.org/fhir/R4/bundle.html#bundle-unique).
        entries = [BundleEntry.match(resource_of(one), url=f"urn:uuid:{one.id}") for one in found]
        links = page_links(request, AUDIT_EVENT, search.pairs, cursor)
        return bundle("searchset", [*entries, *dropped_parameters(search)], links=links, total=total)

    def _found(
        self, request: Request, search: Search, patients: list[str], span: _Range
    ) -> tuple[Sequence[AuditEvent], str | None, int | None]:
        """Return the events of the page, the position of the next page, and the total if it is known."""

        tenant = request.caller.tenant

        def steps(span: _Range) -> Iterator[_Step]:
            return self._of_patients(tenant, patients, span) if patients else self._by_hour(tenant, span)

        found, following = _page(steps(span), search, search.count) if search.count else ([], None)
        if search.count and search.cursor is None and following is None:
            return found, following, len(found)
        if not search.counted:
            return found, following, None
        # A later page begins further back than the search.
        whole = span if search.cursor is None else _range(search, request.received, limited=not patients)
        all_events, beyond = _page(steps(whole), search, BUDGET + 1)
        if beyond is not None:
            raise TooCostly("Too many events to count: name a patient and a shorter range with date=ge… and date=lt….")
        return found, following, len(all_events)

    def _of_patients(self, tenant: str, patients: list[str], span: _Range) -> Iterator[_Step]:
        before = span.before
        while True:
            read = self._audit_log.of_patients(tenant, patients, low=span.low, before=before, limit=LARGEST_READ)
            yield from _steps(read)
            if len(read) < LARGEST_READ:
                return
            before = read[-1][0]

    def _by_hour(self, tenant: str, span: _Range) -> Iterator[_Step]:
        before = span.before
        while before > span.low:
            hour = _hour_before(before)
            read = self._audit_log.of_hour(tenant, hour, low=span.low, before=before, limit=LARGEST_READ)
            yield from _steps(read)
            before = read[-1][0] if len(read) == LARGEST_READ else hour
            if before == hour and before > span.low:
                yield _Step(hour)


def _range(search: Search, now: datetime, *, limited: bool) -> _Range:
    """Return the range that a search reads. `limited` is whether it is limited in time."""
    dates = search.values("date")
    first, end = window_of(dates)
    low, high = _EPOCH + timedelta(milliseconds=first), _EPOCH + timedelta(milliseconds=end)
    if not limited:
        return _Range(instant(low), instant(high))
    high = min(high, now + CLOCK_TOLERANCE)
    if not dates:
        low = now - DEFAULT_RANGE
    elif high - low > LONGEST_RANGE:
        raise TooCostly(f"Name a patient, or a range of at most {LONGEST_RANGE.days} days with date=ge… and date=lt….")
    return _Range(instant(low), instant(high))


def _page(steps: Iterator[_Step], search: Search, count: int) -> tuple[list[AuditEvent], str | None]:
    """Return up to `count` events that match, and the position of the next page."""
    found: list[AuditEvent] = []
    events, hours, last = 0, 0, None
    for step in steps:
        if step.event is not None and search.matches(step.event):
            if len(found) == count:
                return found, last
            found.append(step.event)
        last = step.position
        events += step.event is not None
        hours += step.event is None
        if events == BUDGET or hours == HOURS:
            return found, last
    return found, None


def _steps(read: Sequence[Entry]) -> Iterator[_Step]:
    return (_Step(position, event) for position, event in read)


def _hour_before(position: str) -> str:
    """Return the hour of the events right before a position, which may be the beginning of an hour."""
    hour = datetime.fromisoformat(f"{position[:_HOUR]}:00")
    if len(position) == _HOUR:
        hour -= timedelta(hours=1)
    return hour.isoformat()[:_HOUR]
