"""Damages to keys, tables, buckets and replication."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from support.damages.registry import EAST, LATER, WEST, Undo, damage, without_statement
from support.platform import SUFFIX, Deployed, eventually
from support.sentinels import write_heartbeat


def key(deployed: Deployed, region: str) -> str:
    """Return the ARN of a region's key."""
    return deployed.outputs()[f"{'Primary' if region == EAST else 'Secondary'}KeyArn"]


@damage("key-enabled", WEST, "is Disabled")
def disabled_key(deployed: Deployed) -> Undo:
    client = deployed.client("kms", WEST)
    client.disable_key(KeyId=key(deployed, WEST))
    return lambda: client.enable_key(KeyId=key(deployed, WEST))


@damage("key-rotation", EAST, "is not rotated")
def key_without_rotation(deployed: Deployed) -> Undo:
    client = deployed.client("kms")
    client.disable_key_rotation(KeyId=key(deployed, EAST))
    return lambda: client.enable_key_rotation(KeyId=key(deployed, EAST))


def key_policy(deployed: Deployed, region: str, sid: str) -> Undo:
    """Remove a statement of the key's policy."""
    client, of = deployed.client("kms", region), {"KeyId": key(deployed, region), "PolicyName": "default"}
    before = client.get_key_policy(**of)["Policy"]
    client.put_key_policy(**of, Policy=without_statement(before, sid))
    return lambda: client.put_key_policy(**of, Policy=before)


@damage("key-policy", EAST, "does not allow CloudWatch")
def key_without_alarms(deployed: Deployed) -> Undo:
    return key_policy(deployed, EAST, "Alarms")


@damage("key-policy", WEST, "the statement DocumentReplication is missing")
def key_without_document_replication(deployed: Deployed) -> Undo:
    return key_policy(deployed, WEST, "DocumentReplication")


@damage("index-key", WEST, "is Disabled")
def disabled_index_key(deployed: Deployed) -> Undo:
    client = deployed.client("kms", WEST)
    shared = client.describe_key(KeyId=deployed.names.index_key_alias())["KeyMetadata"]["Arn"]
    client.disable_key(KeyId=shared)
    return lambda: client.enable_key(KeyId=shared)


@damage("table-recovery", WEST, f"audit_logs-{SUFFIX} has no point-in-time recovery")
def replica_without_recovery(deployed: Deployed) -> Undo:
    client = deployed.client("dynamodb", WEST)

    def switch(on: bool) -> None:
        wanted = {"PointInTimeRecoveryEnabled": on}
        client.update_continuous_backups(TableName=deployed.names.audit_table, PointInTimeRecoverySpecification=wanted)

    switch(False)
    return lambda: switch(True)


@damage("table-key", WEST, f"patient_records-{SUFFIX} is not encrypted with")
def table_with_another_key(deployed: Deployed) -> Undo:
    client = deployed.client("dynamodb", WEST)

    def encrypt(with_key: str) -> None:
        wanted = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": with_key}
        client.update_table(TableName=deployed.names.records_table, SSESpecification=wanted)

    encrypt(f"{key(deployed, WEST)[:-4]}beef")
    return lambda: encrypt(key(deployed, WEST))


@damage("tables-equal", None, f"patient_records-{SUFFIX}: deletion protection is false in us-east-1, but true in")
def table_protected_in_one_region(deployed: Deployed) -> Undo:
    client, name = deployed.client("dynamodb", WEST), deployed.names.records_table
    client.update_table(TableName=name, DeletionProtectionEnabled=True)
    return lambda: client.update_table(TableName=name, DeletionProtectionEnabled=False)


