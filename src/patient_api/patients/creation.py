"""New records: once for each request, however often it is repeated and in whichever region."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

from patient_api.audit.event import Action, AuditEvent
from patient_api.errors import (
    ClockAhead,
    Conflict,
    Contention,
    Forbidden,
    HeadMismatch,
    Malformed,
    Stale,
    StorageFault,
    TooCostly,
    Unprocessable,
)
from patient_api.exchange.bodies import Resource, resource_in
from patient_api.exchange.repeats import Repeat, repeat_of
from patient_api.exchange.request import Request
from patient_api.exchange.tools import BUSY, Created, Tools
from patient_api.records.items import Token
from patient_api.records.model import PATIENT, Method, RecordKey, Version, version_of


class Records(Protocol):
    """As `records.store.DynamoRecords`."""

    def insert(self, version: Version, event: AuditEvent, *, tokens: frozenset[Token] = frozenset()) -> None: ...
    def first(self, key: RecordKey) -> Version | None: ...


class Creation:
    """`matches` searches a tenant's patients by a query; it gives two of them at most."""

    def __init__(
        self,
        *,
        records: Records,
        tools: Tools,
        matches: Callable[[str, str], Sequence[Version]],
        blind: Callable[..., str],
        new_id: Callable[[], str],
    ) -> None:
        self._records = records
        self._tools = tools
        self._gate = tools.gate
        self._matches = matches
        self._blind = blind
        self._new_id = new_id

    def create(self, request: Request) -> Created:
        """A new record with an id of ours; an id in the body is ignored, as FHIR demands.

        With `Idempotency-Key`, the answer to the same request before; with `If-None-Exist`, the record that matches.
        """
        event = replace(self._gate.admit(request, Action.CREATE, "create", PATIENT), status=HTTPStatus.CREATED)
        criteria = request.headers.get("if-none-exist")
        if criteria is not None and "idempotency-key" in request.headers:
            raise Malformed("Send If-None-Exist or Idempotency-Key, not both.")
        resource = resource_in(request, PATIENT)
        repeat = repeat_of(request, PATIENT, blind=self._blind)
        if criteria is not None:
            return self._unless(criteria, request, event, resource)
        if repeat is not None:
            return self._once(repeat, event, resource)
        return self._anew(event, resource)

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

    def _unless(self, criteria: str, request: Request, event: AuditEvent, resource: Resource) -> Created:
        if not request.caller.may("s", PATIENT) or not request.caller.may("r", PATIENT):
            self._gate.refuse(event, Forbidden("If-None-Exist needs the right to search and to read as well."))
        tenant = request.caller.tenant
        found = self._existing(criteria, tenant, event)
        if found:
            return found
        try:
            return Created(self._inserted(self._id_from("If-None-Exist", tenant, criteria), event, resource))
        except HeadMismatch:
            # Another request was faster; or an older record no longer matches, and this is somebody new.
            return self._existing(criteria, tenant, event) or self._anew(event, resource)

    def _anew(self, event: AuditEvent, resource: Resource) -> Created:
        try:
            return Created(self._inserted(self._new_id(), event, resource))
        except HeadMismatch:
            return self._gate.refuse(event, Conflict("The new id is taken; try again."))

    def _existing(self, criteria: str, tenant: str, event: AuditEvent) -> Created | None:
        try:
            found = self._matches(tenant, criteria)
        except TooCostly as error:
            self._gate.refuse(event, error)
        except StorageFault:
            self._gate.failed(event)
            raise
        if len(found) > 1:
            self._gate.refuse(event, Stale("If-None-Exist matches more than one record."))
        for version in found:
            seen = replace(event, action=Action.READ, record=version.key.reference, status=HTTPStatus.OK)
            self._gate.keep(seen)
            return Created(version, fresh=False)
        return None

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

    def _id_from(self, *parts: str) -> str:
        # Blinded, since criteria may hold a patient's number; its form is that of every other id.
        return str(UUID(hex=self._blind("id", *parts), version=4))
