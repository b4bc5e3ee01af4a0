"""Uploads in parts."""

import pytest

from patient_api.documents.multipart import PART_SIZE
from patient_api.documents.reference import object_key
from patient_api.errors import (
    Conflict,
    Unprocessable,
)
from unit.patient_api.fakes.aws import AUDIT
from unit.patient_api.fakes.documents import CONTENT, EAST, WEST, Api, World, announcement, offered_parts


def test_long_document_is_uploaded_in_parts(world: World, api: Api) -> None:
    content = bytes(2 * PART_SIZE + 5)
    key, resource = api.create(announcement(content))
    parts = offered_parts(resource)
    assert [(part["number"], part["size"]) for part in parts] == [(1, PART_SIZE), (2, PART_SIZE), (3, 5)]
    assert all(f"ContentLength={part['size']}" in part["address"] for part in parts)
    ((upload, begun),) = world.s3[EAST].uploads.items()
    assert begun["request"]["SSEKMSKeyId"] == f"arn:key-{EAST}"
    assert world.marker(key)["upload"] == upload

    begun["parts"] = {1: content[:PART_SIZE], 2: content[:PART_SIZE], 3: b"123"}
    with pytest.raises(Conflict, match="should be: 3"):
        api.complete(key)
    begun["parts"][3] = content[:5]
    assert api.complete(key)["docStatus"] == "preliminary"
    assert world.s3[EAST].objects[object_key(key)][0].content == content
    assert world.marker(key)["completed"].startswith("2027-01-15T08:00")
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
    assert world.marker(key)["update_shard"] == f"$platform#pending#{EAST}"


def test_aborted_upload_cannot_be_completed(world: World, api: Api) -> None:
    key, _ = api.create(announcement(bytes(PART_SIZE + 1)))
    world.s3[EAST].uploads.clear()
    with pytest.raises(Conflict, match="create the document again"):
        api.complete(key)


def test_document_without_parts_cannot_be_completed(api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    with pytest.raises(Unprocessable):
        api.complete(key)
