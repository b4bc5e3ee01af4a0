"""Tests of the replication of S3 objects."""

import time

import pytest

from healthcare_dr.emulator.emulator import Emulator
from unit.emulator.aws import EAST, REGIONS, WEST, Aws
from unit.emulator.replicas import Buckets, settle, two_buckets


@pytest.fixture
def buckets(replicating: Emulator, patched: Aws) -> Buckets:
    assert replicating.running()
    return two_buckets(patched)


def test_replica_equals_its_source_under_the_destination_key(replicating: Emulator, buckets: Buckets) -> None:
    replicating.set_replication(documents=False)
    version = buckets.put(
        EAST, ContentType="text/plain", Metadata={"a": "b"}, Tagging="state=new", ChecksumAlgorithm="SHA256"
    )
    assert buckets.head(EAST)["ReplicationStatus"] == "PENDING"
    replicating.set_replication(documents=True)
    settle(replicating)
    source, replica = (buckets.head(region, ChecksumMode="ENABLED") for region in REGIONS)
    same = ("VersionId", "ETag", "ContentType", "ContentLength", "Metadata", "ChecksumSHA256", "LastModified")
    assert {name: replica[name] for name in same} == {name: source[name] for name in same}
    assert version == replica["VersionId"]
    assert (source["ReplicationStatus"], replica["ReplicationStatus"]) == ("COMPLETED", "REPLICA")
    assert (source["SSEKMSKeyId"], replica["SSEKMSKeyId"]) == (buckets.keys[EAST], buckets.keys[WEST])
    assert buckets.tags(WEST) == {"state": "new"}
    assert buckets.read(WEST) == b"content"


def test_later_tags_replicate_from_both_regions(replicating: Emulator, buckets: Buckets) -> None:
    buckets.put(EAST)
    settle(replicating)
    tags = {"TagSet": [{"Key": "state", "Value": "confirmed"}]}
    buckets.s3(WEST).put_object_tagging(Bucket=buckets.names[WEST], Key="documents/d", Tagging=tags)
    settle(replicating)
    assert buckets.tags(EAST) == {"state": "confirmed"}
    buckets.s3(EAST).delete_object_tagging(Bucket=buckets.names[EAST], Key="documents/d")
    settle(replicating)
    assert buckets.tags(WEST) == {}


def test_replica_is_not_replicated_again(replicating: Emulator, buckets: Buckets) -> None:
    versions = [buckets.put(EAST), buckets.put(WEST, "documents/other")]
    settle(replicating)
    time.sleep(0.3)
    assert replicating.pending() == 0
    assert sorted(buckets.versions(EAST)) == sorted(buckets.versions(WEST)) == sorted(versions)


def test_later_of_two_concurrent_writes_is_current_in_both_regions(replicating: Emulator, buckets: Buckets) -> None:
    replicating.set_replication(documents=False)
    earlier = buckets.put(WEST, body=b"earlier")
    time.sleep(0.01)
    later = buckets.put(EAST, body=b"later")
    replicating.set_replication(documents=True)
    settle(replicating)
    for region in REGIONS:
        assert buckets.versions(region) == [later, earlier]
        assert buckets.read(region) == b"later"
        assert buckets.read(region, VersionId=earlier) == b"earlier"


def test_delete_marker_replicates_and_version_deletion_does_not(replicating: Emulator, buckets: Buckets) -> None:
    version = buckets.put(EAST)
    settle(replicating)
    buckets.s3(EAST).delete_object(Bucket=buckets.names[EAST], Key="documents/d", VersionId=version)
    settle(replicating)
    assert buckets.read(WEST) == b"content"
    buckets.put(EAST)
    marker = buckets.s3(EAST).delete_object(Bucket=buckets.names[EAST], Key="documents/d")["VersionId"]
    settle(replicating)
    (found,) = buckets.s3(WEST).list_object_versions(Bucket=buckets.names[WEST])["DeleteMarkers"]
    assert (found["VersionId"], found["IsLatest"]) == (marker, True)


def test_kms_encrypted_objects_replicate_only_if_the_rule_includes_them(replicating: Emulator, patched: Aws) -> None:
    buckets = two_buckets(patched, include_encrypted=False)
    buckets.put(EAST)
    assert replicating.pending() == 0
    assert "ReplicationStatus" not in buckets.head(EAST)


def test_replication_fails_without_usable_destination_key(replicating: Emulator, buckets: Buckets) -> None:
    buckets.aws("kms", WEST).disable_key(KeyId=buckets.keys[WEST])
    buckets.put(EAST)
    settle(replicating)
    assert buckets.head(EAST)["ReplicationStatus"] == "FAILED"
    assert buckets.versions(WEST) == []


def test_version_deleted_before_replication_has_no_replica(replicating: Emulator, buckets: Buckets) -> None:
    replicating.set_replication(documents=False)
    version = buckets.put(EAST)
    buckets.s3(EAST).delete_object(Bucket=buckets.names[EAST], Key="documents/d", VersionId=version)
    replicating.set_replication(documents=True)
    settle(replicating)
    assert buckets.versions(WEST) == []
