"""Confirmation: each region verifies its own copy, and a document is final once both regions have."""

import hashlib
from datetime import timedelta

import pytest
from botocore.exceptions import EndpointConnectionError

from patient_api.contract.functions import CONFIRM_DOCUMENTS
from patient_api.contract.keys import DOCUMENT, awaited_partition, pending_partition
from patient_api.documents import confirmation
from patient_api.documents.confirmation import LEASE_FACTOR, Result
from patient_api.documents.lifecycle import Actor, State
from patient_api.documents.reference import object_key
from patient_api.documents.storage import PART_SIZE
from patient_api.documents.worker import SPARE_SECONDS, SWEEP_SECONDS
from patient_api.errors import StorageFault
from patient_api.fhir.profile.document import LARGEST_DOCUMENT
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import AUDIT, RECORDS
from unit.patient_api.fakes.documents import CONTENT, EAST, TENANT, WEST, Api, World, announcement, offer
from unit.patient_api.fakes.s3 import Stored, sha256


def confirm(world: World, key: RecordKey, region: str = EAST, *, wait: bool = True, seconds: float = 890) -> Result:
    actor = Actor.CONFIRMATION if wait else Actor.SWEEP
    ends = world.time.now() + timedelta(seconds=seconds)
    return world.confirmation(region).confirm(key, request_id="request-1", actor=actor, ends=ends).result


def mark_verified(world: World, key: RecordKey, stored: Stored) -> None:
    """Record that us-east-1 has verified its object, as its confirming function before it waits for replication."""
    repository = world.repository(EAST)
    document = repository.read(key)
    own = repository.own(document)
    verified = own.next(State.VERIFIED, version_id=stored.version, sha256=sha256(stored.content))
    repository.save(document, verified)


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
    assert world.listed() == {}
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
    here = world.s3[EAST].place(object_key(key), other, checksum=None)
    stored = [here, world.s3[WEST].place(object_key(key), other, checksum=None, version=here.version)]

    assert confirm(world, key) is Result.QUARANTINED

    assert [held.tags for held in stored] == [{"quarantine": "true"}] * 2
    resource = world.newest(key)
    assert (resource["status"], resource["docStatus"]) == ("entered-in-error", "entered-in-error")
    assert world.listed() == {}
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


def test_each_region_hashes_its_own_copy_of_a_document_in_parts_once(world: World) -> None:
    content = bytes(range(256)) * 40_000
    key = world.announce(content)
    world.place(key, content, checksum=f"{'A' * 43}=-2")
    assert confirm(world, key, WEST) is Result.VERIFIED
    assert confirm(world, key) is Result.FINAL
    for region in (EAST, WEST):
        confirm(world, key, region)
        assert world.s3[region].calls.count("get_object") == 1
    assert world.time.elapsed == 0


def test_copy_in_the_other_region_is_read_if_its_function_does_not_verify_it(world: World) -> None:
    content = bytes(range(256)) * 40_000
    key = world.announce(content)
    world.place(key, content, checksum=None)
    assert confirm(world, key) is Result.FINAL
    assert all(world.s3[region].calls.count("get_object") == 1 for region in (EAST, WEST))
    assert 25 <= world.time.elapsed <= 60


def test_verified_hash_is_remembered_while_the_other_region_is_unreachable(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key, checksum=None)
    world.s3[WEST].down = True
    for _ in range(5):
        assert confirm(world, key) is Result.WAITING
        world.time.sleep(60)
        world.sweep()
    assert world.s3[EAST].calls.count("get_object") == 1
    world.s3[WEST].down = False
    world.sweep()
    assert world.status(key) == "final"
    assert world.s3[EAST].calls.count("get_object") == 1


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


@pytest.mark.parametrize("elsewhere", [b"something else", bytes(len(CONTENT))])
def test_other_bytes_in_the_other_region_are_replaced(world: World, elsewhere: bytes) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT)
    world.s3[WEST].place(object_key(key), elsewhere, checksum=None)
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
    assert confirm(world, key) is Result.SETTLED
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
    assert confirm(world, key) is Result.SETTLED
    assert len(world.dynamodb.items(AUDIT)) == 1


