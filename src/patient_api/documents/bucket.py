"""The documents' bucket of one region, as those who read from it see it."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import S3, translated
from patient_api.fhir.profile.document import DeclaredContent

DOWNLOAD_SECONDS: Final = 300
CHUNK: Final = 4 * 1024 * 1024

_ABSENT: Final = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
_WHOLE_LENGTH: Final = 44  # of a SHA-256 in base64; that of a hash over hashes ends with the number of parts


@dataclass(frozen=True)
class StoredObject:
    """An object in a bucket. `sha256` is that of all its bytes in base64, None where S3 does not know it.

    `version` is None in a bucket without versions. S3 gives a replica the time and the version id of its source
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication.html).
    """

    version: str | None
    size: int
    sha256: str | None
    modified: datetime

    @property
    def pinned(self) -> dict[str, str]:
        """The arguments that name this very version to S3."""
        return {} if self.version is None else {"VersionId": self.version}


class Bucket:
    """One region's bucket. The client is made when it is first needed. Every method raises StorageFault."""

    def __init__(self, *, region: str, name: str, client: Callable[[], S3]) -> None:
        self.region = region
        self._name = name
        self._client = client

    def head(self, key: str, version: str | None = None) -> StoredObject | None:
        """The object as it is, or that version of it; None when it is not there."""
        pinned = {} if version is None else {"VersionId": version}
        with translated("HeadObject"):
            try:
                answer = self._client().head_object(Bucket=self._name, Key=key, ChecksumMode="ENABLED", **pinned)
            except ClientError as error:
                if error.response["Error"]["Code"] in _ABSENT:
                    return None
                raise
        return _held(answer)

    def matches(self, key: str, held: StoredObject, announced: DeclaredContent) -> bool:
        """Whether the object is what was announced. Reads it where S3 has no hash of the whole."""
        if held.size != announced.size:
            return False
        return (held.sha256 or self._sha256(key, held)) == announced.sha256

    def pieces(self, key: str, held: StoredObject, size: int) -> Iterator[bytes]:
        """The object in pieces of `size` bytes, the last of which may be shorter."""
        with translated("GetObject"):
            body = self._client().get_object(Bucket=self._name, Key=key, **held.pinned)["Body"]
            try:
                while piece := _read(body, size):
                    yield piece
            finally:
                body.close()

    def quarantine(self, key: str, held: StoredObject) -> None:
        """Mark the object so that nobody can download it any more."""
        tags = {"TagSet": [{"Key": "quarantine", "Value": "true"}]}
        with translated("PutObjectTagging"):
            self._client().put_object_tagging(Bucket=self._name, Key=key, Tagging=tags, **held.pinned)

    def download(self, key: str, version: str | None) -> str:
        """An address from which anybody can get the object for the next five minutes."""
        pinned = {} if version is None else {"VersionId": version}
        with translated("Presign"):
            return self._client().generate_presigned_url(
                "get_object", Params={"Bucket": self._name, "Key": key, **pinned}, ExpiresIn=DOWNLOAD_SECONDS
            )

    def _sha256(self, key: str, held: StoredObject) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces(key, held, CHUNK):
            digest.update(piece)
        return base64.b64encode(digest.digest()).decode()


def _held(answer: dict[str, Any]) -> StoredObject:
    checksum = answer.get("ChecksumSHA256")
    return StoredObject(
        answer.get("VersionId"),
        int(answer["ContentLength"]),
        checksum if checksum and len(checksum) == _WHOLE_LENGTH else None,
        answer["LastModified"],
    )


def _read(body: Any, size: int) -> bytes:
    """`size` bytes, or what is left: a stream may give less than it was asked for."""
    parts: list[bytes] = []
    while size and (part := body.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
