"""Create records, and find the record that search criteria name.

A creation that is repeated with the same Idempotency-Key or If-None-Exist, in either region, creates one record.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from uuid import UUID

from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.headers import IDEMPOTENCY_KEY, IF_NONE_EXIST
from patient_api.contract.keys import PATIENT
from patient_api.errors import (
    Conflict,
    Forbidden,
    HeadMismatch,
    Malformed,
    Stale,
    Unprocessable,
)
from patient_api.http.authorization import BUSY, Authorization
from patient_api.http.criteria import Criteria
from patient_api.http.idempotency import IdempotentRequest, idempotent_request
from patient_api.http.payload import Resource, resource_in
from patient_api.http.request import Request
from patient_api.service_context import Created, ServiceContext
from patient_api.store.model import Method, RecordKey, Version, version_of

ATTEMPTS: Final = 3
Matcher = Callable[[str, Criteria], Sequence[Version]]


class CriteriaLookup:
    """Reads the criteria of requests, and finds the record that they match.

    `matches` searches the patients of a tenant and returns at most two.
    """

    def __init__(self, *, authorization: Authorization, matches: Matcher) -> None:
        self._authorization = authorization
        self._matches = matches

    def of_creation(self, request: Request, event: AuditEvent) -> Criteria | None:
        """Return the criteria that nothing may match when a record is created, None when there are none.

        If-None-Exist contains them, or the URL, where fhirpy sends them. Raises Malformed, Forbidden.
        """
        in_url, header = Criteria.of_url(request), request.header(IF_NONE_EXIST)
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

        Raises Malformed without any, so that no request changes an arbitrary record. Raises Forbidden.
        """
        criteria = Criteria.of_url(request)
        if criteria is None:
            raise Malformed("The path must contain the id of a record, or the URL search criteria that match one.")
        self._check_rights(request, event)
        return criteria

    def one(self, criteria: Criteria, event: AuditEvent) -> Version | None:
        """Return the record that matches, None when none does.

        Raises Stale when several do, TooCostly and StorageFault, each once it is in the audit trail; Malformed.
        """
        with self._authorization.auditing(event):
            found = self._matches(event.tenant, criteria)
        if len(found) > 1:
            self._authorization.refuse(event, Stale(f"The criteria in {criteria.place} match more than one record."))
        return next(iter(found), None)

    def _check_rights(self, request: Request, event: AuditEvent) -> None:
        if not request.caller.may("s", PATIENT) or not request.caller.may("r", PATIENT):
            self._authorization.refuse(event, Forbidden("Criteria also need the rights to search and to read."))


