"""Rules on the replication of documents."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import Platform, Resource, allows, listed

Problems = Iterator[tuple[str, str]]
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
    why="A key of another region or none is accepted, and then nothing arrives and nobody is told.",
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
