"""The function that confirms documents: events of the bucket, and the sweep for lost events."""

from urllib.parse import quote_plus

import pytest

from patient_api.contract.keys import DOCUMENT
from patient_api.documents.multipart import PART_SIZE
from patient_api.documents.reference import object_key, record_of
from patient_api.documents.work import SWEEP_SECONDS, Unfinished
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import RECORDS
from unit.patient_api.fakes.documents import CONTENT, EAST, TENANT, WEST, World, events_of


def sweep(world: World, region: str = EAST, *, seconds: float = 900) -> None:
    world.work(region).sweep(seconds=seconds, request_id="request-1")


def statuses(world: World, *keys: RecordKey) -> list[object]:
    return [world.newest(key)["docStatus"] for key in keys]


def test_object_keys_of_events_are_unquoted(world: World) -> None:
    key = world.announce(CONTENT, name="doc-1")
    world.place(key)
    records = list(events_of(quote_plus(object_key(key), safe="")))
    world.work().uploaded(records, request_id="request-1")
    assert statuses(world, key) == ["final"]


def test_other_objects_are_ignored(world: World) -> None:
    records = list(events_of("documents/", "documents/a", "other/a/b", "documents/a/b/c", "documents/a b/c"))
    world.work().uploaded(records, request_id="request-1")
    assert world.s3[EAST].calls == []
    assert world.log.lines() == []


def test_object_key_names_the_document(world: World) -> None:
    key = RecordKey(TENANT, DOCUMENT, "doc-1")
    assert record_of(object_key(key)) == key


def test_failed_document_does_not_prevent_others(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(3)]
    for key in keys:
        world.place(key)
    world.dynamodb.tables[RECORDS][(f"{TENANT}#{DOCUMENT}#doc-0", "pending")]["version"] = {"S": "unreadable"}
    with pytest.raises(Unfinished, match="1 of 3"):
        world.report(*keys)
    assert statuses(world, *keys) == ["preliminary", "final", "final"]
    assert {"document": "doc-0", "code": "UnreadableMarker"}.items() <= world.log.lines()[1].items()


def test_defect_is_logged_without_values(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    world.s3[EAST].objects[object_key(key)][0].modified = "Miller"  # type: ignore[assignment] # a JSON value or a fake
    with pytest.raises(Unfinished):
        world.report(key)
    assert "unexpected exception" in world.log.getvalue()
    assert "Miller" not in world.log.getvalue()


def test_sweep_confirms_documents_without_an_event(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(5)]
    for key in keys:
        world.place(key)
    sweep(world)
    assert statuses(world, *keys) == ["final"] * 5
    assert world.log.metrics() == {"DocumentsConfirmed": 5, "DocumentsPending": 0, "PendingSeconds": 0}


def test_sweep_confirms_documents_of_its_region_only(world: World) -> None:
    ours, theirs = world.announce(CONTENT, name="ours"), world.announce(CONTENT, name="theirs", region=WEST)
    world.place(ours)
    world.place(theirs)
    sweep(world, WEST)
    assert statuses(world, ours, theirs) == ["preliminary", "final"]


def test_sweep_publishes_count_and_age_of_pending_documents(world: World) -> None:
    world.announce(CONTENT, name="never-uploaded")
    world.time.sleep(500)
    for name in ("older", "newer"):
        world.s3[EAST].place(object_key(world.announce(CONTENT, name=name)), CONTENT)
        world.time.sleep(100)
    world.s3[WEST].down = True
    sweep(world)
    metrics = world.log.metrics()
    assert (metrics["DocumentsPending"], metrics["PendingSeconds"]) == (3, 200)


def test_sweep_skips_recent_uploads(world: World) -> None:
    content = bytes(PART_SIZE)
    key = world.announce(content)
    world.s3[EAST].place(object_key(key), content)
    world.time.sleep(26)
    sweep(world)
    assert "put_object" not in world.s3[WEST].calls
    world.time.sleep(4)
    sweep(world)
    assert statuses(world, key) == ["final"]
    assert world.log.metrics()["DocumentsCopied"] == 1


@pytest.mark.parametrize(("seconds", "looked_at"), [(900, 5), (30, 2), (5, 0)])
def test_sweep_ends_before_its_time_limit(world: World, seconds: float, looked_at: int) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(9)]
    for key in keys:
        world.place(key)
    assert SWEEP_SECONDS < 60
    world.s3[EAST].before = lambda _operation: world.time.sleep(10)
    sweep(world, seconds=seconds)
    assert statuses(world, *keys).count("final") == looked_at
    assert world.log.metrics()["DocumentsPending"] == 9 - looked_at


def test_failed_document_does_not_end_the_sweep(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(2)]
    world.place(keys[1])
    world.dynamodb.tables[RECORDS][(f"{TENANT}#{DOCUMENT}#doc-0", "pending")]["version"] = {"S": "unreadable"}
    sweep(world)
    assert statuses(world, keys[1]) == ["final"]
    assert world.log.metrics() == {
        "StorageFailures": 1,
        "DocumentsConfirmed": 1,
        "DocumentsPending": 1,
        "PendingSeconds": 0,
    }
