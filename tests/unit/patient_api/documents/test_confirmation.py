"""Confirmation: a document is final once both regions hold the declared content."""

import hashlib
from datetime import timedelta

import pytest

from patient_api.contract.keys import pending_partition
from patient_api.documents.confirmation import Result
from patient_api.documents.multipart import PART_SIZE
from patient_api.documents.pending import completed, opened
from patient_api.documents.reference import object_key
from patient_api.errors import StorageFault
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import AUDIT
from unit.patient_api.fakes.documents import CONTENT, EAST, TENANT, WEST, World


def confirm(world: World, key: RecordKey, region: str = EAST, *, wait: bool = True) -> Result:
    return world.confirmation(region).confirm(key, request_id="request-1", wait=wait).result


def attachment_extensions(world: World, key: RecordKey) -> dict[str, dict[str, object]]:
    found = world.newest(key)["content"][0]["attachment"]["extension"]
    return {extension["url"]: extension for extension in found}


def test_document_in_both_regions_becomes_final(world: World) -> None:
    key = world.announce(CONTENT)
    here = world.s3[EAST].place(object_key(key), CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT, version=here.version)

    assert confirm(world, key) is Result.FINAL

    resource = world.newest(key)
    assert (resource["docStatus"], resource["status"]) == ("final", "current")
    assert attachment_extensions(world, key)["urn:healthcare-dr:stored"]["extension"] == [
        {"url": EAST, "valueString": here.version},
        {"url": WEST, "valueString": here.version},
    ]
    (event,) = world.dynamodb.items(AUDIT)
    assert event["subject"] == "system:document-confirmation"
    assert event["record"] == f"{TENANT}#Patient/pat-1"
    assert (event["entity"], event["version"]) == ("DocumentReference/doc-1", resource["meta"]["versionId"])
    assert "update_shard" not in world.marker(key)
    assert world.log.metrics() == {"DocumentsConfirmed": 1}
    assert world.time.elapsed == 0


def test_final_version_replaces_the_preliminary_one(world: World) -> None:
    key = world.announce(CONTENT)
    first = world.records.newest(key)
    world.place(key)
    confirm(world, key)
    newest = world.records.newest(key)
    assert first is not None
    assert newest is not None
    assert newest.replaces == first.stamp
    assert newest.stamp > first.stamp


def test_confirmation_waits_for_replication(world: World) -> None:
    key = world.announce(CONTENT)
    here = world.s3[EAST].place(object_key(key), CONTENT)
    world.time.at(3, lambda: world.s3[WEST].place(object_key(key), CONTENT, version=here.version))

    assert confirm(world, key) is Result.FINAL

    assert world.time.elapsed < 10
    assert "put_object" not in world.s3[WEST].calls
    assert world.log.metrics() == {"DocumentsConfirmed": 1}


@pytest.mark.requirement("C3")
@pytest.mark.trap(15)
@pytest.mark.parametrize("size", [len(CONTENT), PART_SIZE, PART_SIZE + 1, 4 * PART_SIZE])
def test_document_is_copied_within_a_minute_without_replication(world: World, size: int) -> None:
    content = bytes(size)
    key = world.announce(content)
    world.s3[EAST].place(object_key(key), content)
    world.time.sleep(1)  # the delay of the event

    assert confirm(world, key) is Result.FINAL

    assert 25 <= world.time.elapsed <= 60
    (copy,) = world.s3[WEST].objects[object_key(key)]
    assert hashlib.sha256(copy.content).digest() == hashlib.sha256(content).digest()
    assert world.log.metrics() == {"DocumentsConfirmed": 1, "DocumentsCopied": 1}
    stored = attachment_extensions(world, key)["urn:healthcare-dr:stored"]["extension"]
    assert {"url": WEST, "valueString": copy.version} in stored  # type: ignore[operator] # a JSON value or a fake


def test_wrong_clock_does_not_extend_the_wait(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT).modified += timedelta(hours=1)
    assert confirm(world, key) is Result.FINAL
    assert world.time.elapsed <= 26


@pytest.mark.parametrize("other", [b"%PDF-1.7 a lettre", b"shorter"])
def test_other_bytes_are_quarantined_in_both_regions(world: World, other: bytes) -> None:
    key = world.announce(CONTENT)
    stored = [world.s3[region].place(object_key(key), other, checksum=None) for region in (EAST, WEST)]

    assert confirm(world, key) is Result.QUARANTINED

    assert [held.tags for held in stored] == [{"quarantine": "true"}] * 2
    resource = world.newest(key)
    assert (resource["status"], resource["docStatus"]) == ("entered-in-error", "entered-in-error")
    assert "update_shard" not in world.marker(key)
    assert world.log.metrics() == {"DocumentsQuarantined": 1}


def test_quarantine_does_not_need_the_other_region(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), b"other")
    world.s3[WEST].down = True
    assert confirm(world, key) is Result.QUARANTINED
    assert world.log.metrics() == {"DocumentsQuarantined": 1, "StorageFailures": 1}


def test_other_size_is_quarantined(world: World) -> None:
    key = world.announce(CONTENT, size=len(CONTENT) + 1)
    world.place(key)
    assert confirm(world, key) is Result.QUARANTINED


def test_hash_of_part_hashes_is_not_the_hash_of_the_document(world: World) -> None:
    content = b"p" * 1000
    key = world.announce(content)
    world.place(key, b"q" * 1000, checksum=f"{'A' * 43}=-2")
    assert confirm(world, key) is Result.QUARANTINED


