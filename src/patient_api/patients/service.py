"""Patients' records: create, read, update, patch, delete, and their history."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final, NoReturn, Protocol, TypeVar

from patient_api.audit.event import Action, AuditEvent
from patient_api.clock import Stamp
from patient_api.errors import (
    ApiError,
    ClockAhead,
    Conflict,
    Contention,
    Gone,
    HeadMismatch,
    Malformed,
    NotFound,
    NotYetHere,
    Stale,
    StorageFault,
    Unprocessable,
)
from patient_api.exchange import etag
from patient_api.exchange.bodies import Resource, check_size, patch_in, resource_in, valid
from patient_api.exchange.request import Request
from patient_api.exchange.tools import BUSY, NOT_YET, RETRY_SECONDS, Tools, known_to
from patient_api.fhir.codec import parse
from patient_api.records.items import Marker, Token
from patient_api.records.model import PATIENT, Method, RecordKey, Version, version_of

T = TypeVar("T")

DELETE_ATTEMPTS: Final = 3
LARGEST_MERGE: Final = 10


class Records(Protocol):
    """As `records.store.DynamoRecords`."""

    def replace(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), markers: Sequence[Marker] = ()
    ) -> None: ...
    def newest(self, key: RecordKey, event: AuditEvent | None = None) -> Version | None: ...
    def version(self, key: RecordKey, stamp: Stamp, event: AuditEvent) -> Version | None: ...
    def holds(self, key: RecordKey, stamp: Stamp) -> bool: ...


class Patients:
    """One record at a time; what is created comes from `creation.Creation`."""

    def __init__(self, *, records: Records, tools: Tools) -> None:
        self._records = records
        self._gate = tools.gate
        self._clock = tools.clock
        self._tokens = tools.tokens

    def read(self, request: Request, id: str) -> Version:
        """The newest version in this region, or a newer one than the caller knows and names in Minimum-Version."""
        known = known_to(request)
        event = self._gate.admit(request, Action.READ, "read", PATIENT, id)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        found = self._found(event, lambda: self._records.newest(key, event))
        if known is not None and (found is None or found.stamp < known):
            self._refuse_after(event, NotYetHere(NOT_YET, headers={"Retry-After": RETRY_SECONDS}))
        if found is None:
            self._refuse_after(event, NotFound("There is no such record."))
        self._clock.witness(found.stamp)
        return self._alive(found, event)

    def vread(self, request: Request, id: str, vid: str) -> Version:
        """That very version."""
        event = self._gate.admit(request, Action.READ, "vread", PATIENT, id)
        stamp = Stamp.parse(vid)
        if stamp is None:
            self._gate.refuse(event, NotFound("There is no such version."))
        key = RecordKey(request.caller.tenant, PATIENT, id)
        found = self._found(event, lambda: self._records.version(key, stamp, event))
        if found is None:
            self._refuse_after(event, NotFound("There is no such version."))
        return self._alive(found, event)

    def update(self, request: Request, id: str) -> Version:
        """A new version in place of the one the caller names in If-Match.

        It also settles a conflict with the versions that it names in Merges.
        """
        event = self._gate.admit(request, Action.UPDATE, "update", PATIENT, id)
        expected = etag.expected(request.headers.get("if-match"))
        named = request.headers.get("merges")
        merges = etag.each(named, "Merges") if named is not None else ()
        if len(merges) > LARGEST_MERGE:
            raise Malformed(f"Merges takes {LARGEST_MERGE} versions at most.")
        resource = resource_in(request, PATIENT)
        if resource.get("id") != id:
            raise Unprocessable("The id must be the one in the URL.", expression="Patient.id")
        key = RecordKey(request.caller.tenant, PATIENT, id)
        known = self._stamp_in(expected, event, key)
        return self._replaced(event, key, known, resource, Method.PUT, self._merged(merges, event, key))

    def patch(self, request: Request, id: str) -> Version:
        """The version the caller names in If-Match, changed as a JSON Patch says."""
        event = self._gate.admit(request, Action.UPDATE, "patch", PATIENT, id)
        expected = etag.expected(request.headers.get("if-match"))
        changes = patch_in(request)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        known = self._stamp_in(expected, event, key)
        current = self._stored(event, lambda: self._records.newest(key))
        if current is None:
            self._gate.refuse(event, NotFound("There is no such record."))
        if current.stamp != known:
            self._gate.refuse(event, Stale("If-Match is not the current version."))
        if current.resource is None:
            self._gate.refuse(event, _gone(current))
        from patient_api.fhir.patch import apply

        try:
            resource = valid(apply(_parsed(current.resource), changes))
            check_size(resource)
        except ApiError as error:
            # Which operation fails tells something of the record: it was looked at.
            self._gate.refuse(event, error)
        return self._replaced(event, key, known, resource, Method.PATCH)

    def delete(self, request: Request, id: str) -> Version:
        """A version that says the record was deleted; the one before, unless If-Match forbids it. Twice is once."""
        event = self._gate.admit(request, Action.DELETE, "delete", PATIENT, id)
        event = replace(event, status=HTTPStatus.NO_CONTENT)
        match = request.headers.get("if-match")
        expected = None if match is None else etag.expected(match)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        for _ in range(DELETE_ATTEMPTS):
            current = self._stored(event, lambda: self._records.newest(key))
            if current is None:
                self._gate.refuse(event, NotFound("There is no such record."))
            if expected not in {None, str(current.stamp)}:
                self._gate.refuse(event, Stale("If-Match is not the current version."))
            if current.resource is None:
                self._gate.keep(event)
                return current
            with contextlib.suppress(HeadMismatch):
                return self._added(event, key, current.stamp, None, Method.DELETE)
        return self._gate.refuse(event, Conflict(BUSY))

    def _merged(self, named: tuple[str, ...], event: AuditEvent, key: RecordKey) -> tuple[Stamp, ...]:
        stamps = {text: Stamp.parse(text) for text in named}
        parsed = [stamp for stamp in stamps.values() if stamp is not None]
        found = self._stored(event, lambda: tuple(sorted(s for s in parsed if self._records.holds(key, s))))
        if len(found) != len(named):
            self._gate.refuse(event, Unprocessable("Merges names a version that this region does not have."))
        return found

    def _replaced(
        self,
        event: AuditEvent,
        key: RecordKey,
        known: Stamp,
        resource: Resource,
        method: Method,
        merges: tuple[Stamp, ...] = (),
    ) -> Version:
        try:
            return self._added(event, key, known, resource, method, merges)
        except HeadMismatch:
            self._explain_mismatch(event, key)

    def _added(
        self,
        event: AuditEvent,
        key: RecordKey,
        known: Stamp,
        resource: Resource | None,
        method: Method,
        merges: tuple[Stamp, ...] = (),
    ) -> Version:
        stamp = self._following((known, *merges), event, key)
        event = replace(event, version=str(stamp))
        if resource is None:
            version, tokens = Version(key, stamp, method, None, replaces=known), frozenset[Token]()
        else:
            version = version_of(resource, key=key, stamp=stamp, method=method, replaces=known, merges=merges)
            tokens = frozenset(self._tokens(key.tenant, resource | {"resourceType": PATIENT}))
        try:
            self._records.replace(version, event, tokens=tokens)
        except Contention:
            self._gate.refuse(event, Conflict(BUSY))
        except StorageFault:
            self._gate.failed(event)
            raise
        self._clock.witness(stamp)
        return version

    def _following(self, known: tuple[Stamp, ...], event: AuditEvent, key: RecordKey) -> Stamp:
        try:
            return self._clock.next(after=max(known))
        except ClockAhead:
            # A version that was made up is refused as any other stale one; a real one is a wrong clock somewhere.
            current = self._stored(event, lambda: self._records.newest(key))
            if current is not None and current.stamp in known:
                self._gate.failed(event)
                raise
            self._explain_mismatch(event, key)

    def _stamp_in(self, expected: str, event: AuditEvent, key: RecordKey) -> Stamp:
        stamp = Stamp.parse(expected)
        if stamp is None:
            self._explain_mismatch(event, key)
        return stamp

    def _explain_mismatch(self, event: AuditEvent, key: RecordKey) -> NoReturn:
        if self._stored(event, lambda: self._records.newest(key)) is None:
            self._gate.refuse(event, NotFound("There is no such record."))
        self._gate.refuse(event, Stale("If-Match is not the current version."))

    def _found(self, event: AuditEvent, read: Callable[[], Version | None]) -> Version | None:
        try:
            return read()
        except StorageFault:
            self._gate.failed(self._gate.amendment(event))
            raise

    def _stored(self, event: AuditEvent, read: Callable[[], T]) -> T:
        try:
            return read()
        except StorageFault:
            self._gate.failed(event)
            raise

    def _alive(self, found: Version, event: AuditEvent) -> Version:
        if found.resource is None:
            self._refuse_after(event, _gone(found))
        return found

    def _refuse_after(self, event: AuditEvent, error: NotFound | Gone | NotYetHere) -> NoReturn:
        self._gate.refuse(self._gate.amendment(event), error)


def _gone(version: Version) -> Gone:
    return Gone("The record was deleted.", headers={"ETag": etag.weak(str(version.stamp))})


def _parsed(text: str) -> Resource:
    value = parse(text.encode())
    if not isinstance(value, dict):
        raise StorageFault(operation="Read", code="UnreadableVersion")
    return value
