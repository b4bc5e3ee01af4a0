"""Uploads in parts."""

from collections.abc import Mapping
from typing import Any

import pytest

from patient_api.contract.keys import awaited_partition, pending_partition
from patient_api.documents.lifecycle import State
from patient_api.documents.reference import UPLOAD, object_key
from patient_api.documents.storage import PART_SIZE
from patient_api.errors import (
    Conflict,
    StorageFault,
    Unprocessable,
)
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import AUDIT
from unit.patient_api.fakes.documents import CONTENT, EAST, WEST, Api, World, announcement, fail, offered_parts


def test_long_document_is_uploaded_in_parts(world: World, api: Api) -> None:
    content = bytes(2 * PART_SIZE + 5)
    key, resource = api.create(announcement(content))
    parts = offered_parts(resource)
    assert [(part["number"], part["size"]) for part in parts] == [(1, PART_SIZE), (2, PART_SIZE), (3, 5)]
    assert all(f"ContentLength={part['size']}" in part["address"] for part in parts)
    ((upload, begun),) = world.s3[EAST].uploads.items()
    assert begun["request"]["SSEKMSKeyId"] == f"arn:key-{EAST}"
    assert world.replica(key).upload == upload

    begun["parts"] = {1: content[:PART_SIZE], 2: content[:PART_SIZE], 3: b"123"}
    with pytest.raises(Conflict, match="should be: 3"):
        api.complete(key)
    begun["parts"][3] = content[:5]
    assert api.complete(key)["docStatus"] == "preliminary"
    assert world.s3[EAST].objects[object_key(key)][0].content == content
    assert world.listed() == {key.id: f"$platform#pending#{EAST}"}
    outcomes = [(item["outcome"], item["entity"]) for item in world.dynamodb.items(AUDIT)]
    assert sorted(outcomes) == [
        ("refused", f"DocumentReference/{key.id}"),
        *[("success", f"DocumentReference/{key.id}")] * 3,
    ]
    assert api.complete(key)["docStatus"] == "preliminary"
    again = [item for item in world.dynamodb.items(AUDIT) if item["outcome"] == "success"]
    assert len(again) == 4, "a response without an audit event"
    world.report(key)
    assert api.complete(key)["docStatus"] == "final"


def test_upload_to_one_region_is_completed_in_the_other(world: World, api: Api) -> None:
    content = bytes(PART_SIZE + 1)
    key, _ = api.create(announcement(content))
    (begun,) = world.s3[EAST].uploads.values()
    begun["parts"] = {1: content[:PART_SIZE], 2: content[:1]}
    Api(world, WEST).complete(key)
    assert object_key(key) in world.s3[EAST].objects
    world.place(key, content, checksum=None)
    world.report(key)
    assert world.status(key) == "final"


def test_aborted_upload_cannot_be_completed(world: World, api: Api) -> None:
    key, _ = api.create(announcement(bytes(PART_SIZE + 1)))
    world.s3[EAST].uploads.clear()
    with pytest.raises(Conflict, match="create the document again"):
        api.complete(key)


def test_document_without_parts_cannot_be_completed(api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    with pytest.raises(Unprocessable):
        api.complete(key)


def begin(world: World, api: Api, content: bytes) -> RecordKey:
    """Create a document, and send its parts to us-east-1."""
    key, _ = api.create(announcement(content), idempotency_key="key-1")
    (begun,) = world.s3[EAST].uploads.values()
    begun["parts"] = {1: content[:PART_SIZE], 2: content[PART_SIZE:]}
    return key


def test_refused_completion_leaves_no_pending_document(world: World, api: Api) -> None:
    """The alarm on pending documents would stay on for a day, although nothing is there to be confirmed."""
    content = bytes(PART_SIZE + 1)
    key = begin(world, api, content)
    world.time.sleep(1800)
    world.s3[EAST].before = lambda operation: fail(operation, "complete_multipart_upload")
    with pytest.raises(StorageFault):
        api.complete(key)
    world.s3[EAST].before = lambda _operation: None
    assert world.listed() == {key.id: awaited_partition(EAST)}
    world.time.sleep(60)
    world.sweep()
    metrics = world.log.metrics()
    assert (metrics["DocumentsPending"], metrics["PendingSeconds"]) == (0, 0)
    assert world.listed() == {key.id: awaited_partition(EAST)}


def test_object_whose_completion_was_cut_short_is_found_by_the_next_sweep(world: World, api: Api) -> None:
    content = bytes(PART_SIZE + 1)
    key = begin(world, api, content)
    world.time.sleep(1800)
    world.sweep()

    def end(_operation: str, request: Mapping[str, Any]) -> None:
        if request.get("Item", {}).get("state") == {"S": State.STORED}:
            raise KeyboardInterrupt

    world.dynamodb.before = end
    with pytest.raises(KeyboardInterrupt):
        api.complete(key)
    world.dynamodb.before = lambda _operation, _request: None
    world.s3[WEST].place(object_key(key), content)
    world.time.sleep(60)
    world.sweep()
    assert world.status(key) == "final"


def test_repeated_completion_finds_an_object_whose_event_was_lost(world: World, api: Api) -> None:
    content = bytes(PART_SIZE + 1)
    key = begin(world, api, content)
    world.s3[EAST].uploads.clear()
    world.place(key, content, checksum=None)
    api.complete(key)
    assert world.listed() == {key.id: pending_partition(EAST)}


def test_repeated_request_begins_an_upload_again_that_has_ended(world: World, api: Api) -> None:
    """S3 aborts uploads after some days."""
    content = bytes(PART_SIZE + 1)
    key = begin(world, api, content)
    (first,) = world.s3[EAST].uploads
    api.create(announcement(content), idempotency_key="key-1")
    assert list(world.s3[EAST].uploads) == [first]

    world.s3[EAST].uploads.clear()
    _, resource = api.create(announcement(content), idempotency_key="key-1")
    (second,) = world.s3[EAST].uploads
    assert second != first
    assert f"UploadId={second}" in offered_parts(resource)[0]["address"]
    assert world.replica(key).upload == second


@pytest.mark.parametrize("quarantined", [False, True])
def test_repeated_request_returns_no_parts_once_the_object_is_there(world: World, api: Api, quarantined: bool) -> None:
    content = bytes(PART_SIZE + 1)
    key = begin(world, api, content)
    world.s3[EAST].uploads.clear()
    stored = world.s3[EAST].place(object_key(key), content, checksum=None)
    stored.tags = {"quarantine": "true"} if quarantined else {}
    _, resource = api.create(announcement(content), idempotency_key="key-1")
    assert UPLOAD not in str(resource)
    assert world.listed() == {key.id: (awaited_partition if quarantined else pending_partition)(EAST)}
