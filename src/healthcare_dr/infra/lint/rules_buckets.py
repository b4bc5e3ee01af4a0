"""Rules on buckets, on the replication of documents, and on the trail of data events."""

from collections.abc import Iterator, Mapping
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, allows, listed, principals, rule

ALGORITHM, KEY = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
# CloudTrail may write its digests, which contain hashes only, under S3's own key.
LOGS = f"AWSLogs/{ACCOUNT}/CloudTrail/"
PUBLIC_ACCESS = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")


@rule("R3.2", "D5")
def bucket_versioning(platform: Platform) -> Problems:
    """Replication and recovery of an overwritten document need versions."""
    for bucket in platform.resources("aws_s3_bucket"):
        versionings = platform.attached(bucket, "aws_s3_bucket_versioning")
        if [each.get("versioning_configuration", "status") for each in versionings] != ["Enabled"]:
            yield bucket.address, "versioning must be Enabled"


@rule("R3.3", "C4", "trap 12")
def bucket_encryption(platform: Platform) -> Problems:
    """Documents are encrypted with the region's own key. Bucket keys prevent throttling by KMS."""
    for bucket in platform.resources("aws_s3_bucket"):
        found = list(platform.attached(bucket, "aws_s3_bucket_server_side_encryption_configuration"))
        default = ("rule", "apply_server_side_encryption_by_default")
        if len(found) != 1 or found[0].get(*default, "sse_algorithm") != "aws:kms":
            yield bucket.address, "must be encrypted with aws:kms by default"
            continue
        if not platform.is_key_of(bucket.region, bucket.stack, found[0].get(*default, "kms_master_key_id")):
            yield bucket.address, f"must be encrypted with the platform's key of {bucket.region}"
        if found[0].get("rule", "bucket_key_enabled") is not True:
            yield bucket.address, "bucket_key_enabled must be true"


@rule("R3.4", "D6")
def bucket_destroyable(platform: Platform) -> Problems:
    """A platform that cannot be destroyed cannot be rehearsed."""
    for bucket in platform.resources("aws_s3_bucket"):
        if bucket.get("force_destroy") is not True:
            yield bucket.address, "force_destroy must be true"


@rule("trap 19", "C6")
def bucket_private(platform: Platform) -> Problems:
    """Documents must not be public, and must be transferred over TLS and encrypted at rest."""
    for bucket in platform.resources("aws_s3_bucket"):
        blocks = list(platform.attached(bucket, "aws_s3_bucket_public_access_block"))
        if len(blocks) != 1 or not all(blocks[0].get(setting) is True for setting in PUBLIC_ACCESS):
            yield bucket.address, "public access must be blocked in all four ways"
        owners = platform.attached(bucket, "aws_s3_bucket_ownership_controls")
        if [owner.get("rule", "object_ownership") for owner in owners] != ["BucketOwnerEnforced"]:
            yield bucket.address, "ownership must be BucketOwnerEnforced, which turns ACLs off"
        denials = [
            statement
            for statement in platform.attached_statements(bucket, "aws_s3_bucket_policy")
            if statement["Effect"] == "Deny" and principals(statement, "AWS") == ["*"]
        ]
        if {"Bool": {"aws:SecureTransport": "false"}} not in [statement.get("Condition") for statement in denials]:
            yield bucket.address, "its policy must refuse requests without TLS"
        accepted = {
            (header, resource): value
            for statement in denials
            if "s3:PutObject" in listed(statement["Action"])
            for resource in listed(statement["Resource"])
            for header, value in statement.get("Condition", {}).get("StringNotEquals", {}).items()
        }
        objects = f"{bucket.expression('arn')}/"
        is_trail = bool(list(platform.attached(bucket, "aws_cloudtrail", "s3_bucket_name")))
        if accepted.get((ALGORITHM, f"{objects}{LOGS if is_trail else ''}*")) != "aws:kms":
            yield bucket.address, "its policy must refuse objects under another encryption"
        if not platform.is_key_of(bucket.region, bucket.stack, accepted.get((KEY, f"{objects}*"))):
            yield bucket.address, "its policy must refuse objects under another key"


@rule("C6")
def bucket_lifecycle(platform: Platform) -> Problems:
    """Parts of incomplete uploads are patient data that no listing shows."""
    for bucket in platform.resources("aws_s3_bucket"):
        rules = [
            configured
            for versioning in platform.attached(bucket, "aws_s3_bucket_versioning")
            for lifecycle in platform.attached(versioning, "aws_s3_bucket_lifecycle_configuration")
            for configured in lifecycle.blocks("rule")
        ]
        if not any(configured.get("abort_incomplete_multipart_upload") for configured in rules):
            yield bucket.address, "incomplete uploads must be cleaned up"
        if not any(configured.get("noncurrent_version_expiration") for configured in rules):
            yield bucket.address, "old versions must have a retention"


