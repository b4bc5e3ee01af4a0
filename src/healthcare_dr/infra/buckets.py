"""The configuration of every bucket: versioned, encrypted with the region's key, not public."""

from dataclasses import dataclass

from cdktn import TerraformProvider, TerraformStack
from cdktn_provider_aws import s3_bucket_lifecycle_configuration as lifecycle
from cdktn_provider_aws import s3_bucket_server_side_encryption_configuration as encryption
from cdktn_provider_aws.s3_bucket import S3Bucket
from cdktn_provider_aws.s3_bucket_ownership_controls import (
    S3BucketOwnershipControls,
    S3BucketOwnershipControlsRule,
)
from cdktn_provider_aws.s3_bucket_policy import S3BucketPolicy
from cdktn_provider_aws.s3_bucket_public_access_block import S3BucketPublicAccessBlock
from cdktn_provider_aws.s3_bucket_versioning import (
    S3BucketVersioningA,
    S3BucketVersioningVersioningConfiguration,
)

from healthcare_dr.infra import policy
from healthcare_dr.infra.policy import Statement

INCOMPLETE_UPLOAD_DAYS = 7


@dataclass(frozen=True)
class SecureBucket:
    """A bucket with the parts on which other resources depend."""

    bucket: S3Bucket
    versioning: S3BucketVersioningA
    policy: S3BucketPolicy


def secure_bucket(
    stack: TerraformStack,
    identifier: str,
    *,
    name: str,
    key_arn: str,
    statements: tuple[Statement, ...],
    tags: dict[str, str],
    old_version_days: int,
    expiration_days: int | None = None,
    keyed_prefix: str = "",
    provider: TerraformProvider | None = None,
) -> SecureBucket:
    """Create a bucket that denies plaintext transport, public access, ACLs and any other key.

    Args:
        keyed_prefix: objects with this prefix must be encrypted with SSE-KMS; by default, all objects.
        statements: additional statements of the bucket policy.
        old_version_days: retention of noncurrent versions.
        expiration_days: retention of current objects; None keeps them.
    """
    bucket = S3Bucket(
        stack, identifier, bucket=name, force_destroy=True, tags={"Name": name, **tags}, provider=provider
    )
    versioning = S3BucketVersioningA(
        stack,
        f"{identifier}_versioning",
        bucket=bucket.id,
        versioning_configuration=S3BucketVersioningVersioningConfiguration(status="Enabled"),
        provider=provider,
    )
    encryption.S3BucketServerSideEncryptionConfigurationA(
        stack,
        f"{identifier}_encryption",
        bucket=bucket.id,
        rule=[
            encryption.S3BucketServerSideEncryptionConfigurationRuleA(
                apply_server_side_encryption_by_default=(
                    encryption.S3BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultA(
                        sse_algorithm="aws:kms", kms_master_key_id=key_arn
                    )
                ),
                bucket_key_enabled=True,
            )
        ],
        provider=provider,
    )
    S3BucketOwnershipControls(
        stack,
        f"{identifier}_ownership",
        bucket=bucket.id,
        rule=S3BucketOwnershipControlsRule(object_ownership="BucketOwnerEnforced"),
        provider=provider,
    )
    block = S3BucketPublicAccessBlock(
        stack,
        f"{identifier}_public_access",
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        provider=provider,
    )
    bucket_policy = S3BucketPolicy(
        stack,
        f"{identifier}_policy",
        bucket=bucket.id,
        policy=policy.document(
            policy.deny_plaintext(["s3:*"], [bucket.arn, f"{bucket.arn}/*"]),
            *_only_this_key(bucket.arn, key_arn, keyed_prefix),
            *statements,
        ),
        depends_on=[block],
        provider=provider,
    )
    _lifecycle(stack, identifier, versioning, old_version_days, expiration_days, provider)
    return SecureBucket(bucket=bucket, versioning=versioning, policy=bucket_policy)


def _only_this_key(bucket_arn: str, key_arn: str, prefix: str) -> tuple[Statement, Statement]:
    # "Null": a request without these headers gets the bucket's default, which is this key. "IfExists" would deny it.
    algorithm, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
    return (
        policy.deny_everyone(
            "RefuseOtherEncryption",
            ["s3:PutObject"],
            f"{bucket_arn}/{prefix}*",
            condition={"StringNotEquals": {algorithm: "aws:kms"}, "Null": {algorithm: "false"}},
        ),
        policy.deny_everyone(
            "RefuseOtherKeys",
            ["s3:PutObject"],
            f"{bucket_arn}/*",
            condition={"StringNotEquals": {key: key_arn}, "Null": {key: "false"}},
        ),
    )


def _lifecycle(
    stack: TerraformStack,
    identifier: str,
    versioning: S3BucketVersioningA,
    old_version_days: int,
    expiration_days: int | None,
    provider: TerraformProvider | None,
) -> None:
    everything = [lifecycle.S3BucketLifecycleConfigurationRuleFilter(prefix="")]
    lifecycle.S3BucketLifecycleConfiguration(
        stack,
        f"{identifier}_lifecycle",
        bucket=versioning.bucket,
        rule=[
            lifecycle.S3BucketLifecycleConfigurationRule(
                id="incomplete-uploads",
                status="Enabled",
                filter=everything,
                abort_incomplete_multipart_upload=[
                    lifecycle.S3BucketLifecycleConfigurationRuleAbortIncompleteMultipartUpload(
                        days_after_initiation=INCOMPLETE_UPLOAD_DAYS
                    )
                ],
            ),
            lifecycle.S3BucketLifecycleConfigurationRule(
                id="retention",
                status="Enabled",
                filter=everything,
                noncurrent_version_expiration=[
                    lifecycle.S3BucketLifecycleConfigurationRuleNoncurrentVersionExpiration(
                        noncurrent_days=old_version_days
                    )
                ],
                expiration=(
                    [lifecycle.S3BucketLifecycleConfigurationRuleExpiration(days=expiration_days)]
                    if expiration_days
                    else None
                ),
            ),
        ],
        provider=provider,
    )