def test_region_verifies_a_document_of_the_other_region_and_leaves_it_to_that_one(world: World) -> None:
    key = world.announce(CONTENT)
    mark_verified(world, key, world.s3[EAST].place(object_key(key), CONTENT))
    stored = world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, WEST) is Result.VERIFIED
    assert (world.replica(key, WEST).state, world.replica(key, WEST).version_id) == (State.VERIFIED, stored.version)
    assert world.listed(WEST) == {}
    assert world.s3[EAST].calls == []
    assert world.status(key) == "preliminary"


@pytest.mark.parametrize("elsewhere", [None, CONTENT, b"something else"])
@pytest.mark.parametrize("checksum", ["", None])
def test_document_that_only_the_region_without_an_offer_holds_becomes_final(
    world: World, elsewhere: bytes | None, checksum: str | None
) -> None:
    """The event of the upload was lost, and its object may have been removed or rejected since."""
    key = world.announce(CONTENT)
    if elsewhere is not None:
        world.s3[EAST].place(object_key(key), elsewhere, checksum=checksum)
    if elsewhere == b"something else":
        assert confirm(world, key) is Result.QUARANTINED
    world.s3[WEST].place(object_key(key), CONTENT, checksum=checksum)
    assert confirm(world, key, WEST) is Result.VERIFIED
    for _ in range(5):
        world.time.sleep(60)
        world.sweep(WEST)
    assert world.status(key) == "final"
    assert world.s3[EAST].objects[object_key(key)][-1].content == CONTENT
    assert world.listed(WEST) == {}
    assert world.s3[WEST].calls.count("get_object") <= 2, "hashed once, and copied once"


def test_region_does_not_stand_by_once_the_other_one_has_verified_its_object(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, WEST) is Result.VERIFIED
    assert world.listed(WEST) == {"doc-1": awaited_partition(WEST)}
    mark_verified(world, key, world.s3[EAST].place(object_key(key), CONTENT))
    world.time.sleep(60)
    world.sweep(WEST)
    assert world.listed(WEST) == {}
    assert world.log.metrics().get("DocumentsPending") == 0, "the other region counts it"
    assert world.status(key) == "preliminary"


def test_region_that_stands_by_asks_rarely_while_the_other_one_is_unreachable(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, WEST) is Result.VERIFIED
    world.s3[EAST].down = True
    for _ in range(3 * 60):
        world.time.sleep(60)
        world.sweep(WEST)
    assert len(world.s3[EAST].calls) == 5
    world.s3[EAST].down = False
    world.time.sleep(3600)
    world.sweep(WEST)
    assert world.status(key) == "final"


def test_long_object_is_read_by_one_invocation_at_a_time(world: World) -> None:
    content = bytes(PART_SIZE)
    key = world.announce(content)
    world.s3[EAST].place(object_key(key), content, checksum=None)
    world.s3[WEST].place(object_key(key), content)
    repeated = False

    def repeat(operation: str) -> None:
        nonlocal repeated
        if operation == "get_object" and not repeated:
            repeated = True
            assert confirm(world, key) is Result.WAITING
            world.time.sleep(13)
            assert confirm(world, key, wait=False) is Result.WAITING

    world.time.sleep(30)
    world.s3[EAST].before = repeat
    assert confirm(world, key) is Result.FINAL
    assert world.s3[EAST].calls.count("get_object") == 1


def test_lease_of_an_invocation_that_ended_early_expires(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key, checksum=None)

    def end(operation: str) -> None:
        if operation == "get_object":
            raise KeyboardInterrupt

    world.s3[EAST].before = end
    with pytest.raises(KeyboardInterrupt):
        confirm(world, key)
    world.s3[EAST].before = lambda _operation: None
    assert confirm(world, key) is Result.WAITING
    world.time.sleep(60)
    world.sweep()
    assert world.status(key) == "final"


def test_long_object_is_read_again_at_once_after_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "SLOWEST", 1)
    key = world.announce(CONTENT)
    world.place(key, checksum=None)
    failed = False

    def fail(operation: str) -> None:
        nonlocal failed
        if operation == "get_object" and not failed:
            failed = True
            raise EndpointConnectionError(endpoint_url="https://s3.example.org")

    world.s3[EAST].before = fail
    with pytest.raises(StorageFault):
        confirm(world, key)
    assert failed
    assert confirm(world, key) is Result.FINAL


