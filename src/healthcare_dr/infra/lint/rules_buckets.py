"""Rules on buckets, on the replication of documents, and on the trail of data events."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, allows, listed, principals, rule
from healthcare_dr.naming import Names

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


@rule("bucket-destroyable", "R3.4", "D6", why="A platform that cannot be destroyed cannot be rehearsed.")
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


@rule("bucket-lifecycle", "C6", why="Parts of incomplete uploads are invisible patient data.")
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


REPLICATION = "aws_s3_bucket_replication_configuration"
ENABLED = "Enabled"
ON_SOURCE = ("s3:GetReplicationConfiguration", "s3:ListBucket")
ON_VERSIONS = ("s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging")
ON_REPLICAS = ("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags")


@rule("replication-both-ways", "R3.1", "C3", "trap 13", why="Failback needs what was written during the outage.")
def both_ways(platform: Platform) -> Problems:
    sources = sorted(configuration.region for configuration in platform.resources(REPLICATION))
    if sources != sorted(platform.settings.regions):
        yield REPLICATION, f"must exist once in each region; it exists in {sources or 'none'}"
    for configuration, destination in _destinations(platform):
        target = platform.referred(configuration.stack, destination.get("bucket"))
        if target is None or target.region != platform.other(configuration.region):
            yield configuration.address, f"must copy to the bucket in {platform.other(configuration.region)}"
        if configuration.blocks("rule", "filter") != [{"prefix": ""}]:
            yield configuration.address, "must copy every document: its filter must be the empty prefix"
    yield from _selected(platform, "replica_modifications", "changes made to replicas must be replicated back")


@rule(
    "replication-waits-for-versioning", "R3.2", "D5",
    why="S3 refuses replication between buckets that are not versioned yet.",
)  # fmt: skip
def waits(platform: Platform) -> Problems:
    for configuration in platform.resources(REPLICATION):
        source = platform.referred(configuration.stack, configuration.get("bucket"))
        target = platform.referred(configuration.stack, configuration.get("rule", "destination", "bucket"))
        needed = {
            versioning.local_address
            for bucket in (source, target)
            if bucket is not None
            for versioning in platform.of_parent(bucket, "bucket", "aws_s3_bucket_versioning")
        }
        if len(needed) != 2 or not needed <= set(configuration.get("depends_on") or ()):
            yield configuration.address, "must depend on the versioning of source and destination"


@rule(
    "replication-encrypted-objects", "trap 10",
    why="Without it, objects under SSE-KMS, which is all of them, do not replicate.",
)  # fmt: skip
def encrypted_objects(platform: Platform) -> Problems:
    yield from _selected(platform, "sse_kms_encrypted_objects", "encrypted objects must be selected")


@rule(
    "replication-replica-key", "R5.2", "trap 11",
    why="S3 accepts a key of another region, or none, and then replication fails silently.",
)  # fmt: skip
def replica_key(platform: Platform) -> Problems:
    for configuration, _ in _destinations(platform):
        path = ("rule", "destination", "encryption_configuration", "replica_kms_key_id")
        key = platform.referred(configuration.stack, configuration.get(*path))
        if key is None or key.region != platform.other(configuration.region):
            yield configuration.address, f"replicas need the key of {platform.other(configuration.region)}"


@rule(
    "replication-role", "R5.2", "trap 12",
    why="With bucket keys the role decrypts with the source's key and encrypts with the destination's, by bucket.",
)  # fmt: skip
def role(platform: Platform) -> Problems:
    for configuration, destination in _destinations(platform):
        granted = platform.referred(configuration.stack, configuration.get("role"))
        attached = list(platform.of_parent(granted, "role", "aws_iam_role_policy")) if granted else []
        if not {policy.local_address for policy in attached} <= set(configuration.get("depends_on") or ()):
            yield configuration.address, "must wait for what its role may do"
        statements = [statement for policy in attached for statement in policy.statements("policy")]
        source, target = (
            f"arn:aws:s3:::{bucket.get('bucket') if bucket else None}"
            for bucket in (
                platform.referred(configuration.stack, configuration.get("bucket")),
                platform.referred(configuration.stack, destination.get("bucket")),
            )
        )
        for actions, resource in ((ON_SOURCE, source), (ON_VERSIONS, f"{source}/*"), (ON_REPLICAS, f"{target}/*")):
            for action in actions:
                if not any(allows(statement, action, resource) for statement in statements):
                    yield configuration.address, f"its role must be allowed {action} on {resource}"
        here, there = configuration.region, platform.other(configuration.region)
        for action, region in (("kms:Decrypt", here), ("kms:Encrypt", there), ("kms:GenerateDataKey", there)):
            if not any(_grants(platform, configuration, statement, action, region) for statement in statements):
                yield (
                    configuration.address,
                    f"its role must be allowed {action} with the key of {region} for the bucket",
                )


@rule(
    "replication-delete-markers", "trap 14",
    why="A document deleted in one region would live on in the other.",
)  # fmt: skip
def delete_markers(platform: Platform) -> Problems:
    for configuration in platform.resources(REPLICATION):
        if configuration.get("rule", "delete_marker_replication", "status") != ENABLED:
            yield configuration.address, "delete markers must be replicated"
        if configuration.get("rule", "filter") is None or configuration.get("rule", "priority") is None:
            yield configuration.address, "must be a V2 rule, with filter and priority"


@rule(
    "replication-time-control", "C3", "R6.1", "trap 15",
    why="Time control brings the metrics and the events that tell of a document left behind; it promises 15 minutes, "
    "not one, so the API copies by itself what is late.",
)  # fmt: skip
def time_control(platform: Platform) -> Problems:
    for configuration, destination in _destinations(platform):
        for block in ("replication_time", "metrics"):
            if (destination.get(block) or {}).get("status") != ENABLED:
                yield configuration.address, f"{block} must be enabled"
        source = platform.referred(configuration.stack, configuration.get("bucket"))
        events = [
            event
            for notification in (platform.of_parent(source, "bucket", "aws_s3_bucket_notification") if source else ())
            for topic in notification.blocks("topic")
            for event in topic["events"]
        ]
        if "s3:Replication:OperationFailedReplication" not in events:
            yield configuration.address, "failures must be sent to the region's topic"


def _destinations(platform: Platform) -> Iterator[tuple[Resource, dict[str, dict[str, str]]]]:
    for configuration in platform.resources(REPLICATION):
        if configuration.get("rule", "status") != ENABLED:
            yield configuration, {}
        else:
            yield configuration, configuration.get("rule", "destination") or {}


def _selected(platform: Platform, criterion: str, problem: str) -> Problems:
    for configuration in platform.resources(REPLICATION):
        if configuration.get("rule", "source_selection_criteria", criterion, "status") != ENABLED:
            yield configuration.address, problem


def _grants(platform: Platform, configuration: Resource, statement: object, action: str, region: str) -> bool:
    if not isinstance(statement, dict) or statement["Effect"] != "Allow" or action not in listed(statement["Action"]):
        return False
    keys = [platform.referred(configuration.stack, key) for key in listed(statement["Resource"])]
    context = statement.get("Condition", {}).get("ArnLike", {}).get("kms:EncryptionContext:aws:s3:arn", "")
    return any(key is not None and key.region == region for key in keys) and not context.endswith("*")


NARROWED_BY = {"eventCategory", "resources.type", "resources.ARN"}


@rule("data-event-trail", "C6", "R1.3", why="Access that does not come through the API is audited too (164.312(b)).")
def trail(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        wanted = {("AWS::S3::Object", f"arn:aws:s3:::{names.documents_bucket(ACCOUNT, region)}/")} | {
            ("AWS::DynamoDB::Table", f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}")
            for table in (names.records_table, names.audit_table)
        }
        trails = list(platform.resources("aws_cloudtrail", region=region))
        recorded = {event for found in trails for event in _recorded(found)}
        for kind, prefix in sorted(wanted - recorded):
            yield region, f"data events ({kind}) of {prefix} must be recorded"
        for found in trails:
            if found.get("enable_log_file_validation") is not True:
                yield found.address, "enable_log_file_validation must be true"
            yield from _delivery(platform, found)


def _recorded(found: Resource) -> Iterator[tuple[str, str]]:
    for selector in found.blocks("advanced_event_selector"):
        fields = {field["field"]: field for field in selector["field_selector"]}
        if set(fields) == NARROWED_BY and fields["eventCategory"].get("equals") == ["Data"]:
            for kind in fields["resources.type"].get("equals", ()):
                for prefix in fields["resources.ARN"].get("starts_with", ()):
                    yield kind, prefix


def _delivery(platform: Platform, found: Resource) -> Problems:
    bucket = platform.referred(found.stack, found.get("s3_bucket_name"))
    if bucket is None:
        yield found.address, "must write into a bucket of its own stack"
        return
    statements = [
        statement
        for holder in platform.of_parent(bucket, "bucket", "aws_s3_bucket_policy")
        for statement in holder.statements("policy")
        if "cloudtrail.amazonaws.com" in principals(statement, "Service")
    ]
    arn = f"arn:aws:s3:::{bucket.get('bucket')}"
    for action, resource in (("s3:GetBucketAcl", arn), ("s3:PutObject", f"{arn}/AWSLogs/{ACCOUNT}/*")):
        if not any(allows(statement, action, resource) for statement in statements):
            yield bucket.address, f"its policy must let CloudTrail {action} on {resource}"
