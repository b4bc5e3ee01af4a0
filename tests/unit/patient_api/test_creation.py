"""Requests to create a record with an Idempotency-Key: the same request creates one record."""

import base64
import gzip
import json
from typing import Any

import pytest

from unit.patient_api.fakes.api import Platform, claims, patient

KEY = {"idempotency-key": "d41d8cd9-8f00"}


def test_repeated_request_returns_the_first_response(platform: Platform) -> None:
    first = platform.create(patient(gender="other"), headers=KEY)
    platform.put(first.location, first.headers["etag"])
    again = platform.create(patient(gender="other"), headers=KEY)
    assert (again.status, again.body, again.headers) == (201, first.body, first.headers)
    assert len(platform.versions()) == 2


def test_compressed_request_is_repeated_with_other_compressed_bytes(platform: Platform) -> None:
    body = json.dumps(patient(gender="other")).encode()
    headers = {**KEY, "content-encoding": "gzip"}
    one, two = (base64.b64encode(gzip.compress(body, mtime=time)).decode() for time in (1, 2))
    first = platform.create(one, headers=headers, encoded=True)
    assert platform.create(two, headers=headers, encoded=True).body == first.body
    assert platform.create(base64.b64encode(body).decode(), headers=KEY, encoded=True).body == first.body
    other = base64.b64encode(gzip.compress(body + b" ")).decode()
    assert platform.call("POST", "/fhir/Patient", other, headers=headers, encoded=True).status == 422
    assert len(platform.versions()) == 1


def test_another_request_with_the_same_key_returns_422(platform: Platform) -> None:
    platform.create(patient(gender="other"), headers=KEY)
    reply = platform.call("POST", "/fhir/Patient", patient(gender="male"), headers=KEY)
    assert reply.outcome == (422, "invalid")
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["422"]


def test_keys_belong_to_a_tenant_and_its_subject(platform: Platform) -> None:
    callers = [claims(), claims(sub="app-2"), claims(tenant="south-clinic")]
    assert len({platform.create(authorizer=caller, headers=KEY).json["id"] for caller in callers}) == 3


def iam(identity: str, account: str = "123456789012") -> dict[str, Any]:
    """Return what API Gateway's IAM authorizer passes on."""
    return {"iam": {"accountId": account, "userArn": f"arn:aws:{identity.format(account)}"}}


def test_sessions_of_an_assumed_role_share_their_keys(platform: Platform) -> None:
    pods = ["sts::{}:assumed-role/app/pod-1", "sts::{}:assumed-role/app/pod-2"]
    replies = [platform.create(authorizer=iam(pod), headers=KEY) for pod in pods]
    assert replies[0].body == replies[1].body
    assert len(platform.versions()) == 1
    # The audit trail has the session.
    subjects = [item["subject"] for item in platform.audit(action="C")]
    assert sorted(subjects) == [f"arn:aws:{pod.format('123456789012')}" for pod in pods]


def test_other_iam_identities_have_keys_of_their_own(platform: Platform) -> None:
    callers = [
        iam("sts::{}:assumed-role/app/pod-1"),
        iam("sts::{}:assumed-role/app-2/pod-1"),
        iam("sts::{}:assumed-role/app/pod-1", account="210987654321"),
        iam("sts::{}:federated-user/app"),
        iam("iam::{}:user/app/pod-1"),
        iam("iam::{}:user/app/pod-2"),
    ]
    assert len({platform.create(authorizer=caller, headers=KEY).json["id"] for caller in callers}) == 6


def test_regions_create_the_same_record(platform: Platform, other: Platform) -> None:
    first = platform.create(headers=KEY)
    assert other.create(headers=KEY).json["id"] == first.json["id"]
    other.dynamodb.tables = platform.dynamodb.tables
    assert other.create(headers=KEY).body == first.body


@pytest.mark.parametrize("key", ["", "é", "a" * 256, "a\nb"])
def test_invalid_key_returns_400(platform: Platform, key: str) -> None:
    assert platform.call("POST", "/fhir/Patient", patient(), headers={"idempotency-key": key}).status == 400
