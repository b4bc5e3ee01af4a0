"""S3."""

from typing import Any
from urllib.parse import parse_qsl

from ministack.core import iam_actions
from ministack.services import s3

Response = tuple[int, dict[str, str], bytes]

KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"


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


def keep_the_tags_of_an_upload() -> None:
    """The tags that a multipart upload was created with were lost when it was completed."""
    create_inner, complete_inner = s3._create_multipart_upload, s3._complete_multipart_upload

    def create(bucket: str, key: str, headers: dict[str, str]) -> Response:
        before = set(s3._multipart_uploads)
        response: Response = create_inner(bucket, key, headers)
        if tagging := headers.get("x-amz-tagging"):
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
