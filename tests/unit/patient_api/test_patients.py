"""Patients over HTTP: what a caller sees, what is stored, what the trail says."""

import json

import pytest

from unit.patient_api.fakes import AUDIT, RECORDS, REGION, START_MS, client_error
from unit.patient_api.whole_api import BASE, Platform, claims, outcome, patient

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def test_create(platform: Platform) -> None:
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
def test_a_write_is_one_transaction_with_its_version_head_and_audit_item(platform: Platform) -> None:
    made = platform.create().json
    ((operation, request),) = platform.dynamodb.calls
    assert operation == "transact_write_items"
    conditions = [put["Put"].get("ConditionExpression") for put in request["TransactItems"]]
    assert conditions == ["attribute_not_exists(pk)"] * 2 + [None] * 2 + ["attribute_not_exists(pk)"]
    head, version = platform.dynamodb.items(RECORDS, version=made["meta"]["versionId"])
    stamp = made["meta"]["versionId"]
    assert head["pk"] == version["pk"] == f"north-clinic#Patient#{made['id']}"
    assert (head["sk"], version["sk"]) == (f"head#{REGION}", f"v#{stamp}")
    assert head["version"] == head["updated"] == version["version"] == stamp
    assert head["update_shard"].startswith("north-clinic#Patient#")
    assert "update_shard" not in version
    assert json.loads(head["resource"]) == made


def test_what_came_comes_back_exactly(platform: Platform) -> None:
    extensions = [f'{{"url":"urn:x","valueDecimal":{number}}}' for number in ("1.10", "-0.0", "1E+2", "1" + "0" * 20)]
    elements = '"name":[{"family":"\u00e9\\u00e9\\n\\"/"}],"extension":[' + ",".join(extensions) + "]"
    body = '{"resourceType":"Patient", ' + elements + "}"
    made = platform.call("POST", "/fhir/Patient", body)
    read = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert read.body == made.body
    assert read.body.endswith("," + elements.replace("\\u00e9", "\u00e9") + "}")


def test_read(platform: Platform) -> None:
    made = platform.create()
    read = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert (read.status, read.body) == (200, made.body)
    for name in ("etag", "last-modified", "content-type"):
        assert read.headers[name] == made.headers[name]
    assert "location" not in read.headers
    assert [operation for operation, _ in platform.dynamodb.calls[1:]].count("query") == 1
    assert [operation for operation, _ in platform.dynamodb.calls[1:]].count("put_item") == 1


def test_update_adds_a_version_and_keeps_the_old(platform: Platform) -> None:
    made = platform.create()
    key = made.json["id"]
    reply = platform.call(
        "PUT", f"/fhir/Patient/{key}", patient(id=key, active=True), headers={"If-Match": made.headers["etag"]}
    )
    assert reply.status == 200
    first, second = made.json["meta"]["versionId"], reply.json["meta"]["versionId"]
    assert second > first
    versions = [item for item in platform.dynamodb.items(RECORDS) if item["sk"].startswith("v#")]
    (head,) = platform.dynamodb.items(RECORDS, sk=f"head#{REGION}")
    assert [item["version"] for item in versions] == [first, second]
    assert [item.get("replaces") for item in versions] == [None, first]
    assert json.loads(versions[0]["resource"]) == made.json
    assert json.loads(head["resource"]) == reply.json
    assert len(platform.dynamodb.calls) == 2
    assert platform.call("GET", f"/fhir/Patient/{key}").body == reply.body


def test_an_update_follows_a_version_from_a_region_whose_clock_is_ahead(platform: Platform) -> None:
    platform.now_ms += 50_000
    made = platform.create()
    platform.now_ms -= 50_000
    other = Platform()
    other.dynamodb.tables = platform.dynamodb.tables
    key = made.json["id"]
    reply = other.call("PUT", f"/fhir/Patient/{key}", patient(id=key), headers={"if-match": made.headers["etag"]})
    assert reply.json["meta"]["versionId"] == f"{START_MS + 50_000}-0001-{REGION}"
    assert other.create().json["meta"]["versionId"] > reply.json["meta"]["versionId"]
    other.close()


