"""Patch S3: condition keys of policies, presigned URLs and multipart uploads."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree
from xml.etree.ElementTree import ParseError

from ministack.core import iam_actions, iam_evaluator
from ministack.core.router import extract_access_key_id, extract_region
from ministack.services import s3

from healthcare_dr.emulator.patches.replacement import Handler, Operation, Response, replaces

KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
TAGS_HEADER = "x-amz-tagging"
SMALLEST_PART_BYTES = 5 * 1024 * 1024
NO_SUCH_KEY = b"<Code>NoSuchKey</Code>"


@replaces(iam_actions, "s3_service_context")
def expose_sse_key(
    inner: Callable[..., dict[str, Any]],
    action: str,
    query: dict[str, Any] | None,
    path: str = "",
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Policies could not see the KMS key of an upload, so a bucket policy that permits one key did not deny others."""
    keys = inner(action, query, path, headers)
    if action == "s3:PutObject" and (named := (headers or {}).get(KEY_HEADER)):
        keys[f"s3:{KEY_HEADER}"] = named
    return keys


def expose_request_tags() -> None:
    """Policies could not see the tags in a request, so permission for certain tags allowed none."""
    context_inner: Callable[..., dict[str, Any]] = iam_actions.s3_service_context
    resource_inner: Callable[..., str] = iam_actions.extract_resource_arn
    sent: ContextVar[bytes] = ContextVar("sent", default=b"")

    def resource(
        service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any, **named: Any
    ) -> str:
        # ministack resolves a request's resource and then its context, without the body.
        sent.set(body)
        return resource_inner(service, method, path, headers, body, *rest, **named)

    def context(
        action: str, query: dict[str, Any] | None, path: str = "", headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        keys = context_inner(action, query, path, headers)
        tags = {}
        if action == "s3:PutObject":
            tags = dict(parse_qsl((headers or {}).get(TAGS_HEADER, ""), keep_blank_values=True))
        elif action in ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"):
            tags = _tags_of(sent.get())
        return {**keys, **{f"s3:RequestObjectTag/{name}": value for name, value in tags.items()}}

    iam_actions.extract_resource_arn = resource
    iam_actions.s3_service_context = context


def keep_multipart_tags() -> None:
    """The tags of a multipart upload were lost when it was completed."""
    create_inner: Operation = s3._create_multipart_upload
    complete_inner: Operation = s3._complete_multipart_upload

    def create(bucket: str, key: str, headers: dict[str, str]) -> Response:
        before = set(s3._multipart_uploads)
        response = create_inner(bucket, key, headers)
        if tagging := headers.get(TAGS_HEADER):
            for upload in set(s3._multipart_uploads) - before:
                s3._multipart_uploads[upload]["tags"] = dict(parse_qsl(tagging, keep_blank_values=True))
        return response

    def complete(bucket: str, key: str, body: bytes, query: dict[str, Any], headers: Any = None) -> Response:
        tags = (s3._multipart_uploads.get(s3._qp(query, "uploadId")) or {}).get("tags")
        response = complete_inner(bucket, key, body, query, headers)
        if tags and response[0] == 200:
            s3._object_tags[bucket, key, response[1].get("x-amz-version-id")] = tags
            s3._persist_version_state(bucket, key, s3._buckets[bucket])
        return response

    s3._create_multipart_upload = create
    s3._complete_multipart_upload = complete


def _tags_of(body: bytes) -> dict[str, str]:
    try:
        tags: dict[str, str] = s3._parse_tags_xml(body)
    except (ParseError, ValueError):
        # ministack reports the error.
        return {}
    return tags


@replaces(s3, "_verify_presigned_sigv4")
def reject_unsigned_headers(
    inner: Callable[..., Response | None], method: str, path: str, headers: dict[str, str], query: dict[str, Any]
) -> Response | None:
    """The holder of a presigned URL could add unsigned headers, such as tags or another ACL."""
    refused = inner(method, path, headers, query)
    if refused is not None or not s3._qp(query, "X-Amz-Signature"):
        return refused
    signed = s3._qp(query, "X-Amz-SignedHeaders").lower().split(";")
    added = [name for name in headers if name.startswith("x-amz-") and name not in signed]
    if not added:
        return None
    message = "There were headers present in the request which were not signed"
    extra = {"HeadersNotSigned": ", ".join(added)}
    response: Response = s3._error("AccessDenied", message, 403, path, extra=extra)
    return response


@replaces(s3, "handle_request")
async def hide_missing_objects(
    inner: Handler,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
    *rest: Any,
    **named: Any,
) -> Response:
    """A caller without permission to list a bucket could see that an object does not exist. AWS responds 403, as for an
    existing object.
    """
    response = await inner(method, path, headers, body, query, *rest, **named)
    if response[0] != 404 or method not in ("GET", "HEAD") or named.get("internal"):
        return response
    bucket, key = s3._parse_bucket_key(path, headers)
    caller = extract_access_key_id(headers, query)
    # The response to HEAD has no body that names the error.
    if not key or not caller or bucket not in s3._buckets or (method == "GET" and NO_SUCH_KEY not in response[2]):
        return response
    region = extract_region(headers, query)
    if not iam_evaluator.enforce(caller, "s3:ListBucket", "s3", region, f"arn:aws:s3:::{bucket}"):
        return response
    status, hidden, refusal = s3._error("AccessDenied", "Access Denied", 403, path)
    return status, hidden, b"" if method == "HEAD" else refusal


@replaces(s3, "_complete_multipart_upload")
def validate_multipart_completion(
    inner: Operation, bucket: str, key: str, body: bytes, query: dict[str, Any], headers: Any = None
) -> Response:
    """A multipart upload could be completed with parts out of order, with parts that are too small, and without the
    checksums that its creation requires.
    """
    upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
    refused = _refused(upload, body) if upload and upload["key"] == key else None
    if refused is not None:
        response: Response = s3._error(*refused, 400, f"/{bucket}/{key}")
        return response
    return inner(bucket, key, body, query, headers)


def _refused(upload: dict[str, Any], body: bytes) -> tuple[str, str] | None:
    try:
        parts = [part for part in s3.fromstring(body) if _name(part) == "Part"]
        named = [{_name(member): member.text or "" for member in part} for part in parts]
        numbers = [int(part["PartNumber"]) for part in named]
    except (ElementTree.ParseError, KeyError, ValueError):
        # ministack reports the error.
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
