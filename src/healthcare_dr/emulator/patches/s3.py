"""S3."""

from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl
from xml.etree.ElementTree import ParseError

from ministack.core import iam_actions
from ministack.services import s3

Response = tuple[int, dict[str, str], bytes]

KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
TAGS_HEADER = "x-amz-tagging"


def tell_policies_the_key() -> None:
    """Policies could not see which key an upload names, so that a bucket policy that admits one key only did not
    refuse another."""
    inner = iam_actions.s3_service_context

    def context(
        action: str, query: dict[str, Any] | None, path: str = "", headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        keys: dict[str, Any] = inner(action, query, path, headers)
        if action == "s3:PutObject" and (named := (headers or {}).get(KEY_HEADER)):
            keys[f"s3:{KEY_HEADER}"] = named
        return keys

    iam_actions.s3_service_context = context


def tell_policies_the_tags() -> None:
    """Policies could not see the tags in a request, so permission for certain tags allowed none."""
    context_inner, resource_inner = iam_actions.s3_service_context, iam_actions.extract_resource_arn
    sent: ContextVar[bytes] = ContextVar("sent", default=b"")

    def resource(
        service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any, **named: Any
    ) -> str:
        # ministack asks for a request's resource, then for its context, which it does not show the body.
        sent.set(body)
        arn: str = resource_inner(service, method, path, headers, body, *rest, **named)
        return arn

    def context(
        action: str, query: dict[str, Any] | None, path: str = "", headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        keys: dict[str, Any] = context_inner(action, query, path, headers)
        tags = {}
        if action == "s3:PutObject":
            tags = dict(parse_qsl((headers or {}).get(TAGS_HEADER, ""), keep_blank_values=True))
        elif action in ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"):
            tags = _tags_of(sent.get())
        return {**keys, **{f"s3:RequestObjectTag/{name}": value for name, value in tags.items()}}

    iam_actions.extract_resource_arn = resource
    iam_actions.s3_service_context = context


def keep_the_tags_of_an_upload() -> None:
    """The tags that a multipart upload was created with were lost when it was completed."""
    create_inner, complete_inner = s3._create_multipart_upload, s3._complete_multipart_upload

    def create(bucket: str, key: str, headers: dict[str, str]) -> Response:
        before = set(s3._multipart_uploads)
        response: Response = create_inner(bucket, key, headers)
        if tagging := headers.get(TAGS_HEADER):
            for upload in set(s3._multipart_uploads) - before:
                s3._multipart_uploads[upload]["tags"] = dict(parse_qsl(tagging, keep_blank_values=True))
        return response

    def complete(bucket: str, key: str, body: bytes, query: dict[str, Any], headers: Any = None) -> Response:
        tags = (s3._multipart_uploads.get(s3._qp(query, "uploadId")) or {}).get("tags")
        response: Response = complete_inner(bucket, key, body, query, headers)
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
        # ministack says what is wrong with it.
        return {}
    return tags
