"""A creation that is repeated creates once."""

import base64
import gzip
import json

import pytest

from unit.patient_api.whole_api import Platform, claims, outcome, patient

KEY = {"idempotency-key": "d41d8cd9-8f00"}


def test_a_repeated_request_gets_the_first_answer(platform: Platform) -> None:
    first = platform.create(patient(gender="other"), headers=KEY)
    etag, path = first.headers["etag"], f"/fhir/Patient/{first.json['id']}"
    platform.call("PUT", path, patient(id=first.json["id"]), headers={"if-match": etag})
    again = platform.create(patient(gender="other"), headers=KEY)
    assert (again.status, again.body, again.headers) == (201, first.body, first.headers)
    assert len(platform.versions()) == 2


def test_a_compressed_request_is_repeated_whenever_it_was_compressed(platform: Platform) -> None:
    body = json.dumps(patient(gender="other")).encode()
    headers = {**KEY, "content-encoding": "gzip"}
    one, two = (base64.b64encode(gzip.compress(body, mtime=time)).decode() for time in (1, 2))
    first = platform.create(one, headers=headers, encoded=True)
    assert platform.create(two, headers=headers, encoded=True).body == first.body
    assert platform.create(base64.b64encode(body).decode(), headers=KEY, encoded=True).body == first.body
    other = base64.b64encode(gzip.compress(body + b" ")).decode()
    assert platform.call("POST", "/fhir/Patient", other, headers=headers, encoded=True).status == 422
    assert len(platform.versions()) == 1


def test_another_request_under_the_same_key_is_refused(platform: Platform) -> None:
    platform.create(patient(gender="other"), headers=KEY)
    reply = platform.call("POST", "/fhir/Patient", patient(gender="male"), headers=KEY)
    assert (reply.status, outcome(reply.json)) == (422, "invalid")
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["422"]


def test_keys_belong_to_a_tenant_and_its_subject(platform: Platform) -> None:
    callers = [claims(), claims(sub="app-2"), claims(tenant="south-clinic")]
    assert len({platform.create(authorizer=caller, headers=KEY).json["id"] for caller in callers}) == 3


def test_the_other_region_gives_the_same_record(platform: Platform) -> None:
    first = platform.create(headers=KEY)
    other = Platform()
    assert other.create(headers=KEY).json["id"] == first.json["id"]
    other.dynamodb.tables = platform.dynamodb.tables
    assert other.create(headers=KEY).body == first.body
    other.close()


@pytest.mark.parametrize("key", ["", "é", "a" * 256, "a\nb"])
def test_keys_out_of_form(platform: Platform, key: str) -> None:
    assert platform.call("POST", "/fhir/Patient", patient(), headers={"idempotency-key": key}).status == 400


def identified(value: str) -> dict[str, object]:
    return patient(identifier=[{"system": "urn:mrn", "value": value}])


def unless(value: str) -> dict[str, str]:
    return {"if-none-exist": f"identifier=urn:mrn|{value}"}


def test_a_record_that_matches_is_given_instead(platform: Platform) -> None:
    first = platform.create(identified("1"), headers=unless("1"))
    again = platform.call("POST", "/fhir/Patient", identified("1"), headers=unless("1"))
    assert (again.status, again.body) == (200, first.body)
    assert len(platform.versions()) == 1
    assert [item["record"] for item in platform.audit(action="R")] == [f"north-clinic#Patient/{first.json['id']}"]


def test_an_outcome_says_whether_anything_was_written(platform: Platform) -> None:
    said = []
    for status in (201, 200):
        headers = {**unless("1"), "prefer": "return=OperationOutcome"}
        reply = platform.call("POST", "/fhir/Patient", identified("1"), headers=headers)
        assert reply.status == status
        said.append(reply.json["issue"][0]["diagnostics"])
    assert said == ["The record was written.", "A record that matches exists already."]


def test_more_than_one_match_is_refused(platform: Platform) -> None:
    platform.create(identified("1"))
    platform.create(identified("1"))
    reply = platform.call("POST", "/fhir/Patient", identified("1"), headers=unless("1"))
    assert (reply.status, outcome(reply.json)) == (412, "conflict")


def test_two_regions_that_create_at_once_create_one_record(platform: Platform) -> None:
    other = Platform()
    one, two = platform.create(identified("1"), headers=unless("1")), other.create(identified("1"), headers=unless("1"))
    assert one.json["id"] == two.json["id"]
    other.close()


def test_who_no_longer_matches_is_somebody_else(platform: Platform) -> None:
    first = platform.create(identified("1"), headers=unless("1"))
    path = f"/fhir/Patient/{first.json['id']}"
    changed = {**identified("2"), "id": first.json["id"]}
    assert platform.call("PUT", path, changed, headers={"if-match": first.headers["etag"]}).status == 200
    second = platform.create(identified("1"), headers=unless("1"))
    assert second.json["id"] != first.json["id"]


def test_it_needs_the_right_to_search_and_to_read(platform: Platform) -> None:
    for scope in ("system/Patient.c", "system/Patient.cr", "system/Patient.cs"):
        reply = platform.call(
            "POST", "/fhir/Patient", identified("1"), headers=unless("1"), authorizer=claims(scope=scope)
        )
        assert reply.status == 403
    assert platform.create(identified("1"), headers=unless("1"), authorizer=claims(scope="user/Patient.crs"))


@pytest.mark.parametrize("criteria", ["", "shoe=42", "identifier=", "name:exact=x", "%ff"])
def test_criteria_out_of_form(platform: Platform, criteria: str) -> None:
    reply = platform.call("POST", "/fhir/Patient", patient(), headers={"if-none-exist": criteria})
    assert reply.status == 400
    assert not platform.versions()


def test_one_way_at_a_time(platform: Platform) -> None:
    assert platform.call("POST", "/fhir/Patient", patient(), headers={**KEY, **unless("1")}).status == 400
