"""Tables and buckets in two regions, and helpers that wait for replication."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from healthcare_dr.emulator import Emulator

Clients = Callable[..., Any]

EAST, WEST = "us-east-1", "us-west-2"
S3_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def wait_for(happened: Callable[[], Any], *, within: float = 10.0) -> Any:
    """Return the result of `happened` once it is true."""
    deadline = time.monotonic() + within
    while not (result := happened()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert result, "it did not happen in time"
    return result


def settle(emulator: Emulator) -> None:
    """Return when no change is pending."""
    wait_for(lambda: emulator.pending() == 0)


def global_table(client: Clients) -> str:
    """Create a table with a sparse index and a replica, and return its name."""
    name = uuid.uuid4().hex
    client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk", "shard", "updated")],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-update",
                "KeySchema": [
                    {"AttributeName": "shard", "KeyType": "HASH"},
                    {"AttributeName": "updated", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    client("dynamodb").update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": WEST}}])
    return name


def item(sort: str, **attributes: str) -> dict[str, Any]:
    return {name: {"S": value} for name, value in {"pk": "p", "sk": sort, **attributes}.items()}


def put(client: Clients, region: str, table: str, sort: str, **attributes: str) -> None:
    client("dynamodb", region).put_item(TableName=table, Item=item(sort, **attributes))


def get(client: Clients, region: str, table: str, sort: str) -> dict[str, str] | None:
    """Return the attributes of an item without its key."""
    found = client("dynamodb", region).get_item(TableName=table, Key=item(sort), ConsistentRead=True).get("Item")
    return None if found is None else {key: value["S"] for key, value in found.items() if key not in ("pk", "sk")}


@dataclass(frozen=True)
class Buckets:
    """Two buckets that replicate to each other, each under its region's key."""

    client: Clients
    names: dict[str, str]
    keys: dict[str, str]

    def s3(self, region: str) -> Any:
        return self.client("s3", region)

    def put(self, region: str, key: str = "documents/d", body: bytes = b"content", **options: Any) -> str:
        """Write an object and return its version."""
        return str(self.s3(region).put_object(Bucket=self.names[region], Key=key, Body=body, **options)["VersionId"])

    def head(self, region: str, key: str = "documents/d", **options: Any) -> dict[str, Any]:
        return dict(self.s3(region).head_object(Bucket=self.names[region], Key=key, **options))

    def read(self, region: str, key: str = "documents/d", **options: Any) -> bytes:
        return bytes(self.s3(region).get_object(Bucket=self.names[region], Key=key, **options)["Body"].read())

    def tags(self, region: str, key: str = "documents/d") -> dict[str, str]:
        found = self.s3(region).get_object_tagging(Bucket=self.names[region], Key=key)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def versions(self, region: str) -> list[str]:
        """Return the versions of the only key, the newest first."""
        found = self.s3(region).list_object_versions(Bucket=self.names[region])
        return [entry["VersionId"] for entry in found.get("Versions", [])]


def two_buckets(client: Clients, *, include_encrypted: bool = True) -> Buckets:
    """Create buckets whose rules include objects encrypted with KMS, or not."""
    suffix = uuid.uuid4().hex[:12]
    names = {region: f"documents-{region}-{suffix}" for region in (EAST, WEST)}
    keys = {region: client("kms", region).create_key()["KeyMetadata"]["Arn"] for region in (EAST, WEST)}
    role = client("iam").create_role(RoleName=f"replication-{suffix}", AssumeRolePolicyDocument=json.dumps(S3_TRUST))[
        "Role"
    ]["Arn"]
    for region, name in names.items():
        place = {} if region == EAST else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        client("s3", region).create_bucket(Bucket=name, **place)
        client("s3", region).put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": keys[region]}
        client("s3", region).put_bucket_encryption(
            Bucket=name,
            ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
        )
    for region, other in ((EAST, WEST), (WEST, EAST)):
        destination: dict[str, Any] = {"Bucket": f"arn:aws:s3:::{names[other]}"}
        rule = {
            "ID": "all",
            "Priority": 1,
            "Status": "Enabled",
            "Filter": {},
            "DeleteMarkerReplication": {"Status": "Enabled"},
            "Destination": destination,
        }
        if include_encrypted:
            destination["EncryptionConfiguration"] = {"ReplicaKmsKeyID": keys[other]}
            criteria = ("SseKmsEncryptedObjects", "ReplicaModifications")
            rule["SourceSelectionCriteria"] = {criterion: {"Status": "Enabled"} for criterion in criteria}
        client("s3", region).put_bucket_replication(
            Bucket=names[region], ReplicationConfiguration={"Role": role, "Rules": [rule]}
        )
    return Buckets(client=client, names=names, keys=keys)
