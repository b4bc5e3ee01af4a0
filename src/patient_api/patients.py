"""What callers may do to patients' records, and what the audit trail says of it.

Every access to a record, granted or refused, is on record before the caller learns of its result: when the trail
cannot be written, the StorageFault goes up and the caller gets no data. A call that is refused for its form alone
(400, 413, 415, 422, 428) has not come near a record, and is found in the log only.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Final, NoReturn, Protocol

from patient_api import etag
from patient_api.audit import Action, AuditEvent, Outcome, Trail
from patient_api.clock import Clock, Stamp
from patient_api.errors import (
    ApiError,
    ClockAhead,
    Conflict,
    Contention,
    Forbidden,
    HeadMismatch,
    NotFound,
    Stale,
    StorageFault,
    Unauthenticated,
    Unprocessable,
)
from patient_api.patient import TYPE, RecordKey, Version, is_id, read_resource, version_of
from patient_api.request import Request

_LETTER: Final = {Action.CREATE: "c", Action.READ: "r", Action.UPDATE: "u"}


class Records(Protocol):
    """The store of versions. Every method raises StorageFault when the store fails."""

    def insert(self, version: Version, event: AuditEvent) -> None:
        """Add a record's first version and the event, both or neither. Raises HeadMismatch, Contention."""

    def replace(self, version: Version, event: AuditEvent, *, expected: str) -> None:
        """Add a version and the event, if the head is still at `expected`. Raises HeadMismatch, Contention."""

    def read(self, key: RecordKey, event: AuditEvent) -> Version | None:
        """The newest version, with the event on record beyond doubt; None when there is none."""

    def current(self, key: RecordKey) -> str | None:
        """The version the head is at; None when there is no such record."""


class Patients:
    """Create, read and update. `now` gives the time in UTC, `new_id` a unique id."""

    def __init__(
        self,
        *,
        records: Records,
        trail: Trail,
        clock: Clock,
        region: str,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._records = records
        self._trail = trail
        self._clock = clock
        self._region = region
        self._now = now
        self._new_id = new_id

    def create(self, request: Request) -> Version:
        """A new record with an id of ours; an id in the body is ignored, as FHIR demands."""
        self._admit(request, Action.CREATE, TYPE)
        resource = read_resource(request.payload())
        key = RecordKey(request.caller.tenant, self._new_id())
        stamp = self._clock.next()
        event = self._event(request, Action.CREATE, f"{TYPE}/{key.id}", HTTPStatus.CREATED, version=stamp)
        version = version_of(resource, key=key, stamp=stamp)
        try:
            self._records.insert(version, event)
        except (HeadMismatch, Contention):
            self._refuse(event, Conflict("The record is being written by somebody else."))
        except StorageFault:
            self._note_failure(event)
            raise
        self._clock.witness(stamp)
        return version

    def read(self, request: Request, id: str) -> Version:  # noqa: A002 - FHIR's own name for it
        """The newest version in this region."""
        event = self._addressed(request, Action.READ, id)
        try:
            found = self._records.read(RecordKey(request.caller.tenant, id), event)
        except StorageFault:
            self._note_failure(self._amendment(event))
            raise
        if found is None:
            self._refuse(self._amendment(event), NotFound("There is no such record."))
        return found

    def update(self, request: Request, id: str) -> Version:  # noqa: A002 - FHIR's own name for it
        """A new version in place of the one the caller names in If-Match."""
        event = self._addressed(request, Action.UPDATE, id)
        expected = etag.expected(request.headers.get("if-match"))
        resource = read_resource(request.payload())
        if resource.get("id") != id:
            raise Unprocessable("Patient.id: must be the id in the URL.")
        key = RecordKey(request.caller.tenant, id)
        known = Stamp.parse(expected)
        if known is None:
            self._explain_mismatch(event, key)
        stamp = self._following(known, event, key)
        event = replace(event, version=str(stamp))
        version = version_of(resource, key=key, stamp=stamp)
        try:
            self._records.replace(version, event, expected=expected)
        except HeadMismatch:
            self._explain_mismatch(event, key)
        except Contention:
            self._refuse(event, Conflict("The record is being written by somebody else."))
        except StorageFault:
            self._note_failure(event)
            raise
        self._clock.witness(stamp)
        return version

    def _admit(self, request: Request, action: Action, record: str) -> None:
        caller = request.caller
        if caller.may(_LETTER[action], TYPE):
            return
        error: ApiError = Forbidden("The token does not grant this.")
        if not caller.authenticated:
            error = Unauthenticated("A token is required.", headers={"WWW-Authenticate": "Bearer"})
        self._refuse(self._event(request, action, record, HTTPStatus(error.status)), error)

    def _addressed(self, request: Request, action: Action, id: str) -> AuditEvent:  # noqa: A002 - as above
        """The event of an access to one record, once it is clear that caller and id allow it."""
        legal = is_id(id)
        # What is no id may be anything, such as a name: it must not get into the trail.
        record = f"{TYPE}/{id}" if legal else TYPE
        self._admit(request, action, record)
        event = self._event(request, action, record, HTTPStatus.OK)
        if not legal:
            self._refuse(event, NotFound("There is no such record."))
        return event

    def _following(self, known: Stamp, event: AuditEvent, key: RecordKey) -> Stamp:
        try:
            return self._clock.next(after=known)
        except ClockAhead:
            if self._records.current(key) == str(known):
                self._note_failure(event)
                raise
            self._explain_mismatch(event, key)

    def _explain_mismatch(self, event: AuditEvent, key: RecordKey) -> NoReturn:
        if self._records.current(key) is None:
            self._refuse(event, NotFound("There is no such record."))
        self._refuse(event, Stale("If-Match is not the current version."))

    def _refuse(self, event: AuditEvent, error: ApiError) -> NoReturn:
        self._trail.put(replace(event, outcome=Outcome.REFUSED, status=error.status, version=None))
        raise error

    def _note_failure(self, event: AuditEvent) -> None:
        # Whether the access took place is unknown; the caller learns of the fault, not of data, even if this fails too.
        with contextlib.suppress(StorageFault):
            self._trail.put(
                replace(event, id=self._new_id(), outcome=Outcome.FAILURE, status=HTTPStatus.SERVICE_UNAVAILABLE)
            )

    def _amendment(self, event: AuditEvent) -> AuditEvent:
        return replace(event, id=self._new_id(), at=self._now(), amends=event.id)

    def _event(
        self, request: Request, action: Action, record: str, status: HTTPStatus, *, version: Stamp | None = None
    ) -> AuditEvent:
        return AuditEvent(
            id=self._new_id(),
            at=self._now(),
            tenant=request.caller.tenant,
            subject=request.caller.subject,
            action=action,
            record=record,
            outcome=Outcome.SUCCESS,
            status=status,
            region=self._region,
            source_ip=request.source_ip,
            request_id=request.request_id,
            version=str(version) if version else None,
        )