def test_document_in_parts_is_hashed_in_both_regions(world: World) -> None:
    content = bytes(range(256)) * 40_000
    key = world.announce(content)
    world.place(key, content, checksum=f"{'A' * 43}=-2")
    assert confirm(world, key) is Result.FINAL
    assert all("get_object" in world.s3[region].calls for region in (EAST, WEST))


def test_document_waits_while_the_other_region_is_unreachable(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT)
    world.s3[WEST].down = True

    assert confirm(world, key) is Result.WAITING
    assert world.newest(key)["docStatus"] == "preliminary"
    assert world.log.metrics() == {"StorageFailures": 1}

    world.s3[WEST].down = False
    world.time.sleep(60)
    assert confirm(world, key, wait=False) is Result.FINAL


def test_replica_that_arrives_during_the_copy_is_kept(world: World) -> None:
    key = world.announce(CONTENT)
    here = world.s3[EAST].place(object_key(key), CONTENT)

    def arrive(operation: str) -> None:
        if operation == "put_object":
            world.s3[WEST].place(object_key(key), CONTENT, version=here.version)

    world.s3[WEST].before = arrive
    assert confirm(world, key) is Result.FINAL
    assert [stored.version for stored in world.s3[WEST].objects[object_key(key)]] == [here.version]
    assert world.log.metrics() == {"DocumentsConfirmed": 1}


def test_other_bytes_in_the_other_region_are_replaced(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT)
    world.s3[WEST].place(object_key(key), b"something else")
    assert confirm(world, key) is Result.FINAL
    assert world.s3[WEST].objects[object_key(key)][-1].content == CONTENT


def test_bytes_that_change_during_the_copy_are_not_stored(world: World) -> None:
    content = bytes(PART_SIZE + 1)
    key = world.announce(content)
    here = world.s3[EAST].place(object_key(key), content)

    def change(operation: str) -> None:
        if operation == "get_object":
            here.content = b"x" + content[1:]

    world.s3[EAST].before = change
    assert confirm(world, key) is Result.WAITING
    assert world.s3[WEST].objects == {}
    assert world.s3[WEST].uploads == {}


def test_confirmation_is_idempotent(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    confirm(world, key)
    version = world.newest(key)["meta"]["versionId"]
    assert confirm(world, key) is Result.NOT_OURS
    assert world.newest(key)["meta"]["versionId"] == version


def test_concurrent_confirmation_writes_one_version(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    overtaken = False

    def overtake(operation: str, _request: object) -> None:
        nonlocal overtaken
        if operation == "transact_write_items" and not overtaken:
            overtaken = True
            assert confirm(world, key) is Result.FINAL

    world.dynamodb.before = overtake
    assert confirm(world, key) is Result.WAITING
    assert len(world.dynamodb.items(AUDIT)) == 1
    assert confirm(world, key) is Result.NOT_OURS


def test_region_ignores_documents_of_the_other_region(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, WEST) is Result.NOT_OURS
    assert world.s3[EAST].calls == world.s3[WEST].calls == []


def test_fault_of_the_own_region_is_raised(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].down = True
    with pytest.raises(StorageFault):
        confirm(world, key)


def test_open_marker_of_a_final_document_is_closed(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    confirm(world, key)
    world.pending(EAST).put(opened(key, at=world.clock(EAST).next(), region=EAST, upload=None))
    assert confirm(world, key) is Result.SETTLED
    assert "update_shard" not in world.marker(key)


def test_document_without_upload_is_abandoned_after_a_day(world: World) -> None:
    key = world.announce(CONTENT)
    world.time.sleep(24 * 3600 - 1)
    assert confirm(world, key) is Result.WAITING
    world.time.sleep(2)
    assert confirm(world, key) is Result.ABANDONED
    assert world.newest(key)["docStatus"] == "entered-in-error"
    assert "update_shard" not in world.marker(key)


def test_document_in_the_other_region_only_is_not_abandoned(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT)
    world.time.sleep(25 * 3600)
    world.s3[WEST].down = True
    assert confirm(world, key) is Result.WAITING
    assert world.pending(EAST).marker(key).partition == pending_partition(EAST)  # type: ignore[union-attr]


@pytest.mark.requirement("C3")
def test_document_uploaded_to_the_first_region_is_copied_from_there(world: World) -> None:
    """The creation was repeated in the other region, which has the marker since then and receives no upload."""
    key = world.announce(CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, wait=False) is Result.WAITING
    world.time.sleep(60)
    assert confirm(world, key, WEST, wait=False) is Result.FINAL
    assert world.s3[EAST].objects[object_key(key)][0].content == CONTENT


def test_wait_begins_when_the_parts_are_combined(world: World) -> None:
    key = world.announce(CONTENT, upload="upload-1")
    # S3 dates an object of parts by the start of its upload.
    world.s3[EAST].place(object_key(key), CONTENT)
    world.time.sleep(600)
    marker = world.pending(EAST).marker(key)
    assert marker is not None
    world.pending(EAST).put(completed(marker, at=world.time.now()))
    world.time.at(603, lambda: world.s3[WEST].place(object_key(key), CONTENT))
    assert confirm(world, key) is Result.FINAL
    assert "put_object" not in world.s3[WEST].calls
