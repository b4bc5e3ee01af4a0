"""A region's bucket of documents: compare, read, quarantine and copy objects, and sign downloads."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import S3, translated
from patient_api.contract.keys import QUARANTINE_TAG
from patient_api.documents.lifecycle import Document
from patient_api.errors import StorageFault
from patient_api.fhir.profile.document import DeclaredContent

DOWNLOAD_SECONDS: Final = 300
CHUNK: Final = 4 * 1024 * 1024
PART_SIZE: Final = 64 * 1024 * 1024
"""The size of a part, in bytes. The largest document has 80 parts, whose URLs fit into a response of Lambda."""
CHANGED: Final = "ContentChanged"

EXISTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
"""Error codes of a conditional write when there is an object already, or another write of the key is in progress."""
DENIED: Final = "403"
"""The error code of a HEAD request that the bucket's policy denies: it has no body, so the status is the code."""
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
_WHOLE_LENGTH: Final = 44  # of a SHA-256 in base64; a hash over the hashes of parts ends with their number


class ObjectExistsError(Exception):
    """There is an object already, which a conditional write does not replace."""


@dataclass(frozen=True)
class StoredObject:
    """A version of an object. `sha256` is that of all its bytes in base64, None where S3 has none.

    A replica has the version id of its source (https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html).
    """

    version: str
    size: int
    sha256: str | None
    modified: datetime

    def matches(self, declared: DeclaredContent) -> bool | None:
        """Return whether the bytes are the declared ones, None when only their hash can decide that."""
        if self.size != declared.size:
            return False
        return None if self.sha256 is None else self.sha256 == declared.sha256


class DocumentBucket:
    """The bucket of one region. Every method raises StorageFault."""

    def __init__(self, *, region: str, name: str, client: Callable[[], S3]) -> None:
        self.region = region
        self.name = name
        self._client = client

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        """Raise StorageFault with this region for exceptions of botocore."""
        try:
            with translated(operation):
                yield
        except StorageFault as fault:
            fault.region = self.region
            raise

    def head(self, key: str, version: str | None = None) -> StoredObject | None:
        """Return the newest version of an object, or the one with the id `version`. None when it does not exist.

        To the functions of the peer and to the API, the bucket denies an object in quarantine: see `denied`.
        """
        pinned = {} if version is None else {"VersionId": version}
        with self._translated("HeadObject"):
            try:
                answer = self._client().head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED", **pinned)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    return None
                raise
        checksum = answer.get("ChecksumSHA256")
        return StoredObject(
            answer["VersionId"],
            int(answer["ContentLength"]),
            checksum if checksum and len(checksum) == _WHOLE_LENGTH else None,
            answer["LastModified"],
        )

    def sha256(self, key: str, stored: StoredObject) -> str:
        """Return the SHA-256 of all bytes, in base64. Reads the object."""
        digest = hashlib.sha256()
        for piece in self.pieces(key, stored, CHUNK):
            digest.update(piece)
        return _base64(digest.digest())

    def pieces(self, key: str, stored: StoredObject, size: int) -> Iterator[bytes]:
        """Yield the object in pieces of `size` bytes; the last one may be shorter."""
        with self._translated("GetObject"):
            body = self._client().get_object(Bucket=self.name, Key=key, VersionId=stored.version)["Body"]
            try:
                while piece := _read(body, size):
                    yield piece
            finally:
                body.close()

    def quarantine(self, key: str, stored: StoredObject) -> None:
        """Tag the object, so that the bucket's policy denies its download."""
        tags = {"TagSet": [{"Key": QUARANTINE_TAG, "Value": "true"}]}
        with self._translated("PutObjectTagging"):
            self._client().put_object_tagging(Bucket=self.name, Key=key, Tagging=tags, VersionId=stored.version)

    def download(self, key: str, version: str) -> str:
        """Return a presigned URL of a version of an object, valid for five minutes."""
        parameters = {"Bucket": self.name, "Key": key, "VersionId": version}
        with self._translated("Presign"):
            return self._client().generate_presigned_url("get_object", Params=parameters, ExpiresIn=DOWNLOAD_SECONDS)

    def copy(self, document: Document, source: "DocumentBucket", stored: StoredObject, *, replacing: bool) -> str:
        """Copy an object with the declared bytes from `source` into this bucket, and return its version id.

        The object is encrypted as the bucket does by default. S3 verifies the SHA-256 of each part, and this method
        that of the whole: an object is created only if the bytes are the declared ones.

        Raises ObjectExistsError when there is an object already, unless it is to be replaced.
        """
        condition = {} if replacing else {"IfNoneMatch": "*"}
        pieces = source.pieces(document.name, stored, PART_SIZE)
        if stored.size <= PART_SIZE:
            answer = self._put(document, b"".join(pieces), condition)
        else:
            answer = self._put_parts(document, pieces, condition)
        return str(answer["VersionId"])

    def _put(self, document: Document, content: bytes, condition: dict[str, str]) -> dict[str, Any]:
        with self._translated("PutObject"), _existing():
            return self._client().put_object(
                Bucket=self.name,
                Key=document.name,
                Body=content,
                ContentType=document.declared.content_type,
                ChecksumSHA256=document.declared.sha256,
                **condition,
            )

    def _put_parts(self, document: Document, pieces: Iterable[bytes], condition: dict[str, str]) -> dict[str, Any]:
        upload = {"Bucket": self.name, "Key": document.name}
        with self._translated("CreateMultipartUpload"):
            begun = self._client().create_multipart_upload(
                **upload,
                ContentType=document.declared.content_type,
                ChecksumAlgorithm="SHA256",
            )
        upload["UploadId"] = begun["UploadId"]
        try:
            parts = self._upload_parts(document, pieces, upload)
            with self._translated("CompleteMultipartUpload"), _existing():
                return self._client().complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
        except (StorageFault, ObjectExistsError):
            with self._translated("AbortMultipartUpload"):
                self._client().abort_multipart_upload(**upload)
            raise

    def _upload_parts(
        self, document: Document, pieces: Iterable[bytes], upload: dict[str, str]
    ) -> list[dict[str, Any]]:
        whole = hashlib.sha256()
        sent: list[dict[str, Any]] = []
        for number, piece in enumerate(pieces, start=1):
            whole.update(piece)
            checksum = _base64(hashlib.sha256(piece).digest())
            with self._translated("UploadPart"):
                answer = self._client().upload_part(**upload, PartNumber=number, Body=piece, ChecksumSHA256=checksum)
            sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
        if _base64(whole.digest()) != document.declared.sha256:
            raise StorageFault(operation="GetObject", code=CHANGED)
        return sent


@contextmanager
def _existing() -> Iterator[None]:
    """Raise ObjectExistsError for the failed condition of a write."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in EXISTS:
            raise ObjectExistsError from error
        raise


def _read(body: Any, size: int) -> bytes:
    """Return `size` bytes, or what is left: a stream may return less than requested."""
    parts: list[bytes] = []
    while size and (part := body.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def denied(fault: StorageFault) -> bool:
    """Return whether a bucket has denied a HEAD request, as it does for an object in quarantine."""
    return fault.operation == "HeadObject" and fault.code == DENIED


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
