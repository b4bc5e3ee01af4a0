"""Tables and buckets in two regions, and the clients that write to them."""

import uuid
from dataclasses import dataclass
from typing import Any

from healthcare_dr.emulator.emulator import Emulator
from unit.emulator.aws import EAST, REGIONS, WEST, Aws, eventually


def settle(emulator: Emulator) -> None:
    """Return when no change is pending."""
    assert eventually(lambda: emulator.pending() == 0)


def global_table(aws: Aws) -> str:
    """Create a table with a sparse index and a replica, and return its name."""
    name = uuid.uuid4().hex
    aws("dynamodb").create_table(
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
    aws("dynamodb").update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": WEST}}])
    return name


def item(sort: str, **attributes: str) -> dict[str, Any]:
    return {name: {"S": value} for name, value in {"pk": "p", "sk": sort, **attributes}.items()}


def put(aws: Aws, region: str, table: str, sort: str, **attributes: str) -> None:
    aws("dynamodb", region).put_item(TableName=table, Item=item(sort, **attributes))


def get(aws: Aws, region: str, table: str, sort: str) -> dict[str, str] | None:
    """Return the attributes of an item without its key."""
    found = aws("dynamodb", region).get_item(TableName=table, Key=item(sort), ConsistentRead=True).get("Item")
    return None if found is None else {key: value["S"] for key, value in found.items() if key not in ("pk", "sk")}


@dataclass(frozen=True)
class Buckets:
    """Two buckets that replicate to each other, each under its region's key."""

    aws: Aws
    names: dict[str, str]
    keys: dict[str, str]

    def s3(self, region: str) -> Any:
        return self.aws("s3", region)

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


def two_buckets(aws: Aws, *, include_encrypted: bool = True) -> Buckets:
    """Create buckets whose rules include objects encrypted with KMS, or not."""
    names = {region: aws.bucket(region=region, versioned=True) for region in REGIONS}
    keys = {region: aws("kms", region).create_key()["KeyMetadata"]["Arn"] for region in REGIONS}
    role = aws.role(f"replication-{uuid.uuid4().hex}", trust={"Principal": {"Service": "s3.amazonaws.com"}})
    for region, name in names.items():
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": keys[region]}
        rules = [{"ApplyServerSideEncryptionByDefault": default}]
        aws("s3", region).put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
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
        aws("s3", region).put_bucket_replication(
            Bucket=names[region], ReplicationConfiguration={"Role": role, "Rules": [rule]}
        )
    return Buckets(aws=aws, names=names, keys=keys)
