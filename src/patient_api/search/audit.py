"""Search the audit trail, newest first. The searches themselves are audited.

A search by patient is not limited in time. Otherwise the trail is read hour by hour: the last day by default, at most
31 days, at most one day per page. So a page can be short or empty and still have a next one.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from patient_api.audit.resource import OUTCOMES, resource_of
from patient_api.audit.trail import AuditLog, Placed
from patient_api.aws import DynamoDB
from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.keys import PATIENT, instant
from patient_api.errors import StorageFault, TooCostly
from patient_api.fhir.dates import compares, span
from patient_api.http.authorization import Authorization
from patient_api.http.negotiation import lenient
from patient_api.http.paging import BundleEntry, Cursors, bundle
from patient_api.http.request import Request
from patient_api.search.matching import same_code
from patient_api.search.parameters import AUDIT, OUTCOME, Code, Id, Search, When, search_in
from patient_api.search.plan import window_of
from patient_api.search.service import links, outcome

BUDGET: Final = 500  # events looked at for one page
LARGEST_READ: Final = 100
HOURS: Final = 26  # for one page: a day, and the hours in which it begins and ends
LONGEST: Final = timedelta(days=31)
DEFAULT: Final = timedelta(days=1)
AHEAD: Final = timedelta(minutes=1)  # by which another container's clock may be

_HOUR: Final = len("2027-01-15T08")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Step:
    """A place that has been looked at: an event, or none where an hour begins."""

    place: str
    event: AuditEvent | None = None


@dataclass(frozen=True)
class _Range:
    """From the place `low` to ahead of the place `before`."""

    low: str
    before: str


class AuditSearch:
    """The trail of the caller's tenant. `now` gives the time in UTC, `new_id` a unique id."""

    def __init__(
        self,
        *,
        authorization: Authorization,
        client: DynamoDB,
        table: str,
        cursors: Cursors,
        pool: ThreadPoolExecutor,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._authorization = authorization
        self._log = AuditLog(client=client, table=table, pool=pool)
        self._cursors = cursors
        self._now = now
        self._new_id = new_id

    def search(self, request: Request) -> str:
        """A page as a Bundle of type `searchset`. Raises Malformed, TooCostly, StorageFault, and as `Gate.admit`."""
        event = self._authorization.authorize(request, Action.EXECUTE, "search-type", AUDIT)
        search = search_in(AUDIT, request.parameters(), lenient=lenient(request))
        patients = [value.id for criterion in search.named("patient")[:1] for value in criterion.each(Id)]
        tenant = request.caller.tenant
        scope = (tenant, "search-type", AUDIT, search.fingerprint)
        try:
            if search.cursor is None:
                asked = self._range(search, bounded=not patients)
            else:
                asked = _Range(*self._cursors.open(search.cursor, *scope))
            found, following, total = self._found(tenant, search, patients, asked)
            sealed = self._cursors.seal(*scope, position=(asked.low, following)) if following else None
            self._authorization.record_all(
                [replace(event, id=self._new_id(), record=f"{PATIENT}/{patient}") for patient in patients] or [event]
            )
        except TooCostly as error:
            self._authorization.refuse(event, error)
        except StorageFault:
            self._authorization.record_failure(event)
            raise
        entries = [BundleEntry.match(resource_of(one), url=f"{request.base}/{AUDIT}/{one.id}") for one in found]
        links_ = links(request, AUDIT, search.pairs, sealed)
        return bundle("searchset", [*entries, *outcome(search)], links=links_, total=total)

    def _found(
        self, tenant: str, search: Search, patients: list[str], asked: _Range
    ) -> tuple[Sequence[AuditEvent], str | None, int | None]:
        """The events of the page, where the next one begins, and how many there are in all, if that is known."""

        def steps(within: _Range) -> Iterator[_Step]:
            return self._of_patients(tenant, patients, within) if patients else self._by_hour(tenant, within)

        found, following = _page(steps(asked), search, search.count) if search.count else ([], None)
        if search.count and search.cursor is None and following is None:
            return found, following, len(found)
        if not search.counted:
            return found, following, None
        # A page after the first begins further back than the search.
        whole = asked if search.cursor is None else self._range(search, bounded=not patients)
        every, beyond = _page(steps(whole), search, BUDGET + 1)
        if beyond is not None:
            raise TooCostly("Too many events to count: name a patient and a shorter range with date=ge… and date=lt….")
        return found, following, len(every)

    def _range(self, search: Search, *, bounded: bool) -> _Range:
        now = self._now() + AHEAD
        dates = search.named("date")
        first, end = window_of(dates)
        low = _EPOCH + timedelta(milliseconds=first)
        high = min(now, _EPOCH + timedelta(milliseconds=end))
        if bounded and not dates:
            low = now - AHEAD - DEFAULT
        elif bounded and high - low > LONGEST:
            raise TooCostly(f"Name a patient, or a range of at most {LONGEST.days} days with date=ge… and date=lt….")
        return _Range(instant(low), instant(high))

    def _of_patients(self, tenant: str, patients: list[str], asked: _Range) -> Iterator[_Step]:
        before = asked.before
        while True:
            read = self._log.of_patients(tenant, patients, low=asked.low, before=before, limit=LARGEST_READ)
            yield from _steps(read)
            if len(read) < LARGEST_READ:
                return
            before = read[-1][0]

    def _by_hour(self, tenant: str, asked: _Range) -> Iterator[_Step]:
        before = asked.before
        while before > asked.low:
            hour = _hour_ahead_of(before)
            read = self._log.of_hour(tenant, hour, low=asked.low, before=before, limit=LARGEST_READ)
            yield from _steps(read)
            before = read[-1][0] if len(read) == LARGEST_READ else hour
            if before == hour and before > asked.low:
                yield _Step(hour)


def _page(steps: Iterator[_Step], search: Search, count: int) -> tuple[list[AuditEvent], str | None]:
    """At most `count` events that match, and the place where the next page begins."""
    found: list[AuditEvent] = []
    looked, hours, last = 0, 0, None
    for step in steps:
        if step.event is not None and _matches(step.event, search):
            if len(found) == count:
                return found, last
            found.append(step.event)
        last = step.place
        looked += step.event is not None
        hours += step.event is None
        if looked == BUDGET or hours == HOURS:
            return found, last
    return found, None


def _matches(event: AuditEvent, search: Search) -> bool:
    at = span(instant(event.at))
    held = {
        "patient": lambda value: isinstance(value, Id) and event.record == f"{PATIENT}/{value.id}",
        "date": lambda value: isinstance(value, When) and at is not None and compares(value.prefix, value.span, at),
        # Whose subject it is, the tenant's issuer knows: it has no system, and case matters.
        "agent": lambda value: isinstance(value, Code) and not value.system and value.code == event.subject,
        "outcome": lambda value: isinstance(value, Code) and same_code(value, OUTCOME, OUTCOMES[event.outcome]),
    }
    return all(any(map(held[criterion.name], criterion.values)) for criterion in search.criteria)


def _steps(read: Sequence[Placed]) -> Iterator[_Step]:
    return (_Step(place, event) for place, event in read)


def _hour_ahead_of(place: str) -> str:
    """The hour of the events that come right ahead of a place, which may be the beginning of an hour."""
    hour = datetime.fromisoformat(f"{place[:_HOUR]}:00")
    if len(place) == _HOUR:
        hour -= timedelta(hours=1)
    return hour.isoformat()[:_HOUR]
