"""Copies of documents that replication is late with."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import S3, translated
from patient_api.documents.bucket import Bucket, StoredObject
from patient_api.documents.multipart import PART_SIZE, THERE_ALREADY, UploadEnded
from patient_api.documents.reference import Document
from patient_api.errors import StorageFault

CHANGED: Final = "OtherBytesThanBefore"


class Copies:
    """Writes into the bucket `bucket`, encrypted as that bucket does by itself. Every method raises StorageFault.

    The function reads what it copies piece by piece and tells S3 the SHA-256 of each, so that S3 vouches for what has
    arrived; and it hashes the whole, which becomes an object only if that is what was announced.
    """

    def __init__(self, *, client: Callable[[], S3], bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def copy(self, document: Document, source: Bucket, held: StoredObject, *, replacing: bool) -> str | None:
        """Copy the object `held` from `source`; the version id of the copy, if the bucket has versions.

        Raises UploadEnded when there is an object already, unless it is one to be replaced.
        """
        condition = {} if replacing else {"IfNoneMatch": "*"}
        pieces = source.pieces(document.name, held, PART_SIZE)
        if held.size <= PART_SIZE:
            answer = self._put(document, b"".join(pieces), condition)
        else:
            answer = self._parts(document, pieces, condition)
        version: str | None = answer.get("VersionId")
        return version

    def _put(self, document: Document, content: bytes, condition: dict[str, str]) -> dict[str, Any]:
        with translated("PutObject"):
            try:
                return self._client().put_object(
                    Bucket=self._bucket,
                    Key=document.name,
                    Body=content,
                    ContentType=document.announced.content_type,
                    ChecksumSHA256=document.announced.sha256,
                    **condition,
                )
            except ClientError as error:
                raise _ended(error) from error

    def _parts(self, document: Document, pieces: Iterable[bytes], condition: dict[str, str]) -> dict[str, Any]:
        upload = {"Bucket": self._bucket, "Key": document.name}
        with translated("CreateMultipartUpload"):
            begun = self._client().create_multipart_upload(
                **upload, ContentType=document.announced.content_type, ChecksumAlgorithm="SHA256"
            )
        upload["UploadId"] = begun["UploadId"]
        try:
            return self._completed(document, pieces, upload, condition)
        except (StorageFault, UploadEnded):
            with translated("AbortMultipartUpload"):
                self._client().abort_multipart_upload(**upload)
            raise

    def _completed(
        self, document: Document, pieces: Iterable[bytes], upload: dict[str, str], condition: dict[str, str]
    ) -> dict[str, Any]:
        whole = hashlib.sha256()
        sent: list[dict[str, Any]] = []
        for number, piece in enumerate(pieces, start=1):
            whole.update(piece)
            checksum = _base64(hashlib.sha256(piece).digest())
            with translated("UploadPart"):
                answer = self._client().upload_part(**upload, PartNumber=number, Body=piece, ChecksumSHA256=checksum)
            sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
        if _base64(whole.digest()) != document.announced.sha256:
            raise StorageFault(operation="GetObject", code=CHANGED)
        with translated("CompleteMultipartUpload"):
            try:
                return self._client().complete_multipart_upload(**upload, MultipartUpload={"Parts": sent}, **condition)
            except ClientError as error:
                raise _ended(error) from error


def _ended(error: ClientError) -> Exception:
    return UploadEnded() if error.response["Error"]["Code"] in THERE_ALREADY else error


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
