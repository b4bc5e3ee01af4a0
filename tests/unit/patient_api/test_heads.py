"""Heads: late replication does not allow stale writes, and a head that lags does not prevent valid ones."""

import pytest

from patient_api.store.model import head_item, version_of_item
from unit.patient_api.fakes.api import Platform, head_key, id_of, patient
from unit.patient_api.fakes.aws import PEER, REGION, START_MS


def replicate_late_heads(platform: Platform) -> None:
    """Replicate the other region's head of each record, which is at the first version."""
    for item in platform.versions():
        first = version_of_item(item)
        if first.replaces is None:
            platform.add(head_item(first, PEER))


@pytest.mark.trap(1, 2)
def test_late_head_of_the_other_region_does_not_allow_stale_writes(platform: Platform) -> None:
    path, etag = platform.made()
    second = platform.put(path, etag, active=True)
    replicate_late_heads(platform)
    assert platform.update(path, {"if-match": etag}).status == 412
    assert platform.patch(path, {"gender": "other"}, {"if-match": etag}).status == 412
    assert platform.call("GET", path).body == second.body
    found = platform.call("GET", "/fhir/Patient", query="family=example").json
    assert [entry["resource"]["active"] for entry in found["entry"]] == [True]
    third = platform.put(path, second.headers["etag"], active=False)
    assert platform.records[head_key(path)]["version"]["S"] == third.json["meta"]["versionId"]


@pytest.mark.trap(1)
@pytest.mark.parametrize("query", ["family=example", "birthdate=1970-01-01", "_id={id}", "_sort=-_lastUpdated"])
def test_search_does_not_find_deleted_patient_after_late_head(platform: Platform, query: str) -> None:
    path, etag = platform.made(birthDate="1970-01-01")
    query = query.format(id=id_of(path))
    assert platform.call("GET", "/fhir/Patient", query=query).json["total"] == 1
    assert platform.call("DELETE", path, headers={"if-match": etag}).status == 204
    replicate_late_heads(platform)
    found = platform.call("GET", "/fhir/Patient", query=query).json
    assert (found["total"], "entry" in found) == (0, False)


@pytest.mark.trap(1)
def test_conditional_create_ignores_deleted_patient_after_late_head(platform: Platform) -> None:
    path, _ = platform.made()
    condition = {"if-none-exist": "family=example"}
    assert platform.call("POST", "/fhir/Patient", patient(), headers=condition).status == 200
    assert platform.call("DELETE", path).status == 204
    replicate_late_heads(platform)
    again = platform.create(headers=condition)
    assert again.json["id"] != id_of(path)


@pytest.mark.trap(1)
def test_version_from_the_other_region_can_be_replaced_before_the_head_follows(platform: Platform) -> None:
    path, etag = platform.made()
    theirs = f"{START_MS + 5}-0000-{PEER}"
    platform.arrive(path, theirs, etag[3:-1], active=True)
    reply = platform.put(path, f'W/"{theirs}"', active=False)
    assert platform.records[head_key(path)]["version"]["S"] == reply.json["meta"]["versionId"]


@pytest.mark.trap(1)
@pytest.mark.parametrize(("moment", "time"), [("query", 1), ("get_item", 1), ("transact_write_items", 2)])
def test_write_succeeds_while_the_head_moves(platform: Platform, moment: str, time: int) -> None:
    path, etag = platform.made()
    theirs = f"{START_MS + 5}-0000-{PEER}"
    platform.arrive(path, theirs, etag[3:-1], active=True)
    head = head_item(version_of_item(platform.versions()[-1]), REGION)
    seen: list[str] = []

    def reconciled(operation: str, _request: object) -> None:
        seen.append(operation)
        if operation == moment and seen.count(moment) == time:
            platform.records[head_key(path)] = head

    platform.dynamodb.before = reconciled
    platform.put(path, f'W/"{theirs}"', active=False)
    assert seen.count(moment) >= time


def test_version_without_head_can_be_replaced(platform: Platform) -> None:
    path, etag = platform.made()
    del platform.records[head_key(path)]
    reply = platform.put(path, etag, active=True)
    assert platform.call("GET", path).body == reply.body