REPLICATION = "aws_s3_bucket_replication_configuration"
ENABLED = "Enabled"
ON_SOURCE = ("s3:GetReplicationConfiguration", "s3:ListBucket")
ON_VERSIONS = ("s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging")
ON_REPLICAS = ("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags")


@rule("R3.1", "C3", "trap 13")
def replication_both_ways(platform: Platform) -> Problems:
    """Failback needs what was written during the outage."""
    yield from platform.once_in_each_region(REPLICATION, platform.resources(REPLICATION))
    for configuration, destination in _destinations(platform):
        target = platform.referred(configuration.stack, destination.get("bucket"))
        if target is None or target.region != platform.other(configuration.region):
            yield configuration.address, f"must copy to the bucket in {platform.other(configuration.region)}"
        if configuration.blocks("rule", "filter") != [{"prefix": ""}]:
            yield configuration.address, "must copy every document: its filter must be the empty prefix"
    yield from _selected(platform, "replica_modifications", "changes made to replicas must be replicated back")


@rule("R3.2", "D5")
def replication_waits_for_versioning(platform: Platform) -> Problems:
    """S3 refuses replication between buckets that are not versioned yet."""
    for configuration in platform.resources(REPLICATION):
        needed = {
            versioning.local_address
            for bucket in _source_and_target(platform, configuration)
            if bucket is not None
            for versioning in platform.attached(bucket, "aws_s3_bucket_versioning")
        }
        if len(needed) != 2 or not needed <= set(configuration.get("depends_on") or ()):
            yield configuration.address, "must depend on the versioning of source and destination"


@rule("trap 10")
def replication_encrypted_objects(platform: Platform) -> Problems:
    """Without this selection, S3 does not replicate objects under SSE-KMS, and all objects are under SSE-KMS."""
    yield from _selected(platform, "sse_kms_encrypted_objects", "encrypted objects must be selected")


@rule("R5.2", "trap 11")
def replication_replica_key(platform: Platform) -> Problems:
    """S3 accepts a key of another region, or none, and then replication fails silently."""
    for configuration in platform.resources(REPLICATION):
        peer = platform.other(configuration.region)
        key = configuration.get("rule", "destination", "encryption_configuration", "replica_kms_key_id")
        if not platform.is_key_of(peer, configuration.stack, key):
            yield configuration.address, f"replicas need the key of {peer}"


@rule("R5.2", "R3.1", "trap 12")
def replication_role(platform: Platform) -> Problems:
    """With bucket keys the role decrypts with the source's key and encrypts with the destination's, by bucket."""
    for configuration in platform.resources(REPLICATION):
        role = platform.referred(configuration.stack, configuration.get("role"))
        attached = list(platform.attached(role, "aws_iam_role_policy", "role")) if role else []
        if not {policy.local_address for policy in attached} <= set(configuration.get("depends_on") or ()):
            yield configuration.address, "must depend on the permissions of its role"
        statements = [statement for policy in attached for statement in policy.statements()]
        source, target = (
            f"arn:aws:s3:::{bucket.get('bucket') if bucket else None}"
            for bucket in _source_and_target(platform, configuration)
        )
        for actions, resource in ((ON_SOURCE, source), (ON_VERSIONS, f"{source}/*"), (ON_REPLICAS, f"{target}/*")):
            for action in actions:
                if not any(allows(statement, action, resource) for statement in statements):
                    yield configuration.address, f"its role must be allowed {action} on {resource}"
        here, peer = configuration.region, platform.other(configuration.region)
        for action, region in (("kms:Decrypt", here), ("kms:Encrypt", peer), ("kms:GenerateDataKey", peer)):
            if not any(_allows_key(platform, configuration, statement, action, region) for statement in statements):
                problem = f"its role must be allowed {action} with the key of {region} for the bucket"
                yield configuration.address, problem


@rule("trap 14")
def replication_delete_markers(platform: Platform) -> Problems:
    """Without replicated delete markers, a document that was deleted in one region stays in the other."""
    for configuration in platform.resources(REPLICATION):
        if configuration.get("rule", "delete_marker_replication", "status") != ENABLED:
            yield configuration.address, "delete markers must be replicated"
        if configuration.get("rule", "filter") is None or configuration.get("rule", "priority") is None:
            yield configuration.address, "must be a V2 rule, with filter and priority"