def test_a_version_too_far_ahead_is_not_built_upon(platform: Platform) -> None:
    made = platform.create()
    key = made.json["id"]
    other = Platform()
    other.dynamodb.tables = platform.dynamodb.tables
    other.now_ms -= 60_001
    reply = other.call("PUT", f"/fhir/Patient/{key}", patient(id=key), headers={"if-match": made.headers["etag"]})
    assert (reply.status, outcome(reply.json)) == (503, "transient")
    (line,) = [line for line in other.lines() if line["message"] == "clock ahead"]
    assert line["ahead_ms"] == 60_001
    assert len(platform.audit(outcome="failure", status="503")) == 1
    other.close()


@pytest.mark.parametrize("if_match", ['W/"9999999999999-0000-us-east-1"', 'W/"1"', f'W/"{START_MS}-0001-us-east-1"'])
def test_a_stale_version_is_refused_and_on_record(platform: Platform, if_match: str) -> None:
    key = platform.create().json["id"]
    before = dict(platform.dynamodb.tables[RECORDS])
    reply = platform.call("PUT", f"/fhir/Patient/{key}", patient(id=key), headers={"if-match": if_match})
    assert (reply.status, outcome(reply.json)) == (412, "conflict")
    assert platform.dynamodb.tables[RECORDS] == before
    (refusal,) = platform.audit(outcome="refused")
    assert (refusal["status"], refusal["action"], refusal["record"]) == ("412", "U", f"north-clinic#Patient/{key}")
    assert platform.create().json["meta"]["versionId"] < "9"


def test_the_same_version_cannot_be_replaced_twice(platform: Platform) -> None:
    made = platform.create()
    key = made.json["id"]
    replies = [
        platform.call("PUT", f"/fhir/Patient/{key}", patient(id=key), headers={"if-match": made.headers["etag"]}).status
        for _ in range(2)
    ]
    assert replies == [200, 412]


@pytest.mark.parametrize(
    ("if_match", "status"),
    [(None, 428), ("", 400), ("W/1", 400), ('w/"1"', 400), ('W/"a b"', 400), ('"a" "b"', 400), (", ,", 400)],
)
def test_if_match_in_the_wrong_form(platform: Platform, if_match: str | None, status: int) -> None:
    key = platform.create().json["id"]
    headers = {} if if_match is None else {"if-match": if_match}
    assert platform.call("PUT", f"/fhir/Patient/{key}", patient(id=key), headers=headers).status == status


def test_update_creates_nothing(platform: Platform) -> None:
    headers = {"if-match": f'W/"{START_MS}-0000-us-east-1"'}
    reply = platform.call("PUT", f"/fhir/Patient/{UNKNOWN_ID}", patient(id=UNKNOWN_ID), headers=headers)
    assert (reply.status, outcome(reply.json)) == (405, "not-supported")
    assert reply.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert not platform.dynamodb.tables[RECORDS]
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["405"]


def test_a_read_of_nothing_is_on_record(platform: Platform) -> None:
    reply = platform.call("GET", f"/fhir/Patient/{UNKNOWN_ID}")
    assert (reply.status, outcome(reply.json)) == (404, "not-found")
    granted, amended = sorted(platform.audit(), key=lambda item: item["outcome"], reverse=True)
    assert (granted["outcome"], amended["outcome"]) == ("success", "refused")
    assert amended["amends"] == granted["event"]
    assert amended["status"] == "404"


@pytest.mark.trap(42)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_name_in_place_of_an_id_does_not_get_into_the_trail(platform: Platform, method: str) -> None:
    body = patient() if method == "PUT" else None
    assert platform.call(method, "/fhir/Patient/Anna Zubrowka", body).status == 404
    (item,) = platform.audit()
    assert (item["record"], item["status"]) == ("north-clinic#Patient", "404")
    assert "Zubrowka" not in json.dumps(item)


@pytest.mark.requirement("R1.3")
@pytest.mark.trap(9)
def test_an_audit_item_says_who_did_what_from_where(platform: Platform) -> None:
    made = platform.create().json
    (item,) = platform.audit()
    shard = item["pk"].rsplit("#", 1)[1]
    assert 0 <= int(shard) < 16
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
    for _ in range(200):
        platform.create()
    assert len({item["pk"] for item in platform.audit()}) == 16


