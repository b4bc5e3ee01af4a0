"""Creation of documents."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from patient_api.contract.keys import PATIENT
from patient_api.documents.reference import object_key
from patient_api.documents.storage import PART_SIZE
from patient_api.errors import (
    Conflict,
    Malformed,
    NotYetHere,
    StorageFault,
    Unprocessable,
    WrongClock,
)
from patient_api.store.model import RecordKey
from unit.patient_api.fakes.aws import AUDIT, RECORDS, START_MS, client_error
from unit.patient_api.fakes.documents import (
    CONTENT,
    EAST,
    TENANT,
    UPLOAD,
    WEST,
    Api,
    World,
    announcement,
    fail,
    offer,
    request,
)
from unit.patient_api.fakes.s3 import sha256


def test_new_document_is_preliminary_and_has_an_upload_url(world: World, api: Api) -> None:
    key, resource = api.create(announcement(CONTENT, docStatus="final"))
    assert (resource["id"], resource["docStatus"], resource["status"]) == (key.id, "preliminary", "current")
    extensions = offer(resource)
    assert extensions[0] == {"url": "method", "valueCode": "PUT"}
    address = extensions[1]["valueUrl"]
    for signed in (
        f"Bucket=documents-{EAST}",
        f"ChecksumSHA256={sha256(CONTENT)}",
        f"ContentLength={len(CONTENT)}",
        "ContentType=application/pdf",
        "IfNoneMatch=*",
        f"Key=documents/{TENANT}/{key.id}",
        f"SSEKMSKeyId=arn:key-{EAST}",
        "ServerSideEncryption=aws:kms",
        "expires=900",
    ):
        assert signed in address
    assert [extension["valueString"] for extension in extensions if extension["url"] == "header"] == [
        "Content-Type: application/pdf",
        "If-None-Match: *",
        f"x-amz-checksum-sha256: {sha256(CONTENT)}",
        "x-amz-server-side-encryption: aws:kms",
        f"x-amz-server-side-encryption-aws-kms-key-id: arn:key-{EAST}",
    ]
    assert extensions[-1] == {"url": "expires", "valueInstant": "2027-01-15T08:15:00.000Z"}


def test_upload_url_is_not_stored(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT))
    assert UPLOAD not in json.dumps(world.dynamodb.items(RECORDS))
    assert UPLOAD not in json.dumps(api.read(key))


def test_version_replica_token_and_event_are_one_transaction(world: World, api: Api) -> None:
    before = len(world.dynamodb.items(RECORDS))
    world.dynamodb.before = lambda operation, _request: fail(operation, "transact_write_items")
    with pytest.raises(StorageFault):
        api.create(announcement(CONTENT))
    assert len(world.dynamodb.items(RECORDS)) == before

    world.dynamodb.before = lambda _operation, _request: None
    world.dynamodb.tables[AUDIT].clear()
    key, resource = api.create(announcement(CONTENT))
    new = [item["sk"] for item in world.dynamodb.items(RECORDS) if key.id in item["pk"]]
    stamp = resource["meta"]["versionId"]
    assert new == [f"head#{EAST}", f"l#{stamp}", f"replica#{EAST}", f"v#{stamp}"]
    assert f"{TENANT}#DocumentReference?patient#{'0' * 32}" in {item["pk"] for item in world.dynamodb.items(RECORDS)}
    assert world.listed() == {key.id: f"$platform#awaited#{EAST}"}
    (event,) = world.dynamodb.items(AUDIT)
    assert event["record"] == f"{TENANT}#Patient/pat-1"
    assert event["entity"] == f"DocumentReference/{key.id}"
    assert (event["action"], event["status"]) == ("C", "201")


@pytest.mark.parametrize(("patient", "text"), [("pat-2", "Minimum-Version"), ("pat-3", "deleted")])
def test_document_needs_a_patient(world: World, api: Api, patient: str, text: str) -> None:
    world.add_patient("pat-3", deleted=True)
    with pytest.raises(Unprocessable, match=text) as caught:
        api.create(announcement(CONTENT, patient=patient))
    assert caught.value.expression == "DocumentReference.subject"
    (event,) = world.dynamodb.items(AUDIT)
    assert (event["outcome"], event["record"]) == ("refused", f"{TENANT}#Patient/{patient}")
    assert world.s3[EAST].uploads == {}


def test_document_needs_a_patient_of_its_tenant(api: Api) -> None:
    with pytest.raises(Unprocessable):
        api.service.create(request(announcement(CONTENT), tenant="south-clinic"))


@pytest.mark.parametrize("url", [UPLOAD, "urn:healthcare-dr:stored"])
def test_extensions_of_the_server_are_rejected(api: Api, url: str) -> None:
    body = announcement(CONTENT)
    body["content"][0]["attachment"]["extension"].append({"url": url, "valueString": "x"})
    with pytest.raises(Unprocessable, match="given by the server"):
        api.create(body)


def test_new_document_in_error_is_rejected(api: Api) -> None:
    with pytest.raises(Unprocessable):
        api.create(announcement(CONTENT, status="entered-in-error"))


def test_conditional_creation_is_rejected(api: Api) -> None:
    with pytest.raises(Malformed):
        api.create(announcement(CONTENT), if_none_exist="identifier=1")


def test_creation_by_a_wrong_clock_is_refused_and_audited(world: World, api: Api) -> None:
    api.create(announcement(CONTENT))
    world.dynamodb.time = lambda: world.time.now().timestamp() - 7
    with pytest.raises(WrongClock):
        api.create(announcement(CONTENT))
    failures = [item for item in world.dynamodb.tables[AUDIT].values() if item["outcome"] == {"S": "failure"}]
    assert [item["status"] for item in failures] == [{"N": "503"}]


def test_repeated_request_returns_the_document_with_a_new_url(world: World, api: Api) -> None:
    key, first = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.time.sleep(60)
    again, second = api.create(announcement(CONTENT), idempotency_key="key-1")
    assert again == key
    assert second["meta"] == first["meta"]
    assert offer(second)[-1] == {"url": "expires", "valueInstant": "2027-01-15T08:16:00.000Z"}
    assert api.create(announcement(CONTENT), idempotency_key="key-2")[0] != key


def test_repeated_request_for_a_final_document_returns_no_url(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.place(key)
    world.report(key)
    _, again = api.create(announcement(CONTENT), idempotency_key="key-1")
    assert again["docStatus"] == "final"
    assert UPLOAD not in json.dumps(again)


def test_key_of_another_document_is_rejected(api: Api) -> None:
    api.create(announcement(CONTENT), idempotency_key="key-1")
    with pytest.raises(Unprocessable, match="used with another request"):
        api.create(announcement(b"another"), idempotency_key="key-1")


def test_key_of_a_concurrent_other_request_is_rejected(world: World, api: Api) -> None:
    raced = False

    def race(operation: str, _request: object) -> None:
        nonlocal raced
        if operation == "transact_write_items" and not raced:
            raced = True
            api.create(announcement(b"another"), idempotency_key="key-1")

    world.dynamodb.before = race
    with pytest.raises(Unprocessable, match="used with another request"):
        api.create(announcement(CONTENT), idempotency_key="key-1")
    assert len([item for item in world.dynamodb.items(RECORDS) if item["sk"] == f"replica#{EAST}"]) == 1


def test_keys_belong_to_a_subject(api: Api) -> None:
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    other = request(announcement(CONTENT), idempotency_key="key-1")
    other = replace(other, caller=replace(other.caller, subject="app-2"))
    assert api.service.create(other).version.key != key


def test_request_repeated_in_the_other_region_is_confirmed_there(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.s3[EAST].down = True
    again, resource = Api(world, WEST).create(announcement(CONTENT), idempotency_key="key-1")
    assert again == key
    assert f"Bucket=documents-{WEST}" in offer(resource)[1]["valueUrl"]
    assert world.listed(WEST) == {key.id: f"$platform#awaited#{WEST}"}
    world.s3[EAST].down = False
    world.s3[WEST].place(object_key(key), CONTENT)
    world.report(key, region=WEST)
    assert api.read(key)["docStatus"] == "final"


def test_repeated_request_returns_no_url_once_the_bytes_are_there(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.s3[EAST].place(object_key(key), CONTENT)
    world.s3[WEST].down = True
    world.report(key)
    _, again = api.create(announcement(CONTENT), idempotency_key="key-1")
    assert again["docStatus"] == "preliminary"
    assert UPLOAD not in json.dumps(again)


def test_repeated_request_is_not_disturbed_by_the_confirming_function(world: World, api: Api) -> None:
    key, _ = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.place(key)
    reported = False

    def report(operation: str, _request: object) -> None:
        nonlocal reported
        if operation == "put_item" and not reported:
            reported = True
            world.report(key)

    world.time.sleep(1)
    world.dynamodb.before = report
    _, again = api.create(announcement(CONTENT), idempotency_key="key-1")
    world.dynamodb.before = lambda _operation, _request: None
    assert reported
    assert api.read(key)["docStatus"] == "final"
    assert world.listed() == {}
    assert again["id"] == key.id


def test_losing_concurrent_request_aborts_its_upload(world: World, api: Api) -> None:
    body = announcement(bytes(PART_SIZE + 1))
    raced = False

    def race(operation: str, _request: object) -> None:
        nonlocal raced
        if operation == "transact_write_items" and not raced:
            raced = True
            api.create(body, idempotency_key="key-1")

    world.dynamodb.before = race
    api.create(body, idempotency_key="key-1")
    assert len(world.s3[EAST].uploads) == 1


def test_retry_without_new_addresses_is_audited_as_a_refusal_only(world: World, api: Api) -> None:
    api.create(announcement(CONTENT), idempotency_key="key-1")
    world.dynamodb.tables[AUDIT].clear()

    def contend(operation: str, request: Mapping[str, Any]) -> None:
        if operation == "put_item" and request["Item"]["sk"]["S"].startswith("replica#"):
            raise client_error("ConditionalCheckFailedException")

    world.dynamodb.before = contend
    with pytest.raises(Conflict):
        api.create(announcement(CONTENT), idempotency_key="key-1")
    (event,) = world.dynamodb.items(AUDIT)
    assert (event["outcome"], event["status"]) == ("refused", "409")


def test_document_of_a_patient_on_its_way_raises_not_yet_here(world: World, api: Api) -> None:
    known = f'W/"{START_MS}-0000-{WEST}"'
    with pytest.raises(NotYetHere):
        api.create(announcement(CONTENT, patient="pat-9"), minimum_version=known)
    with pytest.raises(NotYetHere):
        api.create(announcement(CONTENT), minimum_version=known)
    world.add_patient("pat-9")
    here = world.records_of(EAST).newest(RecordKey(TENANT, PATIENT, "pat-9"))
    assert here is not None
    assert api.create(announcement(CONTENT, patient="pat-9"), minimum_version=f'W/"{here.stamp}"')
