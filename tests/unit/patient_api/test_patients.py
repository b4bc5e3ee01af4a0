"""Patients over HTTP: responses, stored items and audit events."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from patient_api.contract.audit import SHARDS
from unit.patient_api.fakes.api import BASE, UNKNOWN, Platform, claims, patient
from unit.patient_api.fakes.aws import AUDIT, PEER, RECORDS, REGION, START_MS, client_error, key_of


def test_create_returns_the_stamped_resource(platform: Platform) -> None:
    reply = platform.create(patient(id="mine", birthDate="1970-01-01", meta={"tag": [{"code": "a"}], "versionId": "9"}))
    made = reply.json
    assert list(made) == ["resourceType", "id", "meta", "name", "birthDate"]
    assert made["id"] != "mine"
    assert made["meta"] == {
        "tag": [{"code": "a"}],
        "versionId": f"{START_MS}-0000-{REGION}",
        "lastUpdated": "2027-01-15T08:00:00.000Z",
    }
    version = made["meta"]["versionId"]
    assert reply.headers["location"] == f"{BASE}/Patient/{made['id']}/_history/{version}"
    assert reply.headers["etag"] == f'W/"{version}"'
    assert reply.headers["last-modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert reply.headers["content-type"] == "application/fhir+json"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.requirement("R1.2")
def test_write_is_one_transaction_of_version_head_lineage_tokens_and_audit_item(platform: Platform) -> None:
    made = platform.create().json
    ((operation, request),) = platform.dynamodb.calls
    assert operation == "transact_write_items"
    conditions = [put["Put"].get("ConditionExpression") for put in request["TransactItems"]]
    assert conditions == ["attribute_not_exists(pk)"] * 3 + [None] * 2 + ["attribute_not_exists(pk)"]
    head, lineage, version = platform.dynamodb.items(RECORDS, version=made["meta"]["versionId"])
    stamp = made["meta"]["versionId"]
    assert head["pk"] == version["pk"] == f"north-clinic#Patient#{made['id']}"
    assert (head["sk"], version["sk"]) == (f"head#{REGION}", f"v#{stamp}")
    assert head["version"] == head["updated"] == version["version"] == stamp
    assert head["update_shard"].startswith("north-clinic#Patient#")
    assert "update_shard" not in version
    assert json.loads(head["resource"]) == made
    names = {"pk", "version", "digest"}
    assert lineage == {name: version[name] for name in names} | {"sk": f"l#{stamp}"}


def test_resource_is_returned_unchanged(platform: Platform) -> None:
    extensions = [f'{{"url":"urn:x","valueDecimal":{number}}}' for number in ("1.10", "-0.0", "1E+2", "1" + "0" * 20)]
    elements = '"name":[{"family":"\u00e9\\u00e9\\n\\"/"}],"extension":[' + ",".join(extensions) + "]"
    body = '{"resourceType":"Patient", ' + elements + "}"
    made = platform.call("POST", "/fhir/Patient", body)
    read = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert read.body == made.body
    assert read.body.endswith("," + elements.replace("\\u00e9", "\u00e9") + "}")


def test_read_costs_one_query_and_one_audit_event(platform: Platform) -> None:
    made = platform.create()
    read = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert (read.status, read.body) == (200, made.body)
    for name in ("etag", "last-modified", "content-type"):
        assert read.headers[name] == made.headers[name]
    assert "location" not in read.headers
    assert [operation for operation, _ in platform.dynamodb.calls[1:]].count("query") == 1
    assert [operation for operation, _ in platform.dynamodb.calls[1:]].count("put_item") == 1


def test_update_adds_a_version_and_keeps_the_old_one(platform: Platform) -> None:
    made = platform.create()
    reply = platform.put(made.location, made.headers["etag"], active=True)
    first, second = made.json["meta"]["versionId"], reply.json["meta"]["versionId"]
    assert second > first
    versions = [item for item in platform.dynamodb.items(RECORDS) if item["sk"].startswith("v#")]
    (head,) = platform.dynamodb.items(RECORDS, sk=f"head#{REGION}")
    assert [item["version"] for item in versions] == [first, second]
    assert [item.get("replaces") for item in versions] == [None, first]
    assert json.loads(versions[0]["resource"]) == made.json
    assert json.loads(head["resource"]) == reply.json
    assert len(platform.dynamodb.calls) == 2
    assert platform.call("GET", made.location).body == reply.body


def test_update_follows_a_version_from_a_region_whose_clock_is_ahead(platform: Platform, other: Platform) -> None:
    platform.now_ms += 50_000
    made = platform.create()
    platform.now_ms -= 50_000
    other.dynamodb.tables = platform.dynamodb.tables
    reply = other.put(made.location, made.headers["etag"])
    assert reply.json["meta"]["versionId"] == f"{START_MS + 50_000}-0001-{REGION}"
    assert other.create().json["meta"]["versionId"] > reply.json["meta"]["versionId"]


@pytest.mark.requirement("C5", "C6")
@pytest.mark.parametrize("ahead_ms", [6_500, 31_536_000_000, -6_500])
def test_write_under_a_wrong_clock_returns_503_and_is_audited_and_counted(platform: Platform, ahead_ms: int) -> None:
    made = platform.create()
    records = dict(platform.records)
    platform.ahead_ms = ahead_ms
    path, match = made.location, {"if-match": made.headers["etag"]}
    for reply in (
        platform.call("POST", "/fhir/Patient", patient()),
        platform.update(path, match),
        platform.patch(path, {"active": True}),
        platform.call("DELETE", path),
    ):
        assert reply.outcome == (503, "transient")
        assert reply.headers["retry-after"] == "2"
    assert platform.records == records
    assert len(platform.audit(outcome="failure", status="503")) == 4
    assert platform.log.metrics() == {"WrongClock": 4.0}
    lines = [line for line in platform.log.messages() if line["message"] == "wrong clock"]
    assert all(5_000 < abs(line["ahead_ms"]) <= abs(ahead_ms) for line in lines)
    assert len(lines) == 4
    platform.ahead_ms = 0
    assert platform.put(path, match["if-match"]).json["meta"]["versionId"] == f"{START_MS}-0001-{REGION}"


def test_record_of_a_wrong_clock_accepts_all_changes_at_once(platform: Platform) -> None:
    future = START_MS + 31_536_000_000
    path, etag = platform.made()
    first = etag.removeprefix('W/"').removesuffix('"')
    platform.arrive(path, f"{future}-0000-{PEER}", first)
    merged = platform.update(path, {"if-match": f'W/"{future}-0000-{PEER}"', "merges": etag}, active=True)
    assert (merged.status, merged.json["meta"]["versionId"]) == (200, f"{future}-0001-{REGION}")
    assert platform.patch(path, {"active": False}).json["meta"]["versionId"] == f"{future}-0002-{REGION}"
    deleted = platform.call("DELETE", path)
    assert (deleted.status, deleted.headers["etag"]) == (204, f'W/"{future}-0003-{REGION}"')
    restored = platform.put(path, deleted.headers["etag"])
    assert restored.json["meta"]["versionId"] == f"{future}-0004-{REGION}"
    assert platform.log.metrics() == {"FutureVersions": 4.0}
    assert platform.create().json["meta"]["versionId"].startswith(f"{START_MS}-")


@pytest.mark.parametrize(
    ("named", "region", "status"),
    [("if-match", REGION, 412), ("merges", REGION, 422), ("if-match", PEER, 503), ("merges", PEER, 503)],
)
def test_invented_version_from_the_future_has_no_effect(
    platform: Platform, named: str, region: str, status: int
) -> None:
    path, etag = platform.made()
    invented = f'W/"{START_MS + 31_536_000_000}-0000-{region}"'
    headers = {"if-match": etag} | {named: invented}
    before = dict(platform.records)
    assert platform.update(path, headers).status == status
    assert platform.records == before
    assert platform.log.metrics() == {}
    assert platform.put(path, etag).json["meta"]["versionId"] < str(START_MS + 1)


def test_ordinary_write_sends_no_request_for_the_time(platform: Platform) -> None:
    path, etag = platform.made()
    platform.put(path, etag)
    assert [operation for operation, _ in platform.dynamodb.calls] == ["transact_write_items"] * 2


def test_first_write_of_a_container_measures_the_time_first() -> None:
    platform = Platform(measured=False)
    platform.ahead_ms = 7_000
    assert platform.call("POST", "/fhir/Patient", patient()).outcome == (503, "transient")
    assert [operation for operation, _ in platform.dynamodb.calls] == ["get_item", "put_item"]
    assert platform.records == {}
    platform.close()


@pytest.mark.parametrize("if_match", ['W/"9999999999999-0000-us-east-1"', 'W/"1"', f'W/"{START_MS}-0001-us-east-1"'])
def test_stale_version_returns_412_and_is_audited(platform: Platform, if_match: str) -> None:
    key = platform.create().json["id"]
    before = dict(platform.records)
    reply = platform.update(f"/fhir/Patient/{key}", {"if-match": if_match})
    assert reply.outcome == (412, "conflict")
    assert platform.records == before
    (refusal,) = platform.audit(outcome="refused")
    assert (refusal["status"], refusal["action"], refusal["record"]) == ("412", "U", f"north-clinic#Patient/{key}")
    assert platform.create().json["meta"]["versionId"] < "9"


def test_read_of_unknown_patient_is_audited(platform: Platform) -> None:
    reply = platform.call("GET", f"/fhir/Patient/{UNKNOWN}")
    assert reply.outcome == (404, "not-found")
    granted, amended = sorted(platform.audit(), key=lambda item: item["outcome"], reverse=True)
    assert (granted["outcome"], amended["outcome"]) == ("success", "refused")
    assert amended["amends"] == granted["event"]
    assert amended["status"] == "404"


@pytest.mark.trap(42)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_invalid_id_is_not_audited(platform: Platform, method: str) -> None:
    body = patient() if method == "PUT" else None
    assert platform.call(method, "/fhir/Patient/Anna Zubrowka", body).status == 404
    (item,) = platform.audit()
    assert (item["target"], item["status"]) == ("Patient", "404")
    assert "Zubrowka" not in json.dumps(item)


@pytest.mark.requirement("R1.3")
@pytest.mark.trap(9)
def test_audit_item_has_every_attribute(platform: Platform) -> None:
    made = platform.create().json
    (item,) = platform.audit()
    shard = item["pk"].rsplit("#", 1)[1]
    assert 0 <= int(shard) < SHARDS
    assert item == {
        "pk": f"north-clinic#2027-01-15T08#{shard}",
        "sk": f"2027-01-15T08:00:00.000Z#{item['event']}",
        "record": f"north-clinic#Patient/{made['id']}",
        "at": "2027-01-15T08:00:00.000Z",
        "event": item["event"],
        "tenant": "north-clinic",
        "subject": "app-1",
        "action": "C",
        "interaction": "create",
        "outcome": "success",
        "status": "201",
        "region": REGION,
        "source_ip": "203.0.113.9",
        "request_id": "request-1",
        "version": made["meta"]["versionId"],
    }


@pytest.mark.trap(9)
def test_audit_items_are_spread_over_the_shards(platform: Platform) -> None:
    for _ in range(20 * SHARDS):
        platform.create()
    counts = Counter(item["pk"] for item in platform.audit())
    assert len(counts) == SHARDS
    assert max(counts.values()) < 50


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("code", ["AccessDeniedException", "ProvisionedThroughputExceededException"])
def test_read_that_cannot_be_audited_returns_no_data(platform: Platform, code: str) -> None:
    made = platform.create(patient(name=[{"family": "Zubrowka"}]))
    platform.dynamodb.faults["put_item"] = [client_error(code)]
    reply = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert reply.status == 503
    assert "Zubrowka" not in reply.body
    assert len(platform.audit(action="R", outcome="success")) == 0


def test_failed_read_is_audited_as_failure(platform: Platform) -> None:
    key = platform.create().json["id"]
    platform.dynamodb.faults["query"] = [client_error("InternalServerError")]
    assert platform.call("GET", f"/fhir/Patient/{key}").status == 503
    (failure,) = platform.audit(outcome="failure")
    (granted,) = platform.audit(action="R", outcome="success")
    assert failure["amends"] == granted["event"]


@pytest.mark.parametrize(("other", "status"), [({}, 200), ({"subject": {"S": "app-2"}}, 503)])
def test_event_with_the_id_of_another_is_refused_and_one_that_an_attempt_wrote_is_accepted(
    platform: Platform, other: dict[str, Any], status: int
) -> None:
    key = platform.create().json["id"]

    def before(operation: str, request: Mapping[str, Any]) -> None:
        if operation == "put_item":
            platform.dynamodb.before = lambda *_: None
            platform.dynamodb.tables[AUDIT][key_of(request["Item"])] = request["Item"] | other

    platform.dynamodb.before = before
    assert platform.call("GET", f"/fhir/Patient/{key}").status == status
    assert len(platform.audit(action="R", outcome="success")) == 1


def test_refusal_that_cannot_be_audited_returns_503(platform: Platform) -> None:
    platform.dynamodb.faults["put_item"] = [client_error("AccessDeniedException")]
    assert platform.call("POST", "/fhir/Patient", patient(), authorizer=claims(scope="")).status == 503


def test_every_key_begins_with_the_tenant(platform: Platform) -> None:
    platform.create()
    platform.call("GET", f"/fhir/Patient/{UNKNOWN}")
    for table in (RECORDS, AUDIT):
        assert all(item["pk"].startswith("north-clinic#") for item in platform.dynamodb.items(table))