class Creation:
    """Creates records under ids that the server chooses."""

    def __init__(self, context: ServiceContext, *, selection: CriteriaLookup) -> None:
        self._context = context
        self._records = context.records
        self._authorization = context.authorization
        self._selection = selection

    def create(self, request: Request) -> Created:
        """Create a record with an id of the server; an id in the body is ignored, as FHIR requires.

        With an `Idempotency-Key` that was used before, returns the record of that request; with criteria, the record
        that matches them.
        """
        event = replace(
            self._authorization.authorize(request, Action.CREATE, "create", PATIENT), status=HTTPStatus.CREATED
        )
        criteria = self._selection.of_creation(request, event)
        if criteria is not None and request.header(IDEMPOTENCY_KEY) is not None:
            raise Malformed(f"Send criteria in {criteria.place} or {IDEMPOTENCY_KEY}, not both.")
        resource = resource_in(request, PATIENT)
        idempotent = idempotent_request(request, PATIENT, blind=self._context.blind)
        if criteria is not None:
            return self._create_unless_matched(criteria, event, resource)
        if idempotent is not None:
            return self._create_idempotent(idempotent, event, resource)
        return Created(self.create_new(event, resource))

    def for_criteria(self, criteria: Criteria, event: AuditEvent, resource: Resource) -> Version:
        """Create a record under the first free id of the criteria, which is the same for concurrent requests.

        Raises HeadMismatch when a concurrent request has created it.
        """

        def derived(number: int) -> str:
            parts = (IF_NONE_EXIST, event.tenant, criteria.canonical, *([str(number)] if number else []))
            # Blinded, because criteria may contain an identifier of a patient.
            return str(UUID(hex=self._context.blind("id", *parts), version=4))

        def taken(number: int) -> bool:
            return self._records.follows(RecordKey(event.tenant, PATIENT, derived(number)))

        with self._authorization.auditing(event):
            # Ids are used in order, and a deleted record keeps its own. So a few reads find the first free one.
            used, free = -1, 0
            while taken(free):
                used, free = free, 2 * free + 1
            while free - used > 1:
                middle = (used + free) // 2
                used, free = (middle, free) if taken(middle) else (used, middle)
        # A concurrent request may have created the record before the free id after this request has searched, and the
        # index items of a record from the other region may follow its head. By its id, it is found without them.
        if free:
            last = replace(criteria, pairs=[*criteria.pairs, ("_id", derived(free - 1))])
            if self._selection.one(last, event) is not None:
                raise HeadMismatch
        return self._insert(derived(free), event, resource)

    def create_new(self, event: AuditEvent, resource: Resource) -> Version:
        """Create a record under a new id."""
        try:
            return self._insert(self._context.new_id(), event, resource)
        except HeadMismatch:
            return self._authorization.refuse(event, Conflict("The new id is taken; try again."))

    def _create_idempotent(self, repeat: IdempotentRequest, event: AuditEvent, resource: Resource) -> Created:
        # A repeated request finds the record of the first. While a first request in the other region is still
        # replicating, both create versions of the same record instead of two records.
        known = RecordKey(event.tenant, PATIENT, repeat.id)
        first = self._first(event, known)
        if first is None:
            try:
                return Created(self._insert(repeat.id, event, resource, repeat.fingerprint))
            except HeadMismatch:
                first = self._first(event, known)
        if first is None:
            self._authorization.refuse(
                event, Conflict("The first request with this Idempotency-Key is still in progress.")
            )
        event = replace(event, record=first.key.reference)
        if first.replaces is not None:
            # A later version has arrived before that of the first request.
            lost = Unprocessable("The first version of this Idempotency-Key is lost: requests cannot be compared.")
            with self._authorization.auditing(event):
                error = self._context.arrivals.missing(known, first.replaces, lost)
            self._authorization.refuse(event, error)
        if first.fingerprint != repeat.fingerprint:
            self._authorization.refuse(
                event, Unprocessable("The Idempotency-Key was used with another request before.")
            )
        self._authorization.record(replace(event, version=str(first.stamp)))
        return Created(first)

    def _first(self, event: AuditEvent, key: RecordKey) -> Version | None:
        # Replication may have delivered the first version before the head that would reject a second one.
        with self._authorization.auditing(event):
            return self._records.first(key)

    def _create_unless_matched(self, criteria: Criteria, event: AuditEvent, resource: Resource) -> Created:
        found = self._existing(criteria, event)
        if found:
            return found
        for _ in range(ATTEMPTS):
            try:
                return Created(self.for_criteria(criteria, event, resource))
            except HeadMismatch:
                # A concurrent request created the record, which may no longer match.
                found = self._existing(criteria, event)
            if found:
                return found
        return self._authorization.refuse(event, Conflict(BUSY))

    def _existing(self, criteria: Criteria, event: AuditEvent) -> Created | None:
        found = self._selection.one(criteria, event)
        if found is None:
            return None
        self._authorization.record(replace(event, action=Action.READ, record=found.key.reference, status=HTTPStatus.OK))
        return Created(found, fresh=False)

    def _insert(self, name: str, event: AuditEvent, resource: Resource, fingerprint: str | None = None) -> Version:
        key = RecordKey(event.tenant, PATIENT, name)
        event = replace(event, record=key.reference)
        with self._authorization.auditing(event):
            stamp = self._context.clock.next()
        event = replace(event, version=str(stamp))
        version = version_of(resource, key=key, stamp=stamp, method=Method.POST, fingerprint=fingerprint)
        with self._authorization.auditing(event):
            self._records.insert(version, event, tokens=frozenset(self._context.tokens(event.tenant, resource)))
        self._context.clock.observe(stamp)
        return version
