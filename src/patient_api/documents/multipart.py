"""Uploads in parts: what the parts are, and how one object is made of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from patient_api.aws import S3, translated
from patient_api.documents.reference import Document

# 80 parts of this size hold the largest document, and their addresses are far from what Lambda may answer.
PART_SIZE: Final = 64 * 1024 * 1024

# Somebody else was first: with the same key, or with the same upload.
THERE_ALREADY: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_ENDED: Final = THERE_ALREADY | {"NoSuchUpload"}


class UploadEnded(Exception):  # noqa: N818 - says what has happened
    """The upload goes on no more: it was completed or given up, or there is an object already."""


@dataclass(frozen=True)
class Part:
    """`number` counts from 1."""

    number: int
    size: int


def parts_of(size: int) -> Sequence[Part]:
    """The parts of a document of `size` bytes."""
    whole, rest = divmod(size, PART_SIZE)
    sizes = [PART_SIZE] * whole + [rest] * bool(rest)
    return [Part(number, length) for number, length in enumerate(sizes, start=1)]


@dataclass(frozen=True)
class Progress:
    """The numbers of the parts that are not there or of another size, and what S3 is to be told of those that are."""

    missing: Sequence[int]
    parts: Sequence[dict[str, Any]]


class Multipart:
    """The uploads in parts into the bucket `bucket`. Every method raises StorageFault."""

    def __init__(self, *, client: Callable[[], S3], bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def progress(self, document: Document, upload: str) -> Progress:
        """Which parts are there. Raises UploadEnded."""
        with _ongoing("ListParts"):
            answer = self._client().list_parts(Bucket=self._bucket, Key=document.name, UploadId=upload)
        there = {(int(part["PartNumber"]), int(part["Size"])): part["ETag"] for part in answer.get("Parts", ())}
        wanted = [(part.number, part.size) for part in parts_of(document.announced.size)]
        return Progress(
            [number for number, size in wanted if (number, size) not in there],
            [{"PartNumber": part[0], "ETag": there[part]} for part in wanted if part in there],
        )

    def complete(self, document: Document, upload: str, parts: Sequence[dict[str, Any]]) -> None:
        """Make one object of all parts. Raises UploadEnded."""
        with _ongoing("CompleteMultipartUpload"):
            self._client().complete_multipart_upload(
                Bucket=self._bucket,
                Key=document.name,
                UploadId=upload,
                MultipartUpload={"Parts": list(parts)},
                IfNoneMatch="*",
            )

    def abort(self, name: str, upload: str) -> None:
        """Give the upload into the object `name` up."""
        with translated("AbortMultipartUpload"):
            self._client().abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)


@contextmanager
def _ongoing(operation: str) -> Iterator[None]:
    with translated(operation):
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _ENDED:
                raise UploadEnded from error
            raise
