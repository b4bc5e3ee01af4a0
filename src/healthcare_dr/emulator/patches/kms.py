"""Patch KMS: permission for customer managed keys that S3 and DynamoDB use on behalf of callers."""

from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id
from ministack.services import dynamodb, kms, s3

from healthcare_dr.emulator.patches.replacement import replaces

S3_ACTIONS = {
    "s3:PutObject": "kms:GenerateDataKey",
    "s3:GetObject": "kms:Decrypt",
    "s3:GetObjectVersion": "kms:Decrypt",
}
DYNAMODB_ACTIONS = {
    f"dynamodb:{operation}": "kms:Decrypt"
    for operation in (
        *("BatchGetItem", "BatchWriteItem", "ConditionCheckItem", "DeleteItem"),
        *("GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
    )
}
KEY_ACTIONS = S3_ACTIONS | DYNAMODB_ACTIONS
SSE = "x-amz-server-side-encryption"
SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"


@replaces(iam_evaluator, "enforce")
def authorize_key_use(
    inner: Callable[..., Any],
    access_key: str,
    action: str,
    service: str,
    region: str,
    resource_arn: str = "*",
    service_context: dict[str, Any] | None = None,
) -> Any:
    """S3 and DynamoDB used a customer managed key for callers without permission. AWS calls KMS in the caller's name
    (`kms:ViaService`), so that a role without permission for the key is denied.
    """
    denied = inner(access_key, action, service, region, resource_arn, service_context)
    if denied or action not in KEY_ACTIONS:
        return denied
    used = (_s3_key if service == "s3" else _dynamodb_key)(action, resource_arn, service_context or {})
    if used is None:
        return None
    key, encryption_context = used
    # The data are in the key's region. ministack assigns every presigned URL to its first region.
    region_of_key = key.split(":")[3]
    context = {
        "kms:ViaService": f"{service}.{region_of_key}.amazonaws.com",
        "kms:CallerAccount": get_account_id(),
        **{f"kms:EncryptionContext:{name}": value for name, value in encryption_context.items()},
        "kms:EncryptionContextKeys": list(encryption_context),
    }
    denied = inner(access_key, KEY_ACTIONS[action], "kms", region_of_key, key, context)
    if isinstance(denied, iam_evaluator.EvalResult):
        # ministack's message names only the action of S3 or DynamoDB, which the caller may be allowed.
        denied.principal_arn += f" (without {KEY_ACTIONS[action]} on {key})"
    return denied


def _s3_key(action: str, arn: str, context: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """Return the key, and its encryption context, with which S3 encrypts or decrypts an object."""
    bucket, _, name = arn.removeprefix("arn:aws:s3:::").partition("/")
    default = s3._bucket_default_sse_headers(bucket)
    if action == "s3:PutObject":
        requested = {header: context.get(f"s3:{header}") for header in (SSE, SSE_KEY)}
        encryption = requested if requested[SSE] else default
    else:
        stored = (s3._buckets.get(bucket) or {}).get("objects", {}).get(name) or {}
        encryption = stored.get("preserved_headers", {})
    record = kms._resolve_key(encryption.get(SSE_KEY)) if encryption.get(SSE) == "aws:kms" else None
    if record is None:
        return None
    # A bucket key uses the bucket's ARN as context.
    bucket_key = "<BucketKeyEnabled>true" in (s3._bucket_encryption.get(bucket) or "")
    return record["Arn"], {"aws:s3:arn": f"arn:aws:s3:::{bucket}" if bucket_key else arn}


def _dynamodb_key(_: str, arn: str, __: dict[str, Any]) -> tuple[str, dict[str, str]] | None:
    """Return the key, and its encryption context, with which DynamoDB decrypts a table."""
    name = arn.partition(":table/")[2].partition("/")[0]
    encryption = (dynamodb._tables.get(name) or {}).get("SSEDescription") or {}
    record = kms._resolve_key(encryption.get("KMSMasterKeyArn"))
    if record is None:
        return None
    return record["Arn"], {"aws:dynamodb:tableName": name, "aws:dynamodb:subscriberId": get_account_id()}
