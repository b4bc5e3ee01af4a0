"""Offer upload addresses for a region's bucket, and complete uploads in parts.

The signature of an address covers every header that S3 has to enforce: type, length, SHA-256, encryption key, and that
no object exists yet. S3 rejects a request without a signed header or with another value
(https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html), and bytes with another hash.

A document that is too long for one request is sent in parts of signed length. The hash of a part is not known when its
address is signed, so the confirming function hashes the whole object.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import S3, translated
from patient_api.contract.keys import instant
from patient_api.documents.lifecycle import (
    COMPLETE,
    OFFER,
    RECHECK,
    STORE,
    Actor,
    Document,
    Replica,
    State,
    next_check,
)
from patient_api.documents.reference import UPLOAD, Resource, object_key
from patient_api.documents.repository import DocumentRepository
from patient_api.documents.storage import EXISTS, PART_SIZE, DocumentBucket, denied
from patient_api.errors import ApiError, Conflict, Contention, NotYetHere, StorageFault, Unprocessable
from patient_api.fhir.codec import JsonValue, Number
from patient_api.fhir.profile.document import DeclaredContent
from patient_api.store.model import RecordKey

UPLOAD_SECONDS: Final = 900

_ENDED: Final = EXISTS | {"NoSuchUpload"}
_PUT: Final[JsonValue] = {"url": "method", "valueCode": "PUT"}


class UploadEndedError(Exception):
    """The multipart upload was completed or aborted, or there is an object already."""


@dataclass(frozen=True)
class Part:
    """A part of a multipart upload. `number` counts from 1."""

    number: int
    size: int


def parts_of(size: int) -> Sequence[Part]:
    """Return the parts of a document of `size` bytes."""
    whole, rest = divmod(size, PART_SIZE)
    sizes = [PART_SIZE] * whole + [rest] * bool(rest)
    return [Part(number, length) for number, length in enumerate(sizes, start=1)]


@dataclass(frozen=True)
class Progress:
    """The parts of a multipart upload: the numbers of those that are missing or of another size, and the others."""

    missing: list[int]
    parts: Sequence[dict[str, Any]]


class Multipart:
    """The multipart uploads to one region's bucket. Every method raises StorageFault."""

    def __init__(self, *, client: Callable[[], S3], bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def begin(self, name: str, declared: DeclaredContent, encryption: Mapping[str, str]) -> str:
        """Create an upload and return its id."""
        with translated("CreateMultipartUpload"):
            answer = self._client().create_multipart_upload(
                Bucket=self._bucket, Key=name, ContentType=declared.content_type, **encryption
            )
        return str(answer["UploadId"])

    def progress(self, document: Document, upload: str) -> Progress:
        """Return the parts that S3 has. Raises UploadEndedError."""
        with _ongoing("ListParts"):
            answer = self._client().list_parts(Bucket=self._bucket, Key=document.name, UploadId=upload)
        there = {(int(part["PartNumber"]), int(part["Size"])): part["ETag"] for part in answer.get("Parts", ())}
        wanted = [(part.number, part.size) for part in parts_of(document.declared.size)]
        return Progress(
            [number for number, size in wanted if (number, size) not in there],
            [{"PartNumber": part[0], "ETag": there[part]} for part in wanted if part in there],
        )

    def complete(self, document: Document, upload: str, parts: Sequence[dict[str, Any]]) -> None:
        """Create the object from all parts. Raises UploadEndedError."""
        with _ongoing("CompleteMultipartUpload"):
            self._client().complete_multipart_upload(
                Bucket=self._bucket,
                Key=document.name,
                UploadId=upload,
                MultipartUpload={"Parts": list(parts)},
                IfNoneMatch="*",
            )

    def abort(self, name: str, upload: str) -> None:
        """Abort an upload."""
        with translated("AbortMultipartUpload"):
            self._client().abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)


