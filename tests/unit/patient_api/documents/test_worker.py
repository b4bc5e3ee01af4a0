"""The function that confirms documents: events of the bucket, and the sweep for lost events."""

from urllib.parse import quote_plus

import pytest

from patient_api.contract.keys import DOCUMENT
from patient_api.documents.lifecycle import CHECKS, State
from patient_api.documents.reference import object_key, record_of
from patient_api.documents.storage import PART_SIZE
from patient_api.documents.worker import CHECKS_PER_TENANT, SWEEP_SECONDS, UnfinishedEventError
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import RECORDS, client_error
from unit.patient_api.fakes.documents import CONTENT, EAST, TENANT, WEST, World, events_of, fail


def sweep(world: World, region: str = EAST, *, seconds: float = 900) -> None:
    world.sweep(region, seconds=seconds)


def mark_stored(world: World, *keys: RecordKey, region: str = EAST) -> None:
    """Record the objects, as a function that ended early."""
    repository = world.repository(region)
    for key in keys:
        document = repository.read(key)
        own = repository.own(document)
        repository.save(document, own.next(State.STORED, at=world.time.now(), since=world.time.now()))


def statuses(world: World, *keys: RecordKey) -> list[object]:
    return [world.newest(key)["docStatus"] for key in keys]


def test_object_keys_of_events_are_unquoted(world: World) -> None:
    key = world.announce(CONTENT, name="doc-1")
    world.place(key)
    records = list(events_of(quote_plus(object_key(key), safe="")))
    world.work().uploaded(records, seconds=900, request_id="request-1")
    assert statuses(world, key) == ["final"]


def test_other_objects_are_ignored(world: World) -> None:
    records = list(events_of("documents/", "documents/a", "other/a/b", "documents/a/b/c", "documents/a b/c"))
    world.work().uploaded(records, seconds=900, request_id="request-1")
    assert world.s3[EAST].calls == []
    assert world.log.lines() == []


def test_object_key_names_the_document(world: World) -> None:
    key = RecordKey(TENANT, DOCUMENT, "doc-1")
    assert record_of(object_key(key)) == key


def test_fault_of_one_document_in_the_other_region_does_not_skip_that_region(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(3)]
    world.place(keys[1])
    world.place(keys[2])
    world.s3[EAST].place(object_key(keys[0]), CONTENT)
    mark_stored(world, *keys)
    world.time.sleep(60)

    def deny(operation: str) -> None:
        if operation == "put_object":
            raise client_error("KMS.DisabledException")

    world.s3[WEST].before = deny
    sweep(world)
    assert statuses(world, *keys) == ["preliminary", "final", "final"]


def test_fault_of_the_own_region_during_a_copy_does_not_skip_the_other_region(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(3)]
    world.place(keys[1])
    world.place(keys[2])
    world.s3[EAST].place(object_key(keys[0]), CONTENT)
    mark_stored(world, *keys)
    world.time.sleep(60)
    world.s3[EAST].before = lambda operation: fail(operation, "get_object")
    sweep(world)
    assert statuses(world, *keys) == ["preliminary", "final", "final"]


def test_failed_document_does_not_prevent_others(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(3)]
    for key in keys:
        world.place(key)
    world.dynamodb.tables[RECORDS][(f"{TENANT}#{DOCUMENT}#doc-0", f"replica#{EAST}")]["state"] = {"S": "unreadable"}
    with pytest.raises(UnfinishedEventError, match="1 of 3"):
        world.report(*keys)
    assert statuses(world, *keys[1:]) == ["final", "final"]
    assert {"document": "doc-0", "code": "UnreadableReplica"}.items() <= world.log.lines()[1].items()


def test_defect_is_logged_without_values(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    world.s3[EAST].objects[object_key(key)][0].modified = "Miller"  # type: ignore[assignment] # a JSON value or a fake
    with pytest.raises(UnfinishedEventError):
        world.report(key)
    assert "unexpected exception" in world.log.getvalue()
    assert "Miller" not in world.log.getvalue()


def test_sweep_confirms_documents_without_an_event(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(5)]
    for key in keys:
        world.place(key)
    world.time.sleep(60)
    sweep(world)
    assert statuses(world, *keys) == ["final"] * 5
    assert world.log.metrics() == {"DocumentsConfirmed": 5, "DocumentsPending": 0, "PendingSeconds": 0}


def test_sweep_confirms_documents_of_its_region_only(world: World) -> None:
    ours, theirs = world.announce(CONTENT, name="ours"), world.announce(CONTENT, name="theirs", region=WEST)
    world.place(ours)
    world.place(theirs)
    world.time.sleep(60)
    sweep(world, WEST)
    assert statuses(world, ours, theirs) == ["preliminary", "final"]


def test_sweep_publishes_count_and_age_of_uploaded_documents(world: World) -> None:
    world.announce(CONTENT, name="never-uploaded")
    world.time.sleep(500)
    for name in ("older", "newer"):
        world.s3[EAST].place(object_key(world.announce(CONTENT, name=name)), CONTENT)
        world.time.sleep(100)
    world.s3[WEST].down = True
    sweep(world)
    metrics = world.log.metrics()
    assert (metrics["DocumentsPending"], metrics["PendingSeconds"]) == (2, 200)


def test_sweep_sends_one_request_to_a_region_that_does_not_respond(world: World) -> None:
    for number in range(5):
        world.s3[EAST].place(object_key(world.announce(CONTENT, name=f"doc-{number}")), CONTENT)
    world.time.sleep(60)
    world.s3[WEST].down = True
    sweep(world)
    assert world.s3[WEST].calls == ["head_object"]


def test_sweep_leaves_recent_uploads_to_the_function_of_their_event(world: World) -> None:
    content = bytes(PART_SIZE)
    key = world.announce(content)
    world.s3[EAST].place(object_key(key), content)
    mark_stored(world, key)
    world.time.sleep(26)
    sweep(world)
    assert "put_object" not in world.s3[WEST].calls
    world.time.sleep(4)
    sweep(world)
    assert statuses(world, key) == ["final"]
    assert world.log.metrics()["DocumentsCopied"] == 1


def test_sweep_does_not_read_what_the_function_of_the_event_is_reading(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key, checksum=None)
    mark_stored(world, key)
    sweep(world)
    assert "get_object" not in world.s3[EAST].calls
    world.time.sleep(60)
    sweep(world)
    assert statuses(world, key) == ["final"]


@pytest.mark.parametrize(("seconds", "looked_at"), [(900, 5), (30, 2), (5, 0)])
def test_sweep_ends_before_its_time_limit(world: World, seconds: float, looked_at: int) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(9)]
    for key in keys:
        world.place(key)
    mark_stored(world, *keys)
    assert SWEEP_SECONDS < 60
    world.s3[EAST].before = lambda _operation: world.time.sleep(10)
    sweep(world, seconds=seconds)
    assert statuses(world, *keys).count("final") == looked_at
    assert world.log.metrics()["DocumentsPending"] == 9 - looked_at