@pytest.mark.parametrize(
    ("method", "scope"), [("POST", "system/Patient.ru"), ("GET", "system/Patient.cu"), ("PUT", "system/Patient.cr")]
)
def test_what_the_scope_does_not_grant_is_refused_and_on_record(platform: Platform, method: str, scope: str) -> None:
    path = "/fhir/Patient" if method == "POST" else f"/fhir/Patient/{UNKNOWN_ID}"
    reply = platform.call(method, path, patient(), authorizer=claims(scope=scope))
    assert (reply.status, outcome(reply.json)) == (403, "forbidden")
    assert not platform.dynamodb.tables[RECORDS]
    assert [operation for operation, _ in platform.dynamodb.calls] == ["put_item"]
    (item,) = platform.audit()
    assert (item["outcome"], item["status"], item["subject"]) == ("refused", "403", "app-1")


def test_without_an_authorizer_nobody_gets_in(platform: Platform) -> None:
    reply = platform.call("GET", f"/fhir/Patient/{UNKNOWN_ID}", authorizer={})
    assert (reply.status, outcome(reply.json)) == (401, "login")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert [item["tenant"] for item in platform.audit()] == ["$unknown"]


def test_the_tenant_comes_from_the_token_alone(platform: Platform) -> None:
    key = platform.create(patient(), authorizer=claims("north-clinic")).json["id"]
    headers = {"x-tenant": "north-clinic", "tenant": "north-clinic"}
    other = claims("south-clinic")
    assert platform.call("GET", f"/fhir/Patient/{key}", headers=headers, authorizer=other).status == 404
    (version,) = (item["version"]["S"] for item in platform.versions())
    update = platform.call(
        "PUT",
        f"/fhir/Patient/{key}",
        patient(id=key),
        headers={**headers, "if-match": f'W/"{version}"'},
        authorizer=other,
    )
    assert update.status == 405
    assert all(item["pk"].startswith("north-clinic#") for item in platform.dynamodb.items(RECORDS))


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("code", ["AccessDeniedException", "ProvisionedThroughputExceededException"])
def test_a_read_that_cannot_be_recorded_gives_no_data(platform: Platform, code: str) -> None:
    made = platform.create(patient(name=[{"family": "Zubrowka"}]))
    platform.dynamodb.faults["put_item"] = [client_error(code)]
    reply = platform.call("GET", f"/fhir/Patient/{made.json['id']}")
    assert reply.status == 503
    assert "Zubrowka" not in reply.body
    assert len(platform.audit(action="R", outcome="success")) == 0


def test_a_read_that_fails_is_on_record_as_failed(platform: Platform) -> None:
    key = platform.create().json["id"]
    platform.dynamodb.faults["query"] = [client_error("InternalServerError")]
    assert platform.call("GET", f"/fhir/Patient/{key}").status == 503
    (failure,) = platform.audit(outcome="failure")
    (granted,) = platform.audit(action="R", outcome="success")
    assert failure["amends"] == granted["event"]


def test_an_audit_item_that_an_earlier_attempt_has_kept_is_no_fault(platform: Platform) -> None:
    key = platform.create().json["id"]
    platform.dynamodb.faults["put_item"] = [client_error("ConditionalCheckFailedException")]
    assert platform.call("GET", f"/fhir/Patient/{key}").status == 200


def test_a_refusal_that_cannot_be_recorded_is_a_fault(platform: Platform) -> None:
    platform.dynamodb.faults["put_item"] = [client_error("AccessDeniedException")]
    assert platform.call("POST", "/fhir/Patient", patient(), authorizer=claims(scope="")).status == 503


def test_no_key_is_ever_outside_the_tenant(platform: Platform) -> None:
    platform.create()
    platform.call("GET", f"/fhir/Patient/{UNKNOWN_ID}")
    for table in (RECORDS, AUDIT):
        assert all(item["pk"].startswith("north-clinic#") for item in platform.dynamodb.items(table))