def test_sweep_reads_few_long_objects_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "SLOWEST", 1)
    contents = [bytes(20), bytes(30), bytes(40), b"short"]
    keys = [world.announce(content, name=f"doc-{number}") for number, content in enumerate(contents)]
    for key, content in zip(keys, contents, strict=True):
        world.place(key, content, checksum=None)
    world.time.sleep(300)
    sweep = world.confirmation()
    results: dict[str, Result] = {}
    left = list(keys)

    def read_others(operation: str) -> None:
        while operation == "get_object" and left:
            read()

    def read() -> None:
        key, ends = left.pop(0), world.time.now() + timedelta(seconds=890)
        results[key.id] = sweep.confirm(key, request_id="request-1", actor=Actor.SWEEP, ends=ends).result

    world.s3[EAST].before = read_others
    read()
    expected = (Result.FINAL, Result.FINAL, Result.WAITING, Result.FINAL)
    assert results == {key.id: result for key, result in zip(keys, expected, strict=True)}
    left.append(keys[2])
    read()
    assert results[keys[2].id] is Result.FINAL


def test_lease_of_a_wrong_clock_does_not_last(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key, checksum=None)
    repository = world.repository()
    document, now = repository.read(key), world.time.now()
    far = now + timedelta(days=365)
    repository.save(document, repository.own(document).next(State.STORED, at=now, since=now, lease=far))
    world.time.sleep(60)
    world.sweep()
    assert world.status(key) == "final"


def test_orphan_is_verified_a_minute_after_its_record_has_arrived(world: World) -> None:
    key = RecordKey(TENANT, DOCUMENT, "doc-1")
    world.place(key, checksum=None)
    world.report(key, region=WEST)
    for _ in range(45):
        world.time.sleep(60)
        world.sweep(WEST)
    world.announce(CONTENT)
    world.time.sleep(60)
    world.sweep(WEST)
    assert world.replica(key, WEST).state is State.VERIFIED


@pytest.mark.parametrize(("step", "seconds"), [("hash", 10), ("copy", 30)])
def test_what_an_invocation_has_no_time_for_is_left_to_the_next_one(world: World, step: str, seconds: float) -> None:
    content = bytes(4 * PART_SIZE)
    key = world.announce(content)
    world.s3[EAST].place(object_key(key), content, checksum=None if step == "hash" else "")
    world.time.sleep(60)
    assert confirm(world, key, seconds=seconds) is Result.WAITING
    assert "get_object" not in world.s3[EAST].calls
    assert world.listed() == {"doc-1": pending_partition(EAST)}
    world.time.sleep(60)
    assert confirm(world, key, wait=False) is Result.FINAL


def test_each_step_of_the_largest_document_fits_into_one_invocation() -> None:
    step = confirmation.duration_of(LARGEST_DOCUMENT)
    assert timedelta(seconds=SWEEP_SECONDS + SPARE_SECONDS) + step < timedelta(
        seconds=CONFIRM_DOCUMENTS.timeout_seconds
    )
    # A sweep begins steps of several documents at once, which share the connection.
    assert step * LEASE_FACTOR < timedelta(seconds=CONFIRM_DOCUMENTS.timeout_seconds)


def test_renewal_during_the_last_check_keeps_the_document(world: World) -> None:
    """The document would be abandoned, and the item of the renewal overwritten."""
    world.add_patient()
    api = Api(world)
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.time.sleep(25 * 3600)
    renewed = False

    def renew(operation: str, _request: object) -> None:
        nonlocal renewed
        if operation == "transact_write_items" and not renewed:
            renewed = True
            _, resource = api.create(announcement(CONTENT), idempotency_key="key-1")
            assert offer(resource)

    world.dynamodb.before = renew
    assert confirm(world, key, wait=False) is Result.WAITING
    assert renewed
    assert world.status(key) == "preliminary"
    assert world.listed() == {key.id: awaited_partition(EAST)}


