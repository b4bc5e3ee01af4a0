"""Rules on every bucket."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, listed, principals

Problems = Iterator[tuple[str, str]]
ALGORITHM, KEY = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
# CloudTrail may write its digests, which hold hashes only, under S3's own key.
LOGS = f"AWSLogs/{ACCOUNT}/CloudTrail/"
PUBLIC_ACCESS = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")


@rule("bucket-versioning", "R3.2", "D5", why="Replication and recovery of an overwritten document need versions.")
def versioned(platform: Platform) -> Problems:
    for bucket in platform.resources("aws_s3_bucket"):
        found = [
            versioning.get("versioning_configuration", "status")
            for versioning in platform.of_parent(bucket, "bucket", "aws_s3_bucket_versioning")
        ]
        if found != ["Enabled"]:
            yield bucket.address, "versioning must be Enabled"


@rule(
    "bucket-encryption", "R3.3", "C4", "trap 12",
    why="Documents rest under the region's own key, and bucket keys keep KMS from becoming the bottleneck.",
)  # fmt: skip
def encrypted(platform: Platform) -> Problems:
    for bucket in platform.resources("aws_s3_bucket"):
        found = list(platform.of_parent(bucket, "bucket", "aws_s3_bucket_server_side_encryption_configuration"))
        default = ("rule", "apply_server_side_encryption_by_default")
        if len(found) != 1 or found[0].get(*default, "sse_algorithm") != "aws:kms":
            yield bucket.address, "must be encrypted with aws:kms by default"
            continue
        key = platform.referred(bucket.stack, found[0].get(*default, "kms_master_key_id"))
        if key is None or key.region != bucket.region:
            yield bucket.address, f"must be encrypted with the platform's key of {bucket.region}"
        if found[0].get("rule", "bucket_key_enabled") is not True:
            yield bucket.address, "bucket_key_enabled must be true"


@rule("bucket-destroyable", "R3.4", "D6", why="What cannot be destroyed cannot be rehearsed.")
def destroyable(platform: Platform) -> Problems:
    for bucket in platform.resources("aws_s3_bucket"):
        if bucket.get("force_destroy") is not True:
            yield bucket.address, "force_destroy must be true"


@rule("bucket-private", "trap 19", "C6", why="A document bucket is never public, and never read in the clear.")
def private(platform: Platform) -> Problems:
    for bucket in platform.resources("aws_s3_bucket"):
        blocks = list(platform.of_parent(bucket, "bucket", "aws_s3_bucket_public_access_block"))
        if len(blocks) != 1 or not all(blocks[0].get(setting) is True for setting in PUBLIC_ACCESS):
            yield bucket.address, "public access must be blocked in all four ways"
        owners = platform.of_parent(bucket, "bucket", "aws_s3_bucket_ownership_controls")
        if [owner.get("rule", "object_ownership") for owner in owners] != ["BucketOwnerEnforced"]:
            yield bucket.address, "ownership must be BucketOwnerEnforced, which turns ACLs off"
        statements = [
            statement
            for holder in platform.of_parent(bucket, "bucket", "aws_s3_bucket_policy")
            for statement in holder.statements("policy")
            if statement["Effect"] == "Deny" and principals(statement, "AWS") == ["*"]
        ]
        conditions = [statement.get("Condition", {}) for statement in statements]
        if {"Bool": {"aws:SecureTransport": "false"}} not in conditions:
            yield bucket.address, "its policy must refuse what does not come over TLS"
        accepted = {
            (header, resource): value
            for statement in statements
            if "s3:PutObject" in listed(statement["Action"])
            for resource in listed(statement["Resource"])
            for header, value in statement.get("Condition", {}).get("StringNotEquals", {}).items()
        }
        objects = f"{bucket.expression('arn')}/"
        holds_trail = bool(list(platform.of_parent(bucket, "s3_bucket_name", "aws_cloudtrail")))
        if accepted.get((ALGORITHM, f"{objects}{LOGS if holds_trail else ''}*")) != "aws:kms":
            yield bucket.address, "its policy must refuse objects under another encryption"
        key = platform.referred(bucket.stack, accepted.get((KEY, f"{objects}*")))
        if key is None or key.region != bucket.region:
            yield bucket.address, "its policy must refuse objects under another key"


@rule("bucket-lifecycle", "C6", why="Parts of uploads that nobody finishes are patient data that nobody sees.")
def lifecycle(platform: Platform) -> Problems:
    for bucket in platform.resources("aws_s3_bucket"):
        found = [
            configured
            for candidate in platform.resources("aws_s3_bucket_lifecycle_configuration")
            if candidate.stack == bucket.stack
            and (versioning := platform.referred(candidate.stack, candidate.get("bucket"))) is not None
            and platform.referred(versioning.stack, versioning.get("bucket")) == bucket
            for configured in candidate.blocks("rule")
        ]
        if not any(configured.get("abort_incomplete_multipart_upload") for configured in found):
            yield bucket.address, "incomplete uploads must be cleaned up"
        if not any(configured.get("noncurrent_version_expiration") for configured in found):
            yield bucket.address, "old versions must have a retention"
