"""S3: what is refused."""

from typing import Any
from xml.etree import ElementTree

from ministack.core import iam_evaluator
from ministack.core.router import extract_access_key_id, extract_region
from ministack.services import s3

Response = tuple[int, dict[str, str], bytes]

SMALLEST_PART_BYTES = 5 * 1024 * 1024
NO_SUCH_KEY = b"<Code>NoSuchKey</Code>"


def refuse_headers_that_are_not_signed() -> None:
    """The holder of a presigned URL could add unsigned headers, such as tags or another ACL."""
    inner = s3._verify_presigned_sigv4

    def verify(method: str, path: str, headers: dict[str, str], query: dict[str, Any]) -> Response | None:
        refused: Response | None = inner(method, path, headers, query)
        if refused is not None or not s3._qp(query, "X-Amz-Signature"):
            return refused
        signed = s3._qp(query, "X-Amz-SignedHeaders").lower().split(";")
        added = [name for name in headers if name.startswith("x-amz-") and name not in signed]
        if not added:
            return None
        message = "There were headers present in the request which were not signed"
        extra = {"HeadersNotSigned": ", ".join(added)}
        refusal: Response = s3._error("AccessDenied", message, 403, path, extra=extra)
        return refusal

    s3._verify_presigned_sigv4 = verify


def hide_what_does_not_exist() -> None:
    """A caller without permission to list a bucket could see that an object does not exist: AWS responds with 403, as
    for one that does.
    """
    inner = s3.handle_request

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], *rest: Any, **named: Any
    ) -> Response:
        response: Response = await inner(method, path, headers, body, query, *rest, **named)
        if response[0] != 404 or method not in ("GET", "HEAD") or named.get("internal"):
            return response
        bucket, key = s3._parse_bucket_key(path, headers)
        caller = extract_access_key_id(headers, query)
        # The answer to HEAD has no body: ask for what it is about.
        if not key or not caller or bucket not in s3._buckets or (method == "GET" and NO_SUCH_KEY not in response[2]):
            return response
        region = extract_region(headers, query)
        if not iam_evaluator.enforce(caller, "s3:ListBucket", "s3", region, f"arn:aws:s3:::{bucket}"):
            return response
        status, hidden, refusal = s3._error("AccessDenied", "Access Denied", 403, path)
        return status, hidden, b"" if method == "HEAD" else refusal

    s3.handle_request = handle


def complete_an_upload_only_as_announced() -> None:
    """A multipart upload could be completed with parts out of order, with parts too small, and without the
    checksums it was created for."""
    inner = s3._complete_multipart_upload

    def complete(bucket: str, key: str, body: bytes, query: dict[str, Any], headers: Any = None) -> Response:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        refused = _refused(upload, body) if upload and upload["key"] == key else None
        if refused is not None:
            refusal: Response = s3._error(*refused, 400, f"/{bucket}/{key}")
            return refusal
        response: Response = inner(bucket, key, body, query, headers)
        return response

    s3._complete_multipart_upload = complete


def _refused(upload: dict[str, Any], body: bytes) -> tuple[str, str] | None:
    try:
        parts = [part for part in s3.fromstring(body) if _name(part) == "Part"]
        named = [{_name(member): member.text or "" for member in part} for part in parts]
        numbers = [int(part["PartNumber"]) for part in named]
    except (ElementTree.ParseError, KeyError, ValueError):
        # ministack says what is wrong with it.
        return None
    if numbers != sorted(set(numbers)):
        return "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number."
    algorithm = upload.get("checksum_algorithm")
    for number, part in zip(numbers, named, strict=True):
        if algorithm and f"Checksum{algorithm}" not in part:
            return "InvalidRequest", (
                f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the "
                f"checksum for each part. It was missing for part {number} in the request."
            )
    stored = [upload["parts"][number]["size"] for number in numbers[:-1] if number in upload["parts"]]
    if any(size < SMALLEST_PART_BYTES for size in stored):
        return "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"
    return None


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