@rule("C3", "R6.1", "trap 15")
def replication_time_control(platform: Platform) -> Problems:
    """Time control publishes the metrics and events of late documents. It promises 15 minutes, not one, so the
    platform itself copies late documents."""
    for configuration, destination in _destinations(platform):
        for block in ("replication_time", "metrics"):
            if (destination.get(block) or {}).get("status") != ENABLED:
                yield configuration.address, f"{block} must be enabled"
        source, _ = _source_and_target(platform, configuration)
        events = [
            event
            for notification in (platform.attached(source, "aws_s3_bucket_notification") if source else ())
            for topic in notification.blocks("topic")
            for event in topic["events"]
        ]
        if "s3:Replication:OperationFailedReplication" not in events:
            yield configuration.address, "failures must be sent to the region's topic"


def _source_and_target(platform: Platform, configuration: Resource) -> tuple[Resource | None, Resource | None]:
    target = configuration.get("rule", "destination", "bucket")
    return (
        platform.referred(configuration.stack, configuration.get("bucket")),
        platform.referred(configuration.stack, target),
    )


def _destinations(platform: Platform) -> Iterator[tuple[Resource, Mapping[str, Any]]]:
    """Return each replication with its destination, which is empty if the replication is disabled."""
    for configuration in platform.resources(REPLICATION):
        enabled = configuration.get("rule", "status") == ENABLED
        yield configuration, (configuration.get("rule", "destination") or {}) if enabled else {}


def _selected(platform: Platform, criterion: str, problem: str) -> Problems:
    for configuration in platform.resources(REPLICATION):
        if configuration.get("rule", "source_selection_criteria", criterion, "status") != ENABLED:
            yield configuration.address, problem


def _allows_key(
    platform: Platform, configuration: Resource, statement: Mapping[str, Any], action: str, region: str
) -> bool:
    if statement["Effect"] != "Allow" or action not in listed(statement["Action"]):
        return False
    context = statement.get("Condition", {}).get("ArnLike", {}).get("kms:EncryptionContext:aws:s3:arn")
    bucket = platform.bucket_arn(region)
    keys = listed(statement["Resource"])
    # Objects without a bucket key have a context of their own.
    return context == [bucket, f"{bucket}/*"] and any(
        platform.is_key_of(region, configuration.stack, key) for key in keys
    )


NARROWED_BY = {"eventCategory", "resources.type", "resources.ARN"}


@rule("C6", "R1.3")
def data_event_trail(platform: Platform) -> Problems:
    """Access that does not go through the API is audited too (45 CFR 164.312(b))."""
    for region in platform.settings.regions:
        needed = {("AWS::S3::Object", f"{platform.bucket_arn(region)}/")}
        needed |= {("AWS::DynamoDB::Table", arn) for arn in platform.table_arns(region)}
        trails = list(platform.resources("aws_cloudtrail", region=region))
        recorded = {event for trail in trails for event in _recorded(trail)}
        for kind, prefix in sorted(needed - recorded):
            yield region, f"data events ({kind}) of {prefix} must be recorded"
        for trail in trails:
            if trail.get("enable_log_file_validation") is not True:
                yield trail.address, "enable_log_file_validation must be true"
            yield from _delivery(platform, trail)


def _recorded(trail: Resource) -> Iterator[tuple[str, str]]:
    for selector in trail.blocks("advanced_event_selector"):
        fields = {field["field"]: field for field in selector["field_selector"]}
        if set(fields) == NARROWED_BY and fields["eventCategory"].get("equals") == ["Data"]:
            for kind in fields["resources.type"].get("equals", ()):
                for prefix in fields["resources.ARN"].get("starts_with", ()):
                    yield kind, prefix


def _delivery(platform: Platform, trail: Resource) -> Problems:
    bucket = platform.referred(trail.stack, trail.get("s3_bucket_name"))
    if bucket is None:
        yield trail.address, "must write into a bucket of its own stack"
        return
    statements = [
        statement
        for statement in platform.attached_statements(bucket, "aws_s3_bucket_policy")
        if "cloudtrail.amazonaws.com" in principals(statement, "Service")
    ]
    arn = f"arn:aws:s3:::{bucket.get('bucket')}"
    for action, resource in (("s3:GetBucketAcl", arn), ("s3:PutObject", f"{arn}/AWSLogs/{ACCOUNT}/*")):
        if not any(allows(statement, action, resource) for statement in statements):
            yield bucket.address, f"its policy must let CloudTrail {action} on {resource}"