def test_object_that_is_found_during_the_announcement_does_not_overwrite_it(world: World) -> None:
    world.add_patient()
    key = RecordKey(TENANT, DOCUMENT, Api(world).create(announcement(CONTENT), idempotency_key="key-1")[0].id)
    world.dynamodb.tables[RECORDS].clear()
    world.add_patient()
    world.s3[EAST].place(object_key(key), CONTENT)
    found = False

    def find(operation: str, _request: object) -> None:
        nonlocal found
        if operation == "transact_write_items" and not found:
            found = True
            assert confirm(world, key) is Result.WAITING

    world.dynamodb.before = find
    Api(world).create(announcement(CONTENT), idempotency_key="key-1")
    own = world.replica(key)
    assert (own.state, own.offered, own.revision) == (State.ANNOUNCED, True, 1)
    world.sweep()
    assert world.replica(key).state is State.VERIFIED, "the next sweep verifies what is there already"


def test_rejected_object_has_an_audit_event_also_without_a_version(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), b"something else")
    assert confirm(world, key) is Result.QUARANTINED
    versions = world.repository().read(key).versions
    world.time.sleep(1)
    world.s3[EAST].place(object_key(key), b"something else again")
    assert confirm(world, key) is Result.QUARANTINED
    assert world.repository().read(key).versions == versions
    first, second = sorted(world.dynamodb.items(AUDIT), key=lambda event: str(event["at"]))
    assert (first["version"], "version" in second) == (str(versions[-1].stamp), False)
    for event in (first, second):
        assert (event["subject"], event["entity"]) == ("system:document-confirmation", "DocumentReference/doc-1")


@pytest.mark.parametrize("by", ["event", "read"])
@pytest.mark.parametrize("other_bytes", [False, True])
def test_object_that_replaces_the_verified_version_of_a_final_document_is_verified_again(
    world: World, by: str, other_bytes: bool
) -> None:
    """A person has copied the object from the other region in parts, or the verified version has expired."""
    world.add_patient()
    api = Api(world)
    key, _ = api.create(announcement(CONTENT))
    world.place(key, checksum=None)
    assert confirm(world, key) is Result.FINAL
    world.s3[EAST].objects[object_key(key)] = []
    content = bytes(len(CONTENT)) if other_bytes else CONTENT
    newer = world.s3[EAST].place(object_key(key), content, checksum=None)
    world.s3[WEST].down = True
    world.s3[EAST].calls.clear()
    if by == "event":
        world.report(key)
    else:
        with pytest.raises(StorageFault):
            api.read(key)
        world.sweep()
    for _ in range(2):
        assert world.status(key) == "final"
        assert world.listed() == {}
        if other_bytes:
            assert newer.tags == {"quarantine": "true"}
            with pytest.raises(StorageFault):
                api.read(key)
        else:
            assert f"VersionId={newer.version}&" in api.read(key)["content"][0]["attachment"]["url"]
        world.report(key)
    assert world.s3[EAST].calls.count("get_object") == 1


def test_fault_of_the_own_region_is_raised(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].down = True
    with pytest.raises(StorageFault):
        confirm(world, key)


