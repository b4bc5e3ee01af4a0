"""Damages to what holds and replicates data: tables and buckets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from support.damages.registry import EAST, LATER, WEST, damage, key
from support.platform import SUFFIX, Deployed


@damage("table-recovery", WEST, f"audit_logs-{SUFFIX} has no point-in-time recovery")
def no_recovery_of_a_replica(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("dynamodb", WEST)

    def switch(on: bool) -> None:
        wanted = {"PointInTimeRecoveryEnabled": on}
        client.update_continuous_backups(TableName=deployed.names.audit_table, PointInTimeRecoverySpecification=wanted)

    switch(False)
    try:
        yield
    finally:
        switch(True)


@damage("table-key", WEST, f"patient_records-{SUFFIX} is not encrypted with")
def a_table_under_another_key(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("dynamodb", WEST)

    def encrypt(with_key: str) -> None:
        wanted = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": with_key}
        client.update_table(TableName=deployed.names.records_table, SSESpecification=wanted)

    encrypt(f"{key(deployed, WEST)[:-4]}beef")
    try:
        yield
    finally:
        encrypt(key(deployed, WEST))


@damage("tables-equal", None, f"patient_records-{SUFFIX}: deletion protection is false in us-east-1, but true in")
def a_table_protected_in_one_region(deployed: Deployed) -> Iterator[None]:
    client, name = deployed.client("dynamodb", WEST), deployed.names.records_table
    client.update_table(TableName=name, DeletionProtectionEnabled=True)
    try:
        yield
    finally:
        client.update_table(TableName=name, DeletionProtectionEnabled=False)


@damage("bucket-versioning", WEST, "is Suspended")
def no_versions(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("s3", WEST)
    client.put_bucket_versioning(Bucket=deployed.bucket(WEST), VersioningConfiguration={"Status": "Suspended"})
    try:
        yield
    finally:
        client.put_bucket_versioning(Bucket=deployed.bucket(WEST), VersioningConfiguration={"Status": "Enabled"})


@damage("bucket-closed", EAST, "does not have BlockPublicPolicy")
def an_open_bucket(deployed: Deployed) -> Iterator[None]:
    client, bucket = deployed.client("s3"), deployed.bucket(EAST)
    before = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    opened = before | {"BlockPublicPolicy": False}
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=opened)
    try:
        yield
    finally:
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=before)


@contextmanager
def bucket_policy(deployed: Deployed, region: str, change: Callable[[list[Any]], list[Any]]) -> Iterator[None]:
    client, bucket = deployed.client("s3", region), deployed.bucket(region)
    before = client.get_bucket_policy(Bucket=bucket)["Policy"]
    document = json.loads(before)
    changed = document | {"Statement": change(document["Statement"])}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(changed))
    try:
        yield
    finally:
        client.put_bucket_policy(Bucket=bucket, Policy=before)


@damage("bucket-policy", WEST, "does not require TLS from every principal")
def plaintext(deployed: Deployed) -> Iterator[None]:
    with bucket_policy(deployed, WEST, lambda said: [one for one in said if one["Sid"] != "RefusePlaintext"]):
        yield


@damage("bucket-policy", EAST, "the statement Incident has been added")
def a_bucket_that_shuts_the_api_out(deployed: Deployed) -> Iterator[None]:
    role = deployed.client("iam").get_role(RoleName=deployed.names.of("patient-api", EAST))["Role"]["Arn"]
    denial = {"Sid": "Incident", "Effect": "Deny", "Principal": {"AWS": role}, "Action": "s3:PutObject",
              "Resource": f"arn:aws:s3:::{deployed.bucket(EAST)}/*"}  # fmt: skip
    with bucket_policy(deployed, EAST, lambda said: [*said, denial]):
        yield


@damage("bucket-encryption", WEST, "encrypts with AES256")
def a_bucket_under_a_key_of_s3(deployed: Deployed) -> Iterator[None]:
    client, bucket = deployed.client("s3", WEST), deployed.bucket(WEST)
    before = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    other = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=other)
    try:
        yield
    finally:
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=before)


def _replication(name: str, says: str, change: Callable[[dict[str, Any]], None], region: str) -> None:
    def play(deployed: Deployed) -> Iterator[None]:
        client, bucket = deployed.client("s3", region), deployed.bucket(region)
        before = client.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
        changed = json.loads(json.dumps(before))
        change(changed["Rules"][0])
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=changed)
        try:
            yield
        finally:
            client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=before)

    play.__name__ = name
    damage("document-replication", region, says)(play)


OFF = {"Status": "Disabled"}
WRONG_KEY = "arn:aws:kms:us-east-1:123456789012:key/other"
_replication("replication_disabled", "its rule is disabled", lambda rule: rule.update(OFF), EAST)
_replication("replication_of_a_folder", "leaves documents out", lambda rule: rule["Filter"].update(Prefix="x/"), EAST)
_replication(
    "replication_without_encrypted_objects", "encrypted objects are not selected",
    lambda rule: rule["SourceSelectionCriteria"].update(SseKmsEncryptedObjects=OFF), WEST,
)  # fmt: skip
_replication(
    "replication_without_changes_of_replicas", "changes of replicas are not replicated back",
    lambda rule: rule["SourceSelectionCriteria"].update(ReplicaModifications=OFF), WEST,
)  # fmt: skip
_replication(
    "replication_without_delete_markers", "delete markers are not replicated",
    lambda rule: rule.update(DeleteMarkerReplication=OFF), EAST,
)  # fmt: skip
_replication(
    "replication_under_a_wrong_key", "not encrypted with the other region's key",
    lambda rule: rule["Destination"]["EncryptionConfiguration"].update(ReplicaKmsKeyID=WRONG_KEY), WEST,
)  # fmt: skip


@damage("document-replication", EAST, "replication goes by the role arn:aws:iam::123456789012:role/other, not")
def replication_by_another_role(deployed: Deployed) -> Iterator[None]:
    client, bucket = deployed.client("s3"), deployed.bucket(EAST)
    before = client.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
    other = before | {"Role": "arn:aws:iam::123456789012:role/other"}
    client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=other)
    try:
        yield
    finally:
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=before)


@damage("document-replication", WEST, "is not replicated to us-east-1")
def no_way_back(deployed: Deployed) -> Iterator[None]:
    client, bucket = deployed.client("s3", WEST), deployed.bucket(WEST)
    before = client.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
    client.delete_bucket_replication(Bucket=bucket)
    try:
        yield
    finally:
        client.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=before)


@damage("document-events", EAST, f"does not tell healthcare-dr-document-confirmation-{SUFFIX} of s3:ObjectCreated:*")
def uploads_nobody_hears_of(deployed: Deployed) -> Iterator[None]:
    client, bucket = deployed.client("s3"), deployed.bucket(EAST)
    before = client.get_bucket_notification_configuration(Bucket=bucket)
    before.pop("ResponseMetadata")
    kept = {"TopicConfigurations": before["TopicConfigurations"]}
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=kept)
    try:
        yield
    finally:
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=before)


@damage("documents-pending", WEST, "documents have been waiting for us-east-1", later=LATER)
def a_document_in_one_region_alone(deployed: Deployed) -> Iterator[None]:
    tenant, name = "clinic-a", str(uuid4())
    table, bucket = deployed.client("dynamodb", WEST), deployed.client("s3", WEST)
    item = {"pk": {"S": f"{tenant}#DocumentReference#{name}"}, "sk": {"S": "pending"}}
    stamp = {"S": f"{int(datetime.now(UTC).timestamp() * 1000):013d}-0000-{WEST}"}
    shelf = {"update_shard": {"S": f"$platform#pending#{WEST}"}, "updated": stamp, "version": stamp}
    place = {"Bucket": deployed.bucket(WEST), "Key": f"documents/{tenant}/{name}"}
    deployed.emulator.set_replication(documents=False)
    try:
        version = bucket.put_object(**place, Body=b"fictitious")["VersionId"]
        table.put_item(TableName=deployed.names.records_table, Item=item | shelf)
        yield
    finally:
        table.delete_item(TableName=deployed.names.records_table, Key=item)
        deployed.emulator.set_replication(documents=True)
        bucket.delete_object(**place, VersionId=version)


@damage("replication-lag", None, "replication is paused")
def paused_replication(deployed: Deployed) -> Iterator[None]:
    deployed.emulator.set_replication(tables=False)
    try:
        yield
    finally:
        deployed.emulator.set_replication(tables=True)
        deployed.settle()


def beat(deployed: Deployed, region: str, age: timedelta = timedelta()) -> None:
    """A heartbeat as the sentinel of a region writes it."""
    at = round((datetime.now(UTC) - age).timestamp() * 1000)
    item = {"pk": {"S": "$platform#heartbeat"}, "sk": {"S": region}, "at": {"N": str(at)}, "endpoint": {"S": "x"}}
    deployed.client("dynamodb", region).put_item(TableName=deployed.names.records_table, Item=item)


@damage("heartbeat", WEST, "the sentinel's last heartbeat is 9")
def a_sentinel_that_stands_still(deployed: Deployed) -> Iterator[None]:
    beat(deployed, WEST, timedelta(seconds=900))
    deployed.settle()
    try:
        yield
    finally:
        beat(deployed, WEST)
        deployed.settle()


@damage("heartbeat", EAST, "the heartbeat that us-west-2 has is 9")
def a_heartbeat_that_does_not_arrive(deployed: Deployed) -> Iterator[None]:
    beat(deployed, EAST, timedelta(seconds=900))
    deployed.settle()
    deployed.emulator.set_replication(tables=False)
    beat(deployed, EAST)
    try:
        yield
    finally:
        deployed.emulator.set_replication(tables=True)
        deployed.settle()


@damage("heartbeat", WEST, "has never written a heartbeat")
def no_sentinel(deployed: Deployed) -> Iterator[None]:
    kept = {"pk": {"S": "$platform#heartbeat"}, "sk": {"S": WEST}}
    deployed.client("dynamodb", WEST).delete_item(TableName=deployed.names.records_table, Key=kept)
    try:
        yield
    finally:
        beat(deployed, WEST)
        deployed.settle()


@damage("conflicts", EAST, "conflicts are open in us-east-1", severity="note")
def an_open_conflict(deployed: Deployed) -> Iterator[None]:
    table = deployed.client("dynamodb")
    item = {"pk": {"S": f"clinic-a#Patient#{uuid4()}"}, "sk": {"S": "c#1"}}
    shelf = {"update_shard": {"S": "$platform#conflicts"}, "updated": {"S": "1"}}
    deployed.emulator.set_replication(tables=False)
    table.put_item(TableName=deployed.names.records_table, Item=item | shelf)
    try:
        yield
    finally:
        table.delete_item(TableName=deployed.names.records_table, Key=item)
        deployed.emulator.set_replication(tables=True)
        deployed.settle()
