"""Addresses to which a caller sends a document's bytes, straight into this region's bucket.

All that S3 is to insist on is signed as a header: type, length, SHA-256, the key that encrypts, and that nothing is
there yet, so that an address cannot replace a document. S3 refuses a request that lacks a signed header or sends
another value (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html), and bytes with another
hash.

What is too long for one request is sent in parts of a signed length. S3 would check a part's hash only if it were known
now, to be signed; so the whole is hashed once it is there, before it becomes final.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from patient_api.aws import S3, translated
from patient_api.contract.keys import instant
from patient_api.documents.multipart import Part, parts_of
from patient_api.documents.reference import UPLOAD, Resource
from patient_api.fhir.codec import JsonValue, Number
from patient_api.fhir.profile.document import DeclaredContent

UPLOAD_SECONDS: Final = 900


class Uploads:
    """Into the bucket `bucket`, encrypted with the key `key_arn`. Every method raises StorageFault."""

    def __init__(self, *, client: Callable[[], S3], bucket: str, key_arn: str, now: Callable[[], datetime]) -> None:
        self._client = client
        self._bucket = bucket
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn}
        self._now = now

    def whole(self, name: str, announced: DeclaredContent) -> Resource:
        """The extension with the address for a document of one request, and the headers to send with it."""
        arguments = {
            "ContentType": announced.content_type,
            "ContentLength": announced.size,
            "ChecksumSHA256": announced.sha256,
            "IfNoneMatch": "*",
            **self._encryption,
        }
        headers = {
            "Content-Type": announced.content_type,
            "If-None-Match": "*",
            "x-amz-checksum-sha256": announced.sha256,
            "x-amz-server-side-encryption": self._encryption["ServerSideEncryption"],
            "x-amz-server-side-encryption-aws-kms-key-id": self._encryption["SSEKMSKeyId"],
        }
        expires = self._expiry()
        address: JsonValue = {"url": "address", "valueUrl": self._signed("put_object", name, arguments)}
        sent: list[JsonValue] = [{"url": "header", "valueString": f"{key}: {text}"} for key, text in headers.items()]
        return {"url": UPLOAD, "extension": [_PUT, address, *sent, expires]}

    def start(self, name: str, announced: DeclaredContent) -> str:
        """Begin an upload in parts; its id."""
        with translated("CreateMultipartUpload"):
            answer = self._client().create_multipart_upload(
                Bucket=self._bucket, Key=name, ContentType=announced.content_type, **self._encryption
            )
        return str(answer["UploadId"])

    def parts(self, name: str, announced: DeclaredContent, upload: str) -> Resource:
        """The extension with the address of each part."""
        expires = self._expiry()
        listed = [self._part(name, part, upload) for part in parts_of(announced.size)]
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
        # Taken before anything is signed: no address ends earlier than it is said to.
        return {"url": "expires", "valueInstant": instant(self._now() + timedelta(seconds=UPLOAD_SECONDS))}


_PUT: Final[JsonValue] = {"url": "method", "valueCode": "PUT"}
