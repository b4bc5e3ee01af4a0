"""What a body may be, and what is answered when it is not."""

import base64
from typing import Any

import pytest

from patient_api.http.request import MAX_BODY
from unit.patient_api.fakes import RECORDS
from unit.patient_api.whole_api import Platform, outcome, patient


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (None, "application/fhir+json", 400),
        ("{", "application/fhir+json", 400),
        ("[]", "application/fhir+json", 400),
        ('"Patient"', "application/fhir+json", 400),
        ('{"resourceType":"Patient","a":NaN}', "application/json", 400),
        ('{"resourceType":"Patient","a":"\\ud800"}', "application/json", 400),
        ("\ud800", "application/json", 400),
        ("{}", "application/json", 422),
        ('{"resourceType":"Observation"}', "application/json", 422),
        ('{"resourceType":"Patient","meta":1}', "application/json", 422),
        ('{"resourceType":"Patient"}', "text/plain", 415),
        ('{"resourceType":"Patient"}', "application/json; charset=latin-1", 415),
        ('{"resourceType":"Patient"}', "", 415),
        ('{"resourceType":"Patient"}', 'Application/FHIR+JSON; Charset="UTF-8"', 201),
        ('{"resourceType":"Patient"}', "application/json", 201),
        (" " * (MAX_BODY + 1), "application/json", 413),
        ("é" * (MAX_BODY // 2 + 1), "application/json", 413),
    ],
)
def test_bodies(platform: Platform, body: str | None, content_type: str, status: int) -> None:
    reply = platform.call("POST", "/fhir/Patient", body, headers={"content-type": content_type})
    assert reply.status == status
    if status != 201:
        outcome(reply.json)
        assert not platform.dynamodb.tables[RECORDS]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (base64.b64encode(b'{"resourceType":"Patient"}').decode(), 201),
        (base64.b64encode(b'{"a":"\xff"}').decode(), 400),
        ("%%%", 400),
        (base64.b64encode(b" " * (MAX_BODY + 1)).decode(), 413),
        ("A" * (6 * 1024 * 1024), 413),
    ],
)
def test_encoded_bodies(platform: Platform, body: str, status: int) -> None:
    assert platform.call("POST", "/fhir/Patient", body, encoded=True).status == status


def test_the_largest_body_fits_into_its_items(platform: Platform) -> None:
    frame = '{"resourceType":"Patient","address":[{"text":""}]}'
    end = '"}]}'
    largest = frame[: -len(end)] + "é" * ((MAX_BODY - len(frame)) // 2) + "x" * ((MAX_BODY - len(frame)) % 2) + end
    assert len(largest.encode()) == MAX_BODY
    assert platform.call("POST", "/fhir/Patient", largest).status == 201


@pytest.mark.parametrize("body", [patient(), patient(id="other"), patient(id=1)])
def test_an_update_under_another_id(platform: Platform, body: dict[str, Any]) -> None:
    made = platform.create()
    path = f"/fhir/Patient/{made.json['id']}"
    assert platform.call("PUT", path, body, headers={"if-match": made.headers["etag"]}).status == 400