@damage("table-throughput", WEST, f"audit_logs-{SUFFIX}/by-record serves 4,000 write units a second at once")
def recreated_index(deployed: Deployed) -> Undo:
    """An index that was deleted and created again has the throughput of a new one."""
    client, name = deployed.client("dynamodb", WEST), deployed.names.audit_table
    table = client.describe_table(TableName=name)["Table"]
    (index,) = table["GlobalSecondaryIndexes"]
    client.update_table(TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": index["IndexName"]}}])
    created = {member: index[member] for member in ("IndexName", "KeySchema", "Projection")}
    client.update_table(
        TableName=name,
        AttributeDefinitions=table["AttributeDefinitions"],
        GlobalSecondaryIndexUpdates=[{"Create": created}],
    )
    warm = {unit: index["WarmThroughput"][unit] for unit in ("ReadUnitsPerSecond", "WriteUnitsPerSecond")}
    raised = {"Update": {"IndexName": index["IndexName"], "WarmThroughput": warm}}

    def undo() -> None:
        client.update_table(TableName=name, GlobalSecondaryIndexUpdates=[raised])
        eventually(lambda: client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE")

    return undo


@damage("bucket-versioning", WEST, "is Suspended")
def suspended_versioning(deployed: Deployed) -> Undo:
    client = deployed.client("s3", WEST)
    client.put_bucket_versioning(Bucket=deployed.bucket(WEST), VersioningConfiguration={"Status": "Suspended"})

    def undo() -> None:
        client.put_bucket_versioning(Bucket=deployed.bucket(WEST), VersioningConfiguration={"Status": "Enabled"})

    return undo


def bucket_setting(deployed: Deployed, region: str, setting: str, change: Callable[[dict[str, Any]], object]) -> Undo:
    """Change a setting of a region's document bucket. `change` modifies the arguments of `put_<setting>`."""
    client, bucket = deployed.client("s3", region), {"Bucket": deployed.bucket(region)}
    put = getattr(client, f"put_{setting}")
    before = getattr(client, f"get_{setting}")(**bucket)
    before.pop("ResponseMetadata")
    changed = deepcopy(before)
    change(changed)
    put(**bucket, **changed)
    return lambda: put(**bucket, **before)


@damage("bucket-closed", EAST, "does not have BlockPublicPolicy")
def bucket_open_to_public_policies(deployed: Deployed) -> Undo:
    opened = {"BlockPublicPolicy": False}
    return bucket_setting(
        deployed, EAST, "public_access_block", lambda block: block["PublicAccessBlockConfiguration"].update(opened)
    )


@damage("bucket-policy", WEST, "does not require TLS from every principal")
def bucket_that_allows_plaintext(deployed: Deployed) -> Undo:
    return bucket_setting(
        deployed,
        WEST,
        "bucket_policy",
        lambda policy: policy.update(Policy=without_statement(policy["Policy"], "RefusePlaintext")),
    )


@damage("bucket-policy", EAST, "the statement Incident has been added")
def bucket_that_denies_the_api(deployed: Deployed) -> Undo:
    role = deployed.client("iam").get_role(RoleName=deployed.names.of("patient-api", EAST))["Role"]["Arn"]
    denial = {"Sid": "Incident", "Effect": "Deny", "Principal": {"AWS": role}, "Action": "s3:PutObject",
              "Resource": f"arn:aws:s3:::{deployed.bucket(EAST)}/*"}  # fmt: skip

    def deny(policy: dict[str, Any]) -> None:
        document = json.loads(policy["Policy"])
        policy["Policy"] = json.dumps(document | {"Statement": [*document["Statement"], denial]})

    return bucket_setting(deployed, EAST, "bucket_policy", deny)


@damage("bucket-encryption", WEST, "encrypts with AES256")
def bucket_with_a_key_of_s3(deployed: Deployed) -> Undo:
    other = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    return bucket_setting(
        deployed,
        WEST,
        "bucket_encryption",
        lambda encryption: encryption.update(ServerSideEncryptionConfiguration=other),
    )


def replication(deployed: Deployed, region: str, change: Callable[[dict[str, Any]], object]) -> Undo:
    """Change the replication of a region's documents."""
    return bucket_setting(
        deployed, region, "bucket_replication", lambda whole: change(whole["ReplicationConfiguration"])
    )


OFF = {"Status": "Disabled"}
WRONG_KEY = "arn:aws:kms:us-east-1:123456789012:key/other"
OTHER_ROLE = "arn:aws:iam::123456789012:role/other"
REPLICATION: tuple[tuple[str, str, str, Callable[[dict[str, Any]], object]], ...] = (
    ("disabled", EAST, "its rule is disabled", lambda whole: whole["Rules"][0].update(OFF)),
    ("of-a-folder", EAST, "not select all documents", lambda whole: whole["Rules"][0]["Filter"].update(Prefix="x/")),
    (
        "without-encrypted-objects", WEST, "encrypted objects are not selected",
        lambda whole: whole["Rules"][0]["SourceSelectionCriteria"].update(SseKmsEncryptedObjects=OFF),
    ),
    (
        "without-changes-of-replicas", WEST, "changes of replicas are not replicated back",
        lambda whole: whole["Rules"][0]["SourceSelectionCriteria"].update(ReplicaModifications=OFF),
    ),
    (
        "without-delete-markers", EAST, "delete markers are not replicated",
        lambda whole: whole["Rules"][0].update(DeleteMarkerReplication=OFF),
    ),
    (
        "with-a-wrong-key", WEST, "not encrypted with the other region's key",
        lambda whole: whole["Rules"][0]["Destination"]["EncryptionConfiguration"].update(ReplicaKmsKeyID=WRONG_KEY),
    ),
    (
        "with-another-role", EAST, f"replication uses the role {OTHER_ROLE}, not",
        lambda whole: whole.update(Role=OTHER_ROLE),
    ),
)  # fmt: skip
for _name, _region, _problem, _change in REPLICATION:
    damage("document-replication", _region, _problem, name=f"replication-{_name}")(
        partial(replication, region=_region, change=_change)
    )


@damage("document-replication", WEST, "is not replicated to us-east-1")
def replication_deleted(deployed: Deployed) -> Undo:
    client, bucket = deployed.client("s3", WEST), deployed.bucket(WEST)
    before = client.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
    client.delete_bucket_replication(Bucket=bucket)
    return lambda: client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=before)


@damage("document-events", EAST, f"does not notify healthcare-dr-document-confirmation-{SUFFIX} of s3:ObjectCreated:*")
def uploads_without_notification(deployed: Deployed) -> Undo:
    client, bucket = deployed.client("s3"), deployed.bucket(EAST)
    before = client.get_bucket_notification_configuration(Bucket=bucket)
    before.pop("ResponseMetadata")
    kept = {"TopicConfigurations": before["TopicConfigurations"]}
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=kept)
    return lambda: client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=before)


