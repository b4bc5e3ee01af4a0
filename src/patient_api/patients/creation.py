"""New records: once for each request, however often it is repeated and in whichever region."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

from patient_api.audit.event import Action, AuditEvent
from patient_api.errors import (
    ClockAhead,
    Conflict,
    Contention,
    HeadMismatch,
    Malformed,
    StorageFault,
    Unprocessable,
)
from patient_api.exchange.bodies import Resource, resource_in
from patient_api.exchange.criteria import IF_NONE_EXIST, Criteria
from patient_api.exchange.repeats import Repeat, repeat_of
from patient_api.exchange.request import Request
from patient_api.exchange.tools import BUSY, Created, Tools
from patient_api.patients.selection import Selection
from patient_api.records.items import Token
from patient_api.records.model import PATIENT, Method, RecordKey, Version, version_of


class Records(Protocol):
    """As `records.store.DynamoRecords`."""

    def insert(self, version: Version, event: AuditEvent, *, tokens: frozenset[Token] = frozenset()) -> None: ...
    def first(self, key: RecordKey) -> Version | None: ...


class Creation:
    """Creates records under ids that the server chooses."""

    def __init__(
        self,
        *,
        records: Records,
        tools: Tools,
        selection: Selection,
        blind: Callable[..., str],
        new_id: Callable[[], str],
    ) -> None:
        self._records = records
        self._tools = tools
        self._gate = tools.gate
        self._selection = selection
        self._blind = blind
        self._new_id = new_id

    def create(self, request: Request) -> Created:
        """A new record with an id of ours; an id in the body is ignored, as FHIR demands.

        With `Idempotency-Key`, the answer to the same request before; with criteria, the record that matches them.
        """
        event = replace(self._gate.admit(request, Action.CREATE, "create", PATIENT), status=HTTPStatus.CREATED)
        criteria = self._selection.of_creation(request, event)
        if criteria is not None and "idempotency-key" in request.headers:
            raise Malformed(f"Send criteria in {criteria.place} or Idempotency-Key, not both.")
        resource = resource_in(request, PATIENT)
        repeat = repeat_of(request, PATIENT, blind=self._blind)
        if criteria is not None:
            return self._unless(criteria, event, resource)
        if repeat is not None:
            return self._once(repeat, event, resource)
        return Created(self.anew(event, resource))

    def for_criteria(self, criteria: Criteria, event: AuditEvent, resource: Resource) -> Version:
        """A new record under the id that belongs to the criteria: it is the same for requests that run at once.

        Raises HeadMismatch when there is a record of that id.
        """
        # Blinded, since criteria may hold a patient's number; its form is that of every other id.
        id = UUID(hex=self._blind("id", IF_NONE_EXIST, event.tenant, criteria.canonical), version=4)
        return self._inserted(str(id), event, resource)

    def anew(self, event: AuditEvent, resource: Resource) -> Version:
        """A new record under an id of its own."""
        try:
            return self._inserted(self._new_id(), event, resource)
        except HeadMismatch:
            return self._gate.refuse(event, Conflict("The new id is taken; try again."))

    def _once(self, repeat: Repeat, event: AuditEvent, resource: Resource) -> Created:
        # A second attempt meets the first one's record. If the first was made in the other region and is still on its
        # way, both become versions of one record, not two patients.
        known = RecordKey(event.tenant, PATIENT, repeat.id)
        try:
            # Replication may have brought the first version, but not yet the head that would refuse a second one.
            first = self._records.first(known)
            if first is None:
                return Created(self._inserted(repeat.id, event, resource, repeat.fingerprint))
        except HeadMismatch:
            first = self._records.first(known)
        except StorageFault:
            self._gate.failed(event)
            raise
        if first is None:
            self._gate.refuse(event, Conflict("The first attempt is still under way."))
        event = replace(event, record=first.key.reference)
        if first.fingerprint != repeat.fingerprint:
            self._gate.refuse(event, Unprocessable("The Idempotency-Key was used with another request before."))
        self._gate.keep(replace(event, version=str(first.stamp)))
        return Created(first)

    def _unless(self, criteria: Criteria, event: AuditEvent, resource: Resource) -> Created:
        found = self._existing(criteria, event)
        if found:
            return found
        try:
            return Created(self.for_criteria(criteria, event, resource))
        except HeadMismatch:
            # Another request was faster; or an older record no longer matches, and this is somebody new.
            return self._existing(criteria, event) or Created(self.anew(event, resource))

    def _existing(self, criteria: Criteria, event: AuditEvent) -> Created | None:
        found = self._selection.one(criteria, event)
        if found is None:
            return None
        self._gate.keep(replace(event, action=Action.READ, record=found.key.reference, status=HTTPStatus.OK))
        return Created(found, fresh=False)

    def _inserted(self, name: str, event: AuditEvent, resource: Resource, fingerprint: str | None = None) -> Version:
        key = RecordKey(event.tenant, PATIENT, name)
        event = replace(event, record=key.reference)
        try:
            stamp = self._tools.clock.next()
        except ClockAhead:
            self._gate.failed(event)
            raise
        event = replace(event, version=str(stamp))
        version = version_of(resource, key=key, stamp=stamp, method=Method.POST, fingerprint=fingerprint)
        try:
            self._records.insert(version, event, tokens=frozenset(self._tools.tokens(event.tenant, resource)))
        except Contention:
            self._gate.refuse(event, Conflict(BUSY))
        except StorageFault:
            self._gate.failed(event)
            raise
        self._tools.clock.witness(stamp)
        return version
