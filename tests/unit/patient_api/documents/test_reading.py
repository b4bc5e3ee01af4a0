"""Reads of documents, from the region that has them."""

from dataclasses import replace
from typing import Any

import pytest

from patient_api.documents.reference import object_key
from patient_api.errors import (
    Forbidden,
    NotFound,
    NotYetHere,
    Stale,
    StorageFault,
    Unprocessable,
)
from unit.patient_api.fakes.aws import AUDIT
from unit.patient_api.fakes.documents import (
    CONTENT,
    EAST,
    TENANT,
    WEST,
    Api,
    World,
    announcement,
    fail,
    request,
)


def test_final_document_is_read_in_its_confirmed_version(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    held = {region: world.s3[region].place(object_key(key), CONTENT) for region in (EAST, WEST)}
    world.report(key)
    world.s3[EAST].place(object_key(key), b"written later")
    world.dynamodb.tables[AUDIT].clear()

    attachment = api.read(key)["content"][0]["attachment"]
    assert attachment["url"].startswith(f"https://s3.example/get_object?Bucket=documents-{EAST},Key={object_key(key)}")
    assert f"VersionId={held[EAST].version}&expires=300" in attachment["url"]
    (event,) = world.dynamodb.items(AUDIT)
    assert (event["action"], event["record"]) == ("R", f"{TENANT}#Patient/pat-1")
    assert event["entity"] == f"DocumentReference/{key.id}"

    world.s3[EAST].down = True
    assert f"VersionId={held[WEST].version}&" in api.read(key)["content"][0]["attachment"]["url"]
    world.s3[EAST].down = False
    world.s3[EAST].objects.clear()
    assert f"Bucket=documents-{WEST}" in api.read(key)["content"][0]["attachment"]["url"]


def test_newer_object_with_the_same_bytes_replaces_a_missing_version(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.place(key)
    world.report(key)
    world.s3[WEST].objects.clear()
    world.s3[EAST].objects[object_key(key)] = []
    newer = world.s3[EAST].place(object_key(key), CONTENT)
    assert f"VersionId={newer.version}&" in api.read(key)["content"][0]["attachment"]["url"]
    world.s3[EAST].objects[object_key(key)] = []
    world.s3[EAST].place(object_key(key), b"x" * len(CONTENT))
    assert "url" not in api.read(key)["content"][0]["attachment"]


def test_unreachable_final_document_raises_storage_fault(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.place(key)
    world.report(key)
    world.s3[EAST].down = world.s3[WEST].down = True
    with pytest.raises(StorageFault):
        api.read(key)


@pytest.mark.parametrize("region", [EAST, WEST])
def test_preliminary_document_is_read_from_the_region_that_has_it(world: World, api: Api, region: str) -> None:
    key, _ = api.create(announcement(CONTENT))
    assert "url" not in api.read(key)["content"][0]["attachment"]
    world.s3[region].place(object_key(key), CONTENT)
    assert f"Bucket=documents-{region}" in api.read(key)["content"][0]["attachment"]["url"]


def test_document_in_error_has_no_url(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.s3[EAST].place(object_key(key), b"other")
    world.report(key)
    resource = api.read(key)
    assert resource["status"] == "entered-in-error"
    assert "url" not in resource["content"][0]["attachment"]


def test_read_of_a_document_in_error_finds_bytes_that_have_arrived_since(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.time.sleep(25 * 3600)
    world.sweep()
    assert api.read(key)["docStatus"] == "entered-in-error"
    assert world.listed() == {}
    world.place(key)
    assert "url" not in api.read(key)["content"][0]["attachment"]
    world.time.sleep(60)
    world.sweep()
    assert api.read(key)["docStatus"] == "final"


def test_read_of_a_quarantined_document_does_not_list_it_again(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.s3[EAST].place(object_key(key), b"other")
    world.report(key)
    assert api.read(key)["docStatus"] == "entered-in-error"
    world.s3[EAST].objects[object_key(key)][0].tags.clear()
    assert api.read(key)["docStatus"] == "entered-in-error"
    world.s3[EAST].down = True
    assert api.read(key)["docStatus"] == "entered-in-error"
    assert world.listed() == {}


def test_read_that_cannot_be_audited_returns_no_url(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.s3[EAST].place(object_key(key), CONTENT)
    world.dynamodb.before = lambda operation, _request: fail(operation, "put_item")
    with pytest.raises(StorageFault):
        api.read(key)
    assert world.s3[EAST].calls == []


def test_read_below_minimum_version_raises_not_yet_here(world: World, api: Api) -> None:
    key, resource = api.create(announcement(CONTENT))
    assert api.read(key, minimum_version=f'W/"{resource["meta"]["versionId"]}"')["id"] == key.id
    later = replace(world.clock(EAST).next(), region=WEST)
    with pytest.raises(NotYetHere):
        api.read(key, minimum_version=f'W/"{later}"')


def test_document_on_its_way_raises_not_yet_here(world: World, api: Api) -> None:
    later = f'W/"{replace(world.clock(EAST).next(), region=WEST)}"'
    key, resource = api.create(announcement(CONTENT))
    unknown = replace(key, id="00000000-0000-4000-8000-000000000000")
    for document in (key, unknown):
        with pytest.raises(NotYetHere):
            api.read(document, if_match=later)
        with pytest.raises(NotYetHere):
            api.complete(document, minimum_version=later)
    with pytest.raises(NotFound):
        api.complete(unknown)
    with pytest.raises(Unprocessable, match="in parts"):
        api.complete(key, minimum_version=f'W/"{resource["meta"]["versionId"]}"')


def test_read_with_stale_if_match_is_refused(world: World, api: Api) -> None:
    key, made = api.create(announcement(CONTENT))
    tag = f'"{made["meta"]["versionId"]}"'
    assert api.read(key, if_match=tag)["id"] == key.id
    with pytest.raises(Stale):
        api.read(key, if_match='"1"')
    (refused,) = world.dynamodb.items(AUDIT, outcome="refused")
    assert (refused["status"], refused["entity"]) == ("412", f"DocumentReference/{key.id}")


def test_documents_of_other_tenants_are_not_found(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    world.dynamodb.tables[AUDIT].clear()
    for call in (api.service.read, api.service.complete):
        with pytest.raises(NotFound):
            call(request(tenant="south-clinic"), key.id)
    assert [event["outcome"] for event in world.dynamodb.items(AUDIT)] == ["refused"] * 2


@pytest.mark.parametrize(("rights", "call"), [("ru", "create"), ("cu", "read"), ("cr", "complete")])
def test_each_operation_needs_its_right(api: Api, rights: str, call: str) -> None:
    key, _ = api.create(announcement(CONTENT))
    arguments: tuple[Any, ...] = (request(announcement(CONTENT), rights=rights),)
    with pytest.raises(Forbidden):
        getattr(api.service, call)(*arguments, *([] if call == "create" else [key.id]))