class Addresses:
    """Signs upload addresses for the bucket `bucket`, encrypted with the key `key_arn`. Every method raises
    StorageFault.
    """

    def __init__(self, *, client: Callable[[], S3], bucket: str, key_arn: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._bucket = bucket
        self._now = now
        self.encryption: Mapping[str, str] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn}

    def whole(self, name: str, declared: DeclaredContent) -> Resource:
        """Return the extension with the address of an upload in one request, and the headers to send."""
        arguments = {
            "ContentType": declared.content_type,
            "ContentLength": declared.size,
            "ChecksumSHA256": declared.sha256,
            "IfNoneMatch": "*",
            **self.encryption,
        }
        headers = {
            "Content-Type": declared.content_type,
            "If-None-Match": "*",
            "x-amz-checksum-sha256": declared.sha256,
            "x-amz-server-side-encryption": self.encryption["ServerSideEncryption"],
            "x-amz-server-side-encryption-aws-kms-key-id": self.encryption["SSEKMSKeyId"],
        }
        expires = self._expiry()
        address: JsonValue = {"url": "address", "valueUrl": self._signed("put_object", name, arguments)}
        sent: list[JsonValue] = [{"url": "header", "valueString": f"{key}: {text}"} for key, text in headers.items()]
        return {"url": UPLOAD, "extension": [_PUT, address, *sent, expires]}

    def parts(self, name: str, declared: DeclaredContent, upload: str) -> Resource:
        """Return the extension with the address of each part."""
        expires = self._expiry()
        listed = [self._part(name, part, upload) for part in parts_of(declared.size)]
        return {"url": UPLOAD, "extension": [_PUT, *listed, expires]}

    def _part(self, name: str, part: Part, upload: str) -> JsonValue:
        arguments = {"PartNumber": part.number, "UploadId": upload, "ContentLength": part.size}
        return {
            "url": "part",
            "extension": [
                {"url": "number", "valuePositiveInt": Number(str(part.number))},
                {"url": "address", "valueUrl": self._signed("upload_part", name, arguments)},
                {"url": "size", "valueUnsignedInt": Number(str(part.size))},
            ],
        }

    def _signed(self, operation: str, name: str, arguments: dict[str, Any]) -> str:
        with translated("Presign"):
            return self._client().generate_presigned_url(
                operation, Params={"Bucket": self._bucket, "Key": name, **arguments}, ExpiresIn=UPLOAD_SECONDS
            )

    def _expiry(self) -> JsonValue:
        # Read before anything is signed, so that no address expires earlier than this.
        return {"url": "expires", "valueInstant": instant(self._now() + timedelta(seconds=UPLOAD_SECONDS))}