@damage("documents-pending", WEST, "documents have not been in us-east-1", later=LATER)
def document_in_one_region_only(deployed: Deployed) -> Undo:
    tenant, name = "clinic-a", str(uuid4())
    client, table = deployed.client("dynamodb", WEST), deployed.names.records_table
    millis = f"{int(datetime.now(UTC).timestamp() * 1000):013d}"
    key = {"pk": {"S": f"{tenant}#DocumentReference#{name}"}, "sk": {"S": f"replica#{WEST}"}}
    # Without a record and an object, a sweep leaves the item as it is.
    item = {
        "state": {"S": "stored"},
        "at": {"N": millis},
        "since": {"N": millis},
        "offered": {"BOOL": True},
        "revision": {"N": "1"},
        "update_shard": {"S": f"$platform#pending#{WEST}"},
        "updated": {"S": f"{tenant}#{millis}#{name}"},
    }
    client.put_item(TableName=table, Item=key | item)
    return lambda: client.delete_item(TableName=table, Key=key)


@damage("replication-lag", None, "replication is paused")
def paused_replication(deployed: Deployed) -> Undo:
    deployed.emulator.set_replication(tables=False)
    return deployed.resume_replication


def renew_heartbeat(deployed: Deployed) -> None:
    """Write a fresh heartbeat of us-west-2 and replicate it."""
    write_heartbeat(deployed, WEST)
    deployed.settle()


@damage("heartbeat", WEST, "the sentinel's last heartbeat is 9")
def stopped_sentinel(deployed: Deployed) -> Undo:
    write_heartbeat(deployed, WEST, age_seconds=900)
    deployed.settle()
    return lambda: renew_heartbeat(deployed)


@damage("heartbeat", EAST, "the heartbeat in us-west-2 is 9")
def heartbeat_that_does_not_arrive(deployed: Deployed) -> Undo:
    write_heartbeat(deployed, EAST, age_seconds=900)
    deployed.settle()
    deployed.emulator.set_replication(tables=False)
    write_heartbeat(deployed, EAST)
    return deployed.resume_replication


@damage("heartbeat", WEST, "has never written a heartbeat")
def missing_heartbeat(deployed: Deployed) -> Undo:
    kept = {"pk": {"S": "$platform#heartbeat"}, "sk": {"S": WEST}}
    deployed.client("dynamodb", WEST).delete_item(TableName=deployed.names.records_table, Key=kept)
    return lambda: renew_heartbeat(deployed)


@damage("conflicts", EAST, "conflicts are open in us-east-1", severity="note")
def open_conflict(deployed: Deployed) -> Undo:
    table = deployed.client("dynamodb")
    item = {"pk": {"S": f"clinic-a#Patient#{uuid4()}"}, "sk": {"S": "c#1"}}
    index_attributes = {"update_shard": {"S": "$platform#conflicts"}, "updated": {"S": "1"}}
    deployed.emulator.set_replication(tables=False)
    table.put_item(TableName=deployed.names.records_table, Item=item | index_attributes)

    def undo() -> None:
        table.delete_item(TableName=deployed.names.records_table, Key=item)
        deployed.resume_replication()

    return undo
