"""The record that a conditional request names by search criteria, in place of an id."""

from collections.abc import Callable, Sequence

from patient_api.audit.event import AuditEvent
from patient_api.errors import Forbidden, Malformed, Stale, StorageFault, TooCostly
from patient_api.exchange.criteria import IF_NONE_EXIST, Criteria
from patient_api.exchange.gate import Gate
from patient_api.exchange.request import Request
from patient_api.records.model import PATIENT, Version

Matches = Callable[[str, Criteria], Sequence[Version]]


class Selection:
    """Criteria of requests, and what they match. `matches` searches a tenant's patients; it gives two at most."""

    def __init__(self, *, gate: Gate, matches: Matches) -> None:
        self._gate = gate
        self._matches = matches

    def of_creation(self, request: Request, event: AuditEvent) -> Criteria | None:
        """Return the criteria that nothing may match when a record is created, None when there are none.

        They stand in If-None-Exist, or in the URL, as fhirpy sends them. Raises Malformed, Forbidden.
        """
        in_url, header = Criteria.of_url(request), request.headers.get(IF_NONE_EXIST.lower())
        if in_url is None and header is None:
            return None
        self._check_rights(request, event)
        if header is None:
            return in_url
        if in_url is not None:
            raise Malformed(f"Send criteria in {IF_NONE_EXIST} or in the URL, not both.")
        return Criteria.of_header(header)

    def of_change(self, request: Request, event: AuditEvent) -> Criteria:
        """Return the criteria in the URL of a request that changes the record which they match.

        Raises Malformed without any, for a request never changes whatever there is; Forbidden.
        """
        criteria = Criteria.of_url(request)
        if criteria is None:
            raise Malformed("This needs the id of a record in its path, or search criteria that match one.")
        self._check_rights(request, event)
        return criteria

    def one(self, criteria: Criteria, event: AuditEvent) -> Version | None:
        """Return the record that matches, None when none does.

        Raises Stale when several do, TooCostly and StorageFault, each once it is in the audit trail; Malformed.
        """
        try:
            found = self._matches(event.tenant, criteria)
        except TooCostly as error:
            self._gate.refuse(event, error)
        except StorageFault:
            self._gate.failed(event)
            raise
        if len(found) > 1:
            self._gate.refuse(event, Stale(f"The criteria in {criteria.place} match more than one record."))
        return next(iter(found), None)

    def _check_rights(self, request: Request, event: AuditEvent) -> None:
        if not request.caller.may("s", PATIENT) or not request.caller.may("r", PATIENT):
            self._gate.refuse(event, Forbidden("Criteria need the right to search and to read as well."))
