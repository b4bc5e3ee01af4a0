"""The history of a record: every version ever written, in either region."""

from collections.abc import Sequence
from typing import Final, Protocol

from patient_api.audit.event import Action, AuditEvent
from patient_api.clock import Stamp
from patient_api.errors import Malformed, NotFound, StorageFault, TooCostly
from patient_api.exchange.bundle import Entry, bundle
from patient_api.exchange.criteria import count_in
from patient_api.exchange.cursor import Cursors
from patient_api.exchange.gate import Gate
from patient_api.exchange.request import Request
from patient_api.records.model import PATIENT, RecordKey, Version
from patient_api.records.store import Past

DEFAULT_COUNT: Final = 20
LARGEST_COUNT: Final = 50


class Records(Protocol):
    """As `records.store.DynamoRecords`."""

    def history(self, key: RecordKey, event: AuditEvent, *, limit: int, before: Stamp | None = None) -> Past: ...
    def conflicts(self, key: RecordKey) -> Sequence[frozenset[str]]: ...


class History:
    """Pages of versions, newest first."""

    def __init__(self, *, records: Records, gate: Gate, cursors: Cursors) -> None:
        self._records = records
        self._gate = gate
        self._cursors = cursors

    def history(self, request: Request, id: str) -> str:
        """A Bundle of type `history`; versions written at the same time in both regions name each other."""
        event = self._gate.admit(request, Action.READ, "history-instance", PATIENT, id)
        count, cursor = _asked(request)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        scope = (key.tenant, "history", key.reference)
        before = Stamp.parse(self._cursors.open(cursor, *scope)[0]) if cursor is not None else None
        try:
            found = self._records.history(key, event, limit=count or LARGEST_COUNT, before=before)
            conflicts = self._records.conflicts(key)
        except StorageFault:
            self._gate.failed(self._gate.amendment(event))
            raise
        shown = found.versions
        if not shown and before is None:
            self._gate.refuse(self._gate.amendment(event), NotFound("There is no such record."))
        url = f"{request.base}/{key.reference}"
        links = {"self": f"{url}/_history"}
        if count == 0:
            if found.more:
                self._gate.refuse(self._gate.amendment(event), TooCostly(f"More than {LARGEST_COUNT} versions: page."))
            return bundle("history", [], links=links, total=len(shown))
        if found.more:
            sealed = self._cursors.seal(*scope, position=[str(shown[-1].stamp)])
            links["next"] = f"{url}/_history?_count={count}&_cursor={sealed}"
        entries = [Entry.past(version, url=url, concurrent_with=_others(version, conflicts)) for version in shown]
        total = len(shown) if before is None and not found.more else None
        return bundle("history", entries, links=links, total=total)


def _others(version: Version, conflicts: Sequence[frozenset[str]]) -> Sequence[str]:
    own = str(version.stamp)
    return sorted({other for group in conflicts if own in group for other in group} - {own})


def _asked(request: Request) -> tuple[int, str | None]:
    given = dict(request.parameters_of_query())
    count = count_in(given.get("_count"), default=DEFAULT_COUNT, most=LARGEST_COUNT)
    if count == 0 and "_cursor" in given:
        raise Malformed("A history for the total alone has no pages: leave out _cursor.")
    return count, given.get("_cursor")