def test_open_item_of_a_final_document_is_closed(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    repository = world.repository(WEST)
    document = repository.read(key)
    waiting = repository.own(document).next(State.STORED, at=world.time.now(), since=world.time.now())
    repository.save(document, waiting)
    confirm(world, key)
    assert world.listed(WEST) == {"doc-1": pending_partition(WEST)}
    assert confirm(world, key, WEST, wait=False) is Result.SETTLED
    assert world.listed(WEST) == {}


def test_document_without_upload_is_abandoned_after_a_day(world: World) -> None:
    key = world.announce(CONTENT)
    world.time.sleep(24 * 3600 - 1)
    assert confirm(world, key, wait=False) is Result.WAITING
    world.time.sleep(2)
    assert confirm(world, key, wait=False) is Result.ABANDONED
    assert world.status(key) == "entered-in-error"
    assert world.listed() == {}


def test_document_is_not_abandoned_while_the_other_region_waits_for_its_upload(world: World) -> None:
    key = world.announce(CONTENT)
    world.time.sleep(24 * 3600 - 1)
    repository, now = world.repository(WEST), world.time.now()
    document = repository.read(key)
    offered = repository.own(document).next(State.ANNOUNCED, at=now, since=now, offered=True)
    repository.save(document, offered)
    world.time.sleep(2)
    assert confirm(world, key, wait=False) is Result.WAITING
    assert world.status(key) == "preliminary"
    world.time.sleep(24 * 3600)
    assert confirm(world, key, wait=False) is Result.ABANDONED


def test_document_whose_object_was_deleted_is_abandoned_after_a_day(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT)
    assert confirm(world, key, wait=False) is Result.WAITING
    world.s3[EAST].objects.clear()
    assert confirm(world, key, wait=False) is Result.WAITING
    world.time.sleep(24 * 3600)
    assert confirm(world, key, wait=False) is Result.ABANDONED
    assert world.listed() == {}


def test_document_in_the_other_region_only_is_not_abandoned(world: World) -> None:
    key = world.announce(CONTENT)
    world.time.sleep(25 * 3600)
    world.s3[WEST].down = True
    assert confirm(world, key, wait=False) is Result.WAITING
    world.s3[WEST].down = False
    world.s3[WEST].place(object_key(key), CONTENT)
    assert confirm(world, key, wait=False) is Result.WAITING
    assert world.status(key) == "preliminary"


def test_abandoned_document_becomes_final_when_its_bytes_arrive_after_all(world: World) -> None:
    key = world.announce(CONTENT)
    world.time.sleep(25 * 3600)
    assert confirm(world, key, wait=False) is Result.ABANDONED
    world.place(key)
    assert confirm(world, key) is Result.FINAL
    resource = world.newest(key)
    assert (resource["status"], resource["docStatus"]) == ("current", "final")


def test_object_without_a_record_waits_for_the_record(world: World) -> None:
    key = RecordKey(TENANT, DOCUMENT, "doc-1")
    world.place(key)
    assert confirm(world, key, WEST) is Result.WAITING
    assert world.listed(WEST) == {"doc-1": awaited_partition(WEST)}
    world.announce(CONTENT)
    world.time.sleep(61)
    world.sweep(WEST)
    assert world.replica(key, WEST).state is State.VERIFIED


def test_object_without_a_record_is_given_up_after_a_day(world: World) -> None:
    key = RecordKey(TENANT, DOCUMENT, "no-document")
    world.place(key)
    for _ in range(30):
        assert confirm(world, key, wait=False) in {Result.WAITING, Result.SETTLED}
        world.time.sleep(3600)
    assert world.listed() == {}


def test_other_bytes_do_not_reject_a_document_that_the_other_region_has_verified(world: World) -> None:
    key = world.announce(CONTENT)
    world.s3[EAST].place(object_key(key), CONTENT)
    wrong = world.s3[WEST].place(object_key(key), b"something else")
    world.s3[WEST].down = True
    assert confirm(world, key) is Result.WAITING
    world.s3[WEST].down = False
    assert confirm(world, key, WEST) is Result.QUARANTINED
    assert wrong.tags == {"quarantine": "true"}
    assert world.status(key) == "preliminary"
    assert confirm(world, key) is Result.FINAL


@pytest.mark.requirement("C3")
def test_document_uploaded_to_the_first_region_is_copied_from_there(world: World) -> None:
    """The creation was repeated in the other region, which receives no upload."""
    key = world.announce(CONTENT)
    repository = world.repository(WEST)
    document = repository.read(key)
    offered = repository.own(document).next(State.ANNOUNCED, at=world.time.now(), since=world.time.now(), offered=True)
    repository.save(document, offered)
    world.s3[EAST].place(object_key(key), CONTENT)
    assert confirm(world, key, WEST, wait=False) is Result.WAITING
    world.time.sleep(60)
    assert confirm(world, key, wait=False) is Result.FINAL
    assert world.s3[WEST].objects[object_key(key)][0].content == CONTENT


def test_wait_begins_when_the_parts_are_combined(world: World) -> None:
    key = world.announce(bytes(PART_SIZE + 1), upload="upload-1")
    # S3 dates an object of parts by the start of its upload.
    world.s3[EAST].place(object_key(key), bytes(PART_SIZE + 1), checksum=None)
    world.time.sleep(600)
    world.time.at(603, lambda: world.s3[WEST].place(object_key(key), bytes(PART_SIZE + 1), checksum=None))
    world.time.at(604, lambda: confirm(world, key, WEST))
    assert confirm(world, key) is Result.FINAL
    assert "create_multipart_upload" not in world.s3[WEST].calls
