"""Serve DocumentReferences: create, read and complete documents.

A client creates a document before it uploads the bytes. The response contains the upload addresses; the bytes never
pass through the API. The document is `preliminary` until both regions have verified the bytes, and `final` from then on
(docs/documents.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from uuid import UUID

from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.headers import IF_NONE_EXIST
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.documents.lifecycle import Document
from patient_api.documents.reference import (
    IN_ERROR,
    PRELIMINARY,
    STORED,
    UPLOAD,
    Resource,
    declared_in,
    extended,
    extension_urls,
    patient_id,
)
from patient_api.documents.repository import DocumentRepository, UsedKey
from patient_api.documents.storage import DocumentBucket
from patient_api.documents.upload import UploadEndedError, Uploads
from patient_api.errors import (
    Conflict,
    Contention,
    HeadMismatch,
    Malformed,
    NotFound,
    Stale,
    StorageFault,
    Unprocessable,
)
from patient_api.fhir.codec import dump
from patient_api.http.idempotency import IdempotentRequest, idempotent_request
from patient_api.http.named_versions import NamedVersions
from patient_api.http.payload import no_parameters_in, resource_in
from patient_api.http.preconditions import STALE, Preconditions, minimum_version
from patient_api.http.request import Request
from patient_api.service_context import Created, ServiceContext
from patient_api.store.model import Method, RecordKey, Version, version_of

ANNOUNCE_ATTEMPTS: Final = 3
RENEW_ATTEMPTS: Final = 3

_DECLARATION: Final = "declaration"
_SUBJECT: Final = "DocumentReference.subject"


class DocumentService:
    """Creates, reads and completes documents. `buckets` are this region's and the other one's, in this order."""

    def __init__(
        self,
        context: ServiceContext,
        *,
        repository: DocumentRepository,
        uploads: Uploads,
        buckets: Sequence[DocumentBucket],
    ) -> None:
        self._context = context
        self._authorization = context.authorization
        self._arrivals = context.arrivals
        self._repository = repository
        self._uploads = uploads
        self._buckets = buckets

    def create(self, request: Request) -> Created:
        """Create a document. The upload addresses are in an extension of its attachment, which is not stored.

        With `Idempotency-Key`, return the document that the same request has created before; while it is preliminary
        and this region's bucket has no object, with new addresses. Minimum-Version names a version of the patient.
        """
        event = replace(
            self._authorization.authorize(request, Action.CREATE, "create", DOCUMENT), status=HTTPStatus.CREATED
        )
        if request.header(IF_NONE_EXIST) is not None:
            raise Malformed("If-None-Exist is for patients: send Idempotency-Key.")
        known = NamedVersions(minimum=minimum_version(request))
        resource = _new_resource(resource_in(request, DOCUMENT))
        patient = RecordKey(event.tenant, PATIENT, patient_id(resource))
        event = replace(event, record=patient.reference)
        with self._authorization.auditing(event):
            repeat = idempotent_request(request, DOCUMENT, blind=self._context.blind)
            if repeat is not None:
                return self._once(repeat, event, resource, patient, known)
            new = Document.of(RecordKey(event.tenant, DOCUMENT, self._context.new_id()), ())
            return self._new(event, resource, new, patient, known)

    def read(self, request: Request, id: str) -> Version:
        """Return the current version in this region, with a download address if a region has verified bytes."""
        event = self._authorization.authorize(request, Action.READ, "read", DOCUMENT, id)
        conditions = Preconditions.of(request)
        document, event = self._document(event, id, NamedVersions.of(request, conditions))
        if not conditions.allow_read_of(document.current):
            self._authorization.refuse(event, Stale(STALE))
        self._authorization.record(event)
        with self._authorization.auditing(event, written=True):
            address = self._address(document)
        if address is None:
            return document.current
        return _with_resource(document, extended(document.resource, url=address))

    def complete(self, request: Request, id: str) -> Version:
        """Create the object of a document from its uploaded parts. Idempotent."""
        event = self._authorization.authorize(request, Action.UPDATE, "operation", DOCUMENT, id)
        no_parameters_in(request)
        document, event = self._document(event, id, NamedVersions(minimum=minimum_version(request)))
        self._authorization.record(event)
        if not (document.final or document.in_error):
            with self._authorization.auditing(event, written=True):
                self._complete(document, event)
        return document.current

    def _complete(self, document: Document, event: AuditEvent) -> None:
        try:
            error = self._uploads.complete(document)
        except UploadEndedError:
            for bucket in self._buckets:
                stored = bucket.head(document.name)
                if stored is not None:
                    if bucket.region == self._repository.region:
                        self._uploads.mark_stored(document, stored.version)
                    return
            error = Conflict("The upload has ended: create the document again.")
        if error is not None:
            self._authorization.refuse(self._authorization.amendment(event), error)

    def _address(self, document: Document) -> str | None:
        """Return a download address, None when no region has verified bytes.

        Raises StorageFault when the document is final and its bytes cannot be reached.
        """
        faults: list[StorageFault] = []
        # A document in error has no address, but its bytes may have arrived here since.
        for bucket in self._buckets[:1] if document.in_error else self._buckets:
            try:
                address = self._address_in(bucket, document)
            except StorageFault as fault:
                faults.append(fault)
                continue
            if address is not None:
                return address
        if faults and document.final:
            raise faults[0]
        return None

    def _address_in(self, bucket: DocumentBucket, document: Document) -> str | None:
        verified = None if document.in_error else document.verified.get(bucket.region)
        if verified is not None and (stored := bucket.head(document.name, verified)) is not None:
            return bucket.download(document.name, stored.version)
        # A replica of the same bytes may be newer than the verified version, whose retention ends.
        stored = bucket.head(document.name)
        if stored is None:
            return None
        matches = stored.matches(document.declared)
        if bucket.region == self._repository.region and (matches is None or not document.final):
            # The event of the upload may have been lost, or the verified version of a final document is gone.
            self._uploads.mark_stored(document, stored.version)
        return bucket.download(document.name, stored.version) if matches and not document.in_error else None

    def _once(
        self,
        repeat: IdempotentRequest,
        event: AuditEvent,
        resource: Resource,
        patient: RecordKey,
        known: NamedVersions,
    ) -> Created:
        used = UsedKey(RecordKey(event.tenant, DOCUMENT, repeat.id), repeat.fingerprint)
        # Regions that receive the key with other requests at the same time create other documents: the bytes of one are
        # never taken for those of another.
        name = self._context.blind("id", _DECLARATION, repeat.id, repeat.fingerprint)
        key = RecordKey(event.tenant, DOCUMENT, str(UUID(hex=name, version=4)))
        document = self._repository.read(key)
        for attempt in range(ANNOUNCE_ATTEMPTS):
            if document.versions:
                break
            if self._repository.used_with(used.key) not in {None, used.fingerprint}:
                text = "The Idempotency-Key was used with another request before."
                self._authorization.refuse(event, Unprocessable(text))
            try:
                return self._new(event, resource, document, patient, known, used)
            except (HeadMismatch, Contention):
                # Another request with this key was faster, or the confirming function has found the bytes.
                if attempt == ANNOUNCE_ATTEMPTS - 1:
                    raise Contention from None
                document = self._repository.read(key)
        event = replace(event, entity=key.reference)
        renewed = self._renewed(document)
        self._authorization.record(replace(event, version=str(document.versions[0].stamp)))
        return renewed

    def _renewed(self, document: Document) -> Created:
        """Return the document with new upload addresses if it waits for its upload. Raises Contention."""
        for attempt in range(RENEW_ATTEMPTS):
            if document.final or document.in_error:
                break
            try:
                offer = self._uploads.renew(document)
            except Contention:
                if attempt == RENEW_ATTEMPTS - 1:
                    raise
                document = self._repository.read(document.key)
                continue
            if offer is None:
                break
            return Created(_with_resource(document, extended(document.resource, offer)))
        return Created(document.current)

    def _new(
        self,
        event: AuditEvent,
        resource: Resource,
        document: Document,
        patient: RecordKey,
        known: NamedVersions,
        used: UsedKey | None = None,
    ) -> Created:
        """Announce a document that has no version yet. Raises HeadMismatch, Contention."""
        self._check_patient(patient, event, known)
        key, declared = document.key, declared_in(resource)
        stamp = self._context.clock.next()
        replica = self._uploads.begin(document, declared)
        event = replace(event, entity=key.reference, version=str(stamp))
        version = version_of(resource, key=key, stamp=stamp, method=Method.POST)
        tokens = frozenset(self._context.tokens(event.tenant, resource))
        try:
            self._repository.announce(document, version, event, tokens=tokens, replica=replica, used=used)
        except (HeadMismatch, Contention):
            self._uploads.withdraw(key, replica)
            raise
        self._context.clock.observe(stamp)
        document = Document.of(key, [version])
        offer = self._uploads.offer(key, declared, replica)
        return Created(_with_resource(document, extended(document.resource, offer)))

    def _check_patient(self, patient: RecordKey, event: AuditEvent, known: NamedVersions) -> None:
        """Refuse the document of a patient that does not exist in this region, or not yet in the version `known`."""
        found = self._context.records.newest(patient)
        error = self._arrivals.refusal(known, patient, found)
        if error is not None:
            self._authorization.refuse(event, error)
        if found is None:
            text = "There is no such patient here. If it was written in the other region, name its version in "
            text += "Minimum-Version: the response is 503 until it has arrived."
            self._authorization.refuse(event, Unprocessable(text, expression=_SUBJECT))
        if found.resource is None:
            self._authorization.refuse(event, Unprocessable("The patient was deleted.", expression=_SUBJECT))

    def _document(self, event: AuditEvent, id: str, named: NamedVersions) -> tuple[Document, AuditEvent]:
        """Return the document, and the event with its patient. Raises NotYetHere as `http.named_versions` states."""
        key = RecordKey(event.tenant, DOCUMENT, id)
        with self._authorization.auditing(event):
            document = self._repository.read(key)
            current = document.current if document.versions else None
            error = self._arrivals.refusal_among(named, key, document.versions, current)
        if error is not None:
            self._authorization.refuse(event, error)
        if not document.versions:
            self._authorization.refuse(event, NotFound("There is no such record."))
        self._context.clock.observe(document.versions[-1].stamp)
        return document, replace(event, record=document.patient, entity=key.reference)


def _new_resource(resource: Resource) -> Resource:
    """Return the resource of a new document, as it is stored."""
    if resource.get("status") == IN_ERROR:
        raise Unprocessable("A new document is not in error.", expression="DocumentReference.status")
    if not extension_urls(resource).isdisjoint({UPLOAD, STORED}):
        raise Unprocessable(
            f"{UPLOAD} and {STORED} are given by the server.",
            expression="DocumentReference.content[0].attachment.extension",
        )
    return {**resource, "docStatus": PRELIMINARY}


def _with_resource(document: Document, resource: Resource) -> Version:
    """Return the current version with another resource than the stored one."""
    return replace(document.current, resource=dump(resource))