class Uploads:
    """The uploads to the bucket `here`. Every method raises StorageFault.

    `multipart` has the uploads in parts by region, because a client may complete in one region what it has uploaded to
    the other.
    """

    def __init__(
        self,
        *,
        here: DocumentBucket,
        addresses: Addresses,
        multipart: Mapping[str, Multipart],
        repository: DocumentRepository,
        now: Callable[[], datetime],
    ) -> None:
        self._here = here
        self._region = here.region
        self._addresses = addresses
        self._multipart = multipart
        self._repository = repository
        self._now = now

    def begin(self, document: Document, declared: DeclaredContent) -> Replica:
        """Return the replica item of a new document, with a multipart upload if the document needs one.

        The document has no version yet. If the region's bucket has its object, the next sweep verifies it.
        """
        now = self._now()
        orphaned = self._region in document.replicas
        return self._repository.own(document).next(
            State.ANNOUNCED,
            at=now if orphaned else next_check(now, now),
            since=now,
            offered=True,
            upload=self._begin(document.key, declared),
        )

    def offer(self, key: RecordKey, declared: DeclaredContent, replica: Replica) -> Resource:
        """Return the extension of the attachment with the addresses."""
        name = object_key(key)
        if replica.upload is None:
            return self._addresses.whole(name, declared)
        return self._addresses.parts(name, declared, replica.upload)

    def renew(self, document: Document) -> Resource | None:
        """Return new addresses for a document that either region has announced.

        Returns None when this region's bucket has the bytes already. Raises Contention.
        """
        own = self._repository.own(document)
        if own.uploaded:
            return None
        now = self._now()
        upload = own.upload
        if upload is not None and self._ended(document, upload):
            upload = None
            if self._arrived(document):
                return None
        upload = upload or self._begin(document.key, document.declared)
        renewed = own.next(State.ANNOUNCED, at=next_check(now, now), since=now, offered=True, upload=upload)
        self._repository.save(document, renewed, OFFER, Actor.CLIENT)
        return self.offer(document.key, document.declared, renewed)

    def withdraw(self, key: RecordKey, replica: Replica) -> None:
        """Abort what `begin` has begun."""
        if replica.upload is not None:
            self._multipart[self._region].abort(object_key(key), replica.upload)

    def mark_stored(self, document: Document, version: str | None = None) -> None:
        """List the document as pending: this region's bucket has an object that is not verified, of this version.

        Does nothing if the region is confirming the document already, or has rejected this version.
        """
        own = self._repository.own(document)
        if own.uploaded or (own.state is State.IN_ERROR and own.version_id is not None and own.version_id == version):
            return
        now, transition = self._now(), RECHECK if document.final else STORE
        # Another process of this region has seen the object as well.
        with suppress(Contention):
            self._repository.save(document, own.next(State.STORED, at=now, since=now), transition, Actor.CLIENT)

    def complete(self, document: Document) -> ApiError | None:
        """Create the object from its parts, in the region that has them all. Return the error if none has.

        Raises UploadEndedError when the object exists, or the uploads were aborted.
        """
        uploads = [(item.region, item.upload) for item in document.replicas.values() if item.upload is not None]
        if not uploads:
            if document.declared.size <= PART_SIZE:
                return Unprocessable("The document is not being uploaded in parts.")
            return NotYetHere("This region has not yet received all of the document's record.")
        missing: list[list[int]] = []
        faults: list[StorageFault] = []
        for region, upload in sorted(uploads, key=lambda found: found[0] != self._region):
            try:
                progress = self._multipart[region].progress(document, upload)
                if not progress.missing:
                    if region == self._region:
                        # If this function ends early and S3's event is lost, the check finds the object.
                        document = self._expect(document)
                    self._multipart[region].complete(document, upload, progress.parts)
                    if region == self._region:
                        self.mark_stored(document)
                    return None
                missing.append(progress.missing)
            except UploadEndedError:
                continue
            except StorageFault as fault:
                faults.append(fault)
        if not missing:
            if faults:
                raise faults[0]
            raise UploadEndedError
        _, fewest = min((len(numbers), numbers) for numbers in missing)
        listed = ", ".join(map(str, fewest))
        return Conflict(f"Parts that are not there, or not of the size they should be: {listed}.")

    def _expect(self, document: Document) -> Document:
        """Let the next sweep look for the object of a document, which is about to be created."""
        own, now = self._repository.own(document), self._now()
        if own.state is State.ANNOUNCED:
            with suppress(Contention):
                expected = own.next(State.ANNOUNCED, at=now, since=now)
                return self._repository.save(document, expected, COMPLETE, Actor.CLIENT)
        return document

    def _ended(self, document: Document, upload: str) -> bool:
        """Return whether a multipart upload was completed or aborted, as S3 does after some days."""
        try:
            self._multipart[self._region].progress(document, upload)
        except UploadEndedError:
            return True
        return False

    def _arrived(self, document: Document) -> bool:
        """Return whether this region's bucket has an object, and list the document as pending then."""
        try:
            stored = self._here.head(document.name)
        except StorageFault as fault:
            if not denied(fault):
                raise
            return True
        if stored is not None:
            self.mark_stored(document, stored.version)
        return stored is not None

    def _begin(self, key: RecordKey, declared: DeclaredContent) -> str | None:
        if declared.size <= PART_SIZE:
            return None
        return self._multipart[self._region].begin(object_key(key), declared, self._addresses.encryption)


@contextmanager
def _ongoing(operation: str) -> Iterator[None]:
    with translated(operation):
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _ENDED:
                raise UploadEndedError from error
            raise
