"""The document buckets of both regions: replication, encryption and access."""

import ssl

import httpx
import pytest
from botocore.exceptions import ClientError

from support.platform import Deployed


@pytest.mark.requirement("R3.1", "R3.2", "R3.3")
@pytest.mark.trap(13)
def test_object_and_its_deletion_are_replicated(deployed: Deployed, region: str, other_region: str) -> None:
    key, body = f"replicated-from-{region}", b"a medical document"
    here, there = deployed.client("s3", region), deployed.client("s3", other_region)
    put = here.put_object(Bucket=deployed.bucket(region), Key=key, Body=body)
    assert put["ServerSideEncryption"] == "aws:kms"
    assert put["VersionId"]
    deployed.settle()
    assert there.get_object(Bucket=deployed.bucket(other_region), Key=key)["Body"].read() == body
    here.delete_object(Bucket=deployed.bucket(region), Key=key)
    deployed.settle()
    with pytest.raises(ClientError):
        there.get_object(Bucket=deployed.bucket(other_region), Key=key)


@pytest.mark.requirement("R3.1", "R3.2", "R3.3")
@pytest.mark.trap(10, 11, 12, 13, 14, 15)
def test_replication_rule_includes_everything_that_recovery_needs(
    deployed: Deployed, region: str, other_region: str
) -> None:
    s3 = deployed.client("s3", region)
    bucket = deployed.bucket(region)
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]["Rules"]
    key = deployed.client("kms", other_region).describe_key(KeyId=deployed.names.key_alias())["KeyMetadata"]["Arn"]
    assert rule["Status"] == "Enabled"
    assert rule["DeleteMarkerReplication"]["Status"] == "Enabled"
    assert rule["SourceSelectionCriteria"]["SseKmsEncryptedObjects"]["Status"] == "Enabled"
    assert rule["SourceSelectionCriteria"]["ReplicaModifications"]["Status"] == "Enabled"
    assert rule["Destination"]["Bucket"] == f"arn:aws:s3:::{deployed.bucket(other_region)}"
    assert rule["Destination"]["EncryptionConfiguration"]["ReplicaKmsKeyID"] == key
    assert rule["Destination"]["ReplicationTime"]["Status"] == "Enabled"
    assert rule["Destination"]["Metrics"]["Status"] == "Enabled"


@pytest.mark.requirement("C4", "C6")
@pytest.mark.trap(19)
def test_documents_are_never_public(deployed: Deployed, region: str) -> None:
    s3 = deployed.client("s3", region)
    bucket = deployed.bucket(region)
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    s3.put_object(Bucket=bucket, Key="private", Body=b"x")
    address = f"{deployed.emulator.environment()['AWS_ENDPOINT_URL']}/{bucket}/private"
    context = ssl.create_default_context(cafile=str(deployed.emulator.certificate))
    assert httpx.get(address, verify=context, trust_env=False).status_code == 403
