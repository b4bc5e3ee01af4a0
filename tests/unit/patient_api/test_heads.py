"""Heads: what late news from the other region does not do, and what a head that lags behind does not prevent."""

import pytest

from patient_api.store.model import head_item, version_of_item
from unit.patient_api.changes import arrive, head_key, made, patched, put
from unit.patient_api.fakes import PEER, RECORDS, REGION, START_MS
from unit.patient_api.whole_api import Platform, patient


def late(platform: Platform) -> None:
    """The other region's head of each record reaches this one, and says that the record is at its first version."""
    for item in platform.versions():
        first = version_of_item(item)
        if first.replaces is None:
            arrived = head_item(first, PEER)
            platform.dynamodb.tables[RECORDS][arrived["pk"]["S"], arrived["sk"]["S"]] = arrived


@pytest.mark.trap(1, 2)
def test_a_late_head_of_the_other_region_lets_no_stale_write_pass(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    late(platform)
    body = patient(id=path.rpartition("/")[2])
    assert platform.call("PUT", path, body, headers={"if-match": etag}).status == 412
    replaced = patched(platform, path, etag, {"op": "add", "path": "/gender", "value": "other"})
    assert replaced.status == 412
    assert platform.call("GET", path).body == second.body
    found = platform.call("GET", "/fhir/Patient", query="family=example").json
    assert [entry["resource"]["active"] for entry in found["entry"]] == [True]
    third = put(platform, path, second.headers["etag"], active=False)
    assert platform.dynamodb.tables[RECORDS][head_key(path)]["version"]["S"] == third.json["meta"]["versionId"]


@pytest.mark.trap(1)
@pytest.mark.parametrize("query", ["family=example", "birthdate=1970-01-01", "_id={id}", "_sort=-_lastUpdated"])
def test_a_deleted_patient_is_not_found_again(platform: Platform, query: str) -> None:
    path, etag = made(platform, birthDate="1970-01-01")
    query = query.format(id=path.rpartition("/")[2])
    assert platform.call("GET", "/fhir/Patient", query=query).json["total"] == 1
    assert platform.call("DELETE", path, headers={"if-match": etag}).status == 204
    late(platform)
    found = platform.call("GET", "/fhir/Patient", query=query).json
    assert (found["total"], "entry" in found) == (0, False)


@pytest.mark.trap(1)
def test_a_deleted_patient_does_not_count_as_there_already(platform: Platform) -> None:
    path, _ = made(platform)
    condition = {"if-none-exist": "family=example"}
    assert platform.call("POST", "/fhir/Patient", patient(), headers=condition).status == 200
    assert platform.call("DELETE", path).status == 204
    late(platform)
    again = platform.create(headers=condition)
    assert again.json["id"] != path.rpartition("/")[2]


@pytest.mark.trap(1)
def test_a_version_from_the_other_region_is_replaced_before_the_head_is_put_to_it(platform: Platform) -> None:
    path, etag = made(platform)
    theirs = f"{START_MS + 5}-0000-{PEER}"
    arrive(platform, path, theirs, etag[3:-1], active=True)
    reply = put(platform, path, f'W/"{theirs}"', active=False)
    assert platform.dynamodb.tables[RECORDS][head_key(path)]["version"]["S"] == reply.json["meta"]["versionId"]


@pytest.mark.trap(1)
@pytest.mark.parametrize(("moment", "time"), [("query", 1), ("get_item", 1), ("transact_write_items", 2)])
def test_a_head_that_is_put_forward_meanwhile_refuses_no_write(platform: Platform, moment: str, time: int) -> None:
    path, etag = made(platform)
    theirs = f"{START_MS + 5}-0000-{PEER}"
    arrive(platform, path, theirs, etag[3:-1], active=True)
    head = head_item(version_of_item(platform.versions()[-1]), REGION)
    seen: list[str] = []

    def reconciled(operation: str, _request: object) -> None:
        seen.append(operation)
        if operation == moment and seen.count(moment) == time:
            platform.dynamodb.tables[RECORDS][head_key(path)] = head

    platform.dynamodb.before = reconciled
    put(platform, path, f'W/"{theirs}"', active=False)
    assert seen.count(moment) >= time


def test_a_version_that_has_no_head_here_can_be_replaced(platform: Platform) -> None:
    path, etag = made(platform)
    del platform.dynamodb.tables[RECORDS][head_key(path)]
    reply = put(platform, path, etag, active=True)
    assert platform.call("GET", path).body == reply.body