def test_failed_document_does_not_end_the_sweep(world: World) -> None:
    keys = [world.announce(CONTENT, name=f"doc-{number}") for number in range(2)]
    world.place(keys[1])
    mark_stored(world, *keys)
    world.dynamodb.tables[RECORDS][(f"{TENANT}#{DOCUMENT}#doc-0", f"replica#{EAST}")]["state"] = {"S": "unreadable"}
    world.time.sleep(5)
    sweep(world)
    assert statuses(world, keys[1]) == ["final"]
    assert world.log.metrics() == {
        "StorageFailures": 1,
        "DocumentsConfirmed": 1,
        "DocumentsPending": 1,
        "PendingSeconds": 5,
    }


@pytest.mark.requirement("C3")
def test_announced_documents_of_one_tenant_do_not_delay_an_upload_of_another() -> None:
    world = World(page=1_000)
    for number in range(1_000):
        world.announce(CONTENT, name=f"never-{number}", tenant="busy-clinic")
    lost_event, early_end = (world.announce(CONTENT, name=name) for name in ("lost-event", "early-end"))
    for key in (lost_event, early_end):
        world.place(key)
    mark_stored(world, early_end)
    world.time.sleep(60)
    world.dynamodb.calls.clear()
    sweep(world)
    assert statuses(world, lost_event, early_end) == ["final", "final"]
    assert world.s3[EAST].calls.count("head_object") == CHECKS_PER_TENANT + 2
    assert len(world.dynamodb.calls) < 4 * CHECKS_PER_TENANT


def test_pending_documents_of_one_tenant_do_not_delay_those_of_another(world: World) -> None:
    backlog = [world.announce(CONTENT, name=f"doc-{number}", tenant="busy-clinic") for number in range(20)]
    key = world.announce(CONTENT)
    for one in (*backlog, key):
        world.place(one)
    mark_stored(world, *backlog, key)
    world.s3[EAST].before = lambda _operation: world.time.sleep(20)
    sweep(world)
    assert statuses(world, key) == ["final"]


def test_document_that_is_never_uploaded_is_checked_a_few_times(world: World) -> None:
    key = world.announce(CONTENT)
    for _ in range(25 * 60):
        world.time.sleep(60)
        sweep(world)
    assert statuses(world, key) == ["entered-in-error"]
    assert world.s3[EAST].calls.count("head_object") == len(CHECKS)
    assert world.listed() == {}


@pytest.mark.requirement("C5")
@pytest.mark.parametrize("ahead", [-7, 7, 31_536_000])
def test_wrong_clock_confirms_nothing_and_is_counted(world: World, ahead: int) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    stored = dict(world.dynamodb.tables[RECORDS])
    world.dynamodb.time = lambda: world.time.now().timestamp() - ahead
    with pytest.raises(UnfinishedEventError):
        world.report(key)
    world.sweep()
    assert world.dynamodb.tables[RECORDS] == stored
    assert world.log.metrics() == {"WrongClock": 2, "DocumentsPending": 0, "PendingSeconds": 0}
    metrics = [line for line in world.log.lines() if "WrongClock" in line]
    assert {line["service"] for line in metrics} == {"patient-api"}
    assert not [line for line in world.log.messages() if line["message"] == "unexpected exception"]
    world.dynamodb.time = lambda: world.time.now().timestamp()
    # Lambda delivers the event again.
    world.report(key)
    assert world.status(key) == "final"


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_sweep_with_a_wrong_clock_publishes_the_pending_documents(world: World, ahead: int) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    mark_stored(world, key)
    stored = world.time.now().timestamp()
    world.time.sleep(max(ahead, 0) + 90)
    world.dynamodb.time = lambda: world.time.now().timestamp() - ahead
    world.sweep()
    metrics = world.log.metrics()
    assert metrics["DocumentsPending"] == 1
    now = world.dynamodb.time()
    # The measurement of the error is a lower bound, to a second.
    assert metrics["PendingSeconds"] == pytest.approx(max(now - stored, 0), abs=1.1)


def test_clock_is_checked_without_a_request(world: World) -> None:
    key = world.announce(CONTENT)
    world.place(key)
    world.dynamodb.calls.clear()
    world.report(key)
    assert [name for name, _ in world.dynamodb.calls if name == "get_item"] == []
