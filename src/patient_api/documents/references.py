"""DocumentReferences as callers have them: announced, uploaded, read.

To create one is to announce a document: the answer says where to send the bytes, which never pass through the API. It
is `preliminary` until both regions hold them, and `final` from then on (docs/adr/0007).
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from patient_api.clock import Stamp
from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.headers import IF_NONE_EXIST, RETRY_AFTER
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.documents.downloads import Downloads
from patient_api.documents.multipart import UploadEnded
from patient_api.documents.offers import UploadOffers
from patient_api.documents.reference import (
    IN_ERROR,
    PRELIMINARY,
    STORED,
    UPLOAD,
    Document,
    Resource,
    announced_in,
    extended,
    extension_urls,
    patient_id,
)
from patient_api.errors import (
    ApiError,
    Conflict,
    Contention,
    HeadMismatch,
    Malformed,
    NotFound,
    NotYetHere,
    Stale,
    Unprocessable,
)
from patient_api.fhir.codec import dump
from patient_api.http.authorization import BUSY
from patient_api.http.idempotency import IdempotentRequest, idempotent_request
from patient_api.http.payload import no_parameters_in, resource_in
from patient_api.http.preconditions import STALE, Preconditions, minimum_version
from patient_api.http.request import Request
from patient_api.service_context import NOT_YET, RETRY_SECONDS, Created, ServiceContext
from patient_api.store.model import Method, RecordKey, Version, version_of

_SUBJECT: Final = "DocumentReference.subject"


class DocumentReferences:
    """Creates, reads and completes documents."""

    def __init__(self, context: ServiceContext, *, offers: UploadOffers, downloads: Downloads) -> None:
        self._context = context
        self._records = context.records
        self._authorization = context.authorization
        self._offers = offers
        self._downloads = downloads

    def create(self, request: Request) -> Created:
        """A new document, with the offer to upload it in an extension of its attachment, which is not stored.

        With `Idempotency-Key`, the document of the same request before, with an offer for as long as it is preliminary.
        """
        event = replace(
            self._authorization.authorize(request, Action.CREATE, "create", DOCUMENT), status=HTTPStatus.CREATED
        )
        if request.header(IF_NONE_EXIST) is not None:
            raise Malformed("If-None-Exist is for patients: send Idempotency-Key.")
        resource = _announcing(resource_in(request, DOCUMENT))
        patient = RecordKey(event.tenant, PATIENT, patient_id(resource))
        event = replace(event, record=patient.reference)
        with self._authorization.auditing(event):
            repeat = idempotent_request(request, DOCUMENT, blind=self._context.blind)
            return self._once(repeat, event, resource, patient) if repeat else self._new(event, resource, patient)

    def read(self, request: Request, id: str) -> Version:
        """The newest version in this region, with an address to download the document from, where there is one."""
        event = self._authorization.authorize(request, Action.READ, "read", DOCUMENT, id)
        known, conditions = minimum_version(request), Preconditions.of(request)
        document, event = self._document(event, id, known)
        if not conditions.allow_read_of(document.version):
            self._authorization.refuse(event, Stale(STALE))
        self._authorization.record(event)
        with self._authorization.auditing(event, written=True):
            address = self._downloads.address(document)
        return document.version if address is None else _shown(document, extended(document.resource, url=address))

    def complete(self, request: Request, id: str) -> Version:
        """The document whose parts are all there, put together from them. Twice is once."""
        event = self._authorization.authorize(request, Action.UPDATE, "operation", DOCUMENT, id)
        no_parameters_in(request)
        document, event = self._document(event, id, None)
        self._authorization.record(event)
        if document.status == PRELIMINARY:
            with self._authorization.auditing(event, written=True):
                self._put_together(document, event)
        return document.version

    def _put_together(self, document: Document, event: AuditEvent) -> None:
        try:
            complete = self._offers.accepted(document)
            if isinstance(complete, ApiError):
                self._authorization.refuse(self._authorization.amendment(event), complete)
            complete()
        except UploadEnded:
            # Put together before, unless there is nothing.
            if not self._downloads.anywhere(document):
                ended = Conflict("The upload has ended: create the document again.")
                self._authorization.refuse(self._authorization.amendment(event), ended)

    def _once(self, repeat: IdempotentRequest, event: AuditEvent, resource: Resource, patient: RecordKey) -> Created:
        key = RecordKey(event.tenant, DOCUMENT, repeat.id)
        first = self._records.first(key)
        if first is None:
            try:
                return self._new(event, resource, patient, repeat)
            except HeadMismatch:
                first = self._records.first(key)
        event = replace(event, entity=key.reference)
        if first is None:
            self._authorization.refuse(event, Conflict("The first attempt is still under way."))
        if first.fingerprint != repeat.fingerprint:
            self._authorization.refuse(
                event, Unprocessable("The Idempotency-Key was used with another request before.")
            )
        self._authorization.record(replace(event, version=str(first.stamp)))
        document = Document.of(self._records.newest(key) or first)
        if document.status != PRELIMINARY:
            return Created(document.version)
        return Created(_shown(document, extended(document.resource, self._offers.renewed(document))))

    def _new(
        self, event: AuditEvent, resource: Resource, patient: RecordKey, repeat: IdempotentRequest | None = None
    ) -> Created:
        self._check(patient, event)
        key = RecordKey(event.tenant, DOCUMENT, repeat.id if repeat else self._context.new_id())
        announced = announced_in(resource)
        upload = self._offers.begin(key, announced)
        stamp = self._context.clock.next()
        event = replace(event, entity=key.reference, version=str(stamp))
        version = version_of(
            resource, key=key, stamp=stamp, method=Method.POST, fingerprint=repeat.fingerprint if repeat else None
        )
        tokens = frozenset(self._context.tokens(event.tenant, resource))
        marker = self._offers.marker(key, at=stamp, upload=upload)
        try:
            self._records.insert(version, event, tokens=tokens, markers=[marker])
        except HeadMismatch:
            self._offers.withdraw(key, upload)
            raise
        except Contention:
            self._offers.withdraw(key, upload)
            self._authorization.refuse(event, Conflict(BUSY))
        self._context.clock.observe(stamp)
        document = Document.of(version)
        return Created(_shown(document, extended(document.resource, self._offers.made(key, announced, upload))))

    def _check(self, patient: RecordKey, event: AuditEvent) -> None:
        """That there is such a patient. One who is not here must not get documents that nobody finds."""
        found = self._records.newest(patient)
        if found is None:
            text = "There is no such patient here. One written in the other region may be on its way: try again."
            self._authorization.refuse(event, Unprocessable(text, expression=_SUBJECT))
        if found.resource is None:
            self._authorization.refuse(event, Unprocessable("The patient was deleted.", expression=_SUBJECT))

    def _document(self, event: AuditEvent, id: str, known: Stamp | None) -> tuple[Document, AuditEvent]:
        """The document, and the event with whose it is."""
        key = RecordKey(event.tenant, DOCUMENT, id)
        with self._authorization.auditing(event):
            found = self._records.newest(key)
        if known is not None and (found is None or found.stamp < known):
            self._authorization.refuse(event, NotYetHere(NOT_YET, headers={RETRY_AFTER: RETRY_SECONDS}))
        if found is None or found.resource is None:
            self._authorization.refuse(event, NotFound("There is no such record."))
        self._context.clock.observe(found.stamp)
        document = Document.of(found)
        return document, replace(event, record=document.patient, entity=key.reference)


def _announcing(resource: Resource) -> Resource:
    """The resource as it is stored before its bytes are there."""
    if resource.get("status") == IN_ERROR:
        raise Unprocessable("A new document is not in error.", expression="DocumentReference.status")
    if not extension_urls(resource).isdisjoint({UPLOAD, STORED}):
        raise Unprocessable(
            f"{UPLOAD} and {STORED} are given by the server.",
            expression="DocumentReference.content[0].attachment.extension",
        )
    return {**resource, "docStatus": PRELIMINARY}


def _shown(document: Document, resource: Resource) -> Version:
    """The version with `resource` in place of what is stored."""
    return replace(document.version, resource=dump(resource))
