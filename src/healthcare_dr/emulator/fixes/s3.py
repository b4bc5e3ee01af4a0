"""S3."""

from typing import Any

from ministack.core import iam_actions

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
