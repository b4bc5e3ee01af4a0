"""Heads: late replication does not allow stale writes, and a head that lags does not prevent valid ones."""

import pytest

from patient_api.store.model import head_item, version_of_item
from unit.patient_api.changes import arrive, head_key, made, patched, put
from unit.patient_api.fakes import PEER, RECORDS, REGION, START_MS
from unit.patient_api.whole_api import Platform, patient


def replicate_late_heads(platform: Platform) -> None:
    """Replicate the other region's head of each record, which is at the first version."""
    for item in platform.versions():
        first = version_of_item(item)
        if first.replaces is None:
            arrived = head_item(first, PEER)
            platform.dynamodb.tables[RECORDS][arrived["pk"]["S"], arrived["sk"]["S"]] = arrived


@pytest.mark.trap(1, 2)
def test_late_head_of_the_other_region_does_not_allow_stale_writes(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    replicate_late_heads(platform)
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
def test_search_does_not_find_deleted_patient_after_late_head(platform: Platform, query: str) -> None:
    path, etag = made(platform, birthDate="1970-01-01")
    query = query.format(id=path.rpartition("/")[2])
    assert platform.call("GET", "/fhir/Patient", query=query).json["total"] == 1
    assert platform.call("DELETE", path, headers={"if-match": etag}).status == 204
    replicate_late_heads(platform)
    found = platform.call("GET", "/fhir/Patient", query=query).json
    assert (found["total"], "entry" in found) == (0, False)


@pytest.mark.trap(1)
def test_conditional_create_ignores_deleted_patient_after_late_head(platform: Platform) -> None:
    path, _ = made(platform)
    condition = {"if-none-exist": "family=example"}
    assert platform.call("POST", "/fhir/Patient", patient(), headers=condition).status == 200
    assert platform.call("DELETE", path).status == 204
    replicate_late_heads(platform)
    again = platform.create(headers=condition)
    assert again.json["id"] != path.rpartition("/")[2]


@pytest.mark.trap(1)
def test_version_from_the_other_region_can_be_replaced_before_the_head_follows(platform: Platform) -> None:
    path, etag = made(platform)
    theirs = f"{START_MS + 5}-0000-{PEER}"
    arrive(platform, path, theirs, etag[3:-1], active=True)
    reply = put(platform, path, f'W/"{theirs}"', active=False)
    assert platform.dynamodb.tables[RECORDS][head_key(path)]["version"]["S"] == reply.json["meta"]["versionId"]


@pytest.mark.trap(1)
@pytest.mark.parametrize(("moment", "time"), [("query", 1), ("get_item", 1), ("transact_write_items", 2)])
def test_write_succeeds_while_the_head_moves(platform: Platform, moment: str, time: int) -> None:
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


def test_version_without_head_can_be_replaced(platform: Platform) -> None:
    path, etag = made(platform)
    del platform.dynamodb.tables[RECORDS][head_key(path)]
    reply = put(platform, path, etag, active=True)
    assert platform.call("GET", path).body == reply.body
