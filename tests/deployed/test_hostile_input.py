"""Invalid requests return the proper 4xx, write nothing, and show no traceback."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from support.platform import REGIONS, Deployed, patient

FHIR = {"Content-Type": "application/fhir+json"}
MARK = "Przhevalsky"
Apis = dict[str, httpx.Client]


def nested(depth: int) -> str:
    extension = '{"url":"urn:x","extension":[' * depth + '{"url":"urn:x","valueCode":"x"}' + "]}" * depth
    return f'{{"resourceType":"Patient","extension":[{extension}]}}'


BODIES: dict[str, tuple[bytes, int]] = {
    "bomb of arrays": (b"[" * 100_000, 400),
    "bomb of objects": (b'{"a":' * 50_000, 400),
    "nested extensions": (nested(80).encode(), 400),
    "six megabytes": (b'{"resourceType":"Patient","text":"' + b"x" * 5_900_000 + b'"}', 413),
    "invalid UTF-8": (b'{"resourceType":"Patient","name":[{"family":"\xff\xfe"}]}', 400),
    "overlong UTF-8": (b'{"resourceType":"Patient","name":[{"family":"\xc0\x80"}]}', 400),
    "half a surrogate": (b'{"resourceType":"Patient","name":[{"family":"\\ud800"}]}', 400),
    "NUL": (b'{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}', 400),
    "control character": (b'{"resourceType":"Patient","name":[{"family":"a\x01b"}]}', 400),
    "duplicate key": (b'{"resourceType":"Patient","gender":"male","gender":"female"}', 400),
    "huge number": (b'{"resourceType":"Patient","multipleBirthInteger":1' + b"0" * 5000 + b"}", 400),
    "huge exponent": (b'{"resourceType":"Patient","multipleBirthInteger":1e999999999}', 422),
    "not a number": (b'{"resourceType":"Patient","multipleBirthInteger":NaN}', 400),
    "unknown element": (b'{"resourceType":"Patient","__proto__":{"admin":true}}', 422),
    "a date that does not exist": (b'{"resourceType":"Patient","birthDate":"2023-02-30"}', 422),
    "empty": (b"", 400),
}


def counted(deployed: Deployed) -> int:
    """Return the number of items of the tenant of these tests."""
    dynamodb = deployed.client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=deployed.names.records_table,
        FilterExpression="begins_with(pk, :tenant)",
        ExpressionAttributeValues={":tenant": {"S": "hostile#"}},
        Select="COUNT",
    )
    return sum(page["Count"] for page in pages)


def refused(answer: httpx.Response) -> None:
    assert "Traceback" not in answer.text
    assert MARK not in answer.text
    assert 400 <= answer.status_code < 500, answer.text
    if answer.headers["content-type"].startswith("application/fhir+json"):
        assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written(deployed: Deployed) -> Iterator[None]:
    """Assert that the tests of this module write nothing."""
    before = counted(deployed)
    yield
    deployed.settle()
    assert counted(deployed) == before


@pytest.fixture(scope="module", params=REGIONS)
def hostile(deployed: Deployed, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Return a client of a tenant without records, for each region in turn."""
    with deployed.api(str(request.param), deployed.token(tenant="hostile")) as client:
        yield client


@pytest.mark.requirement("C5")
@pytest.mark.parametrize("name", BODIES)
def test_invalid_body_is_refused(hostile: httpx.Client, name: str) -> None:
    content, status = BODIES[name]
    answer = hostile.post("/fhir/Patient", content=content, headers=FHIR)
    refused(answer)
    assert answer.status_code == status, answer.text


@pytest.mark.requirement("C5")
@pytest.mark.parametrize(
    "path",
    [
        "../../health", "..%2f..%2fhealth", "%2e%2e/%2e%2e/etc/passwd", "%00", "a%00b", "a%0d%0aSet-Cookie:%20x=1",
        "a" * 65, "hostile%23Patient%231", "1/_history/%2e%2e", "1/_history/" + "9" * 500, "*", "%ff",
    ],
)  # fmt: skip
def test_invalid_path_is_refused(hostile: httpx.Client, path: str) -> None:
    address = f"{hostile.base_url}/fhir/Patient/{path}"
    # Request(...) keeps the path: httpx normalizes the paths of client.get().
    answer = hostile.send(httpx.Request("GET", address, headers=hostile.headers))
    assert answer.status_code in {400, 404, 405} or answer.json() == {"status": "healthy"}
    assert "set-cookie" not in answer.headers
    assert "Traceback" not in answer.text


@pytest.mark.requirement("C5")
@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": 'W/"x", W/"y"'},
        {"If-Match": "'; DROP TABLE patients; --"},
        {"If-Match": 'W/"' + "9" * 5000 + '"'},
        {"Content-Type": "application/fhir+xml"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Accept": "text/html"},
        {"Idempotency-Key": "x" * 256},
        {"If-None-Exist": "identifier=" + "x" * 5000},
        {"If-None-Exist": "_has:Observation:patient:code=1"},
    ],
    ids=str,
)
def test_invalid_header_is_refused(hostile: httpx.Client, headers: dict[str, str]) -> None:
    if "If-Match" in headers:
        body = patient(id="5d2c2d0e-0000-4000-8000-000000000000")
        answer = hostile.put(f"/fhir/Patient/{body['id']}", json=body, headers=FHIR | headers)
    else:
        answer = hostile.post("/fhir/Patient", content=json.dumps(patient()), headers=FHIR | headers)
    refused(answer)


@pytest.mark.requirement("C5")
@pytest.mark.parametrize(
    "query",
    [
        "_cursor=" + base64.urlsafe_b64encode(b'[9999999999,["0"]]').decode() + "." + "A" * 43,
        "_cursor=.", "_cursor=" + "A" * 9000, "_count=-1", "_count=1e3", "name:exact=x", "shoe=42",
        "birthdate=2023-02-30", "birthdate=ne2020", "birthdate=" + "9" * 400, "_sort=name", "_id=%00",
        "gender=" + ",".join(["male"] * 500), "&".join(["name=ab"] * 200), "name=%ff", "identifier=|", "name=",
        f"name={MARK}&name:contains={MARK}", "_lastUpdated=gt", "_lastUpdated=tomorrow",
    ],
)  # fmt: skip
def test_invalid_search_is_refused(hostile: httpx.Client, query: str) -> None:
    refused(hostile.get(f"/fhir/Patient?{query}"))


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "multipart/form-data; boundary=x", None])
def test_form_of_another_media_type_returns_415(hostile: httpx.Client, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = hostile.post("/fhir/Patient/_search", content=b"family=fictitious", headers=headers)
    refused(answer)
    assert answer.status_code == 415


def unsigned(token: str, **header: str) -> str:
    """Return the token with another header and without a signature."""
    _, claims, _ = token.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"typ": "JWT", **header}).encode()).rstrip(b"=").decode()
    return f"{forged}.{claims}."


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("region", REGIONS)
def test_forged_token_returns_401(deployed: Deployed, region: str) -> None:
    good = deployed.token(tenant="hostile")
    head, claims, signature = good.split(".")
    widened = json.loads(base64.urlsafe_b64decode(claims + "=="))
    widened["tenant"] = "clinic-a"
    other = base64.urlsafe_b64encode(json.dumps(widened).encode()).rstrip(b"=").decode()
    forgeries = {
        "no signature": unsigned(good, alg="none"),
        "no signature, other case": unsigned(good, alg="nOnE"),
        "symmetric": unsigned(good, alg="HS256") + signature,
        "other claims": f"{head}.{other}.{signature}",
        "expired": deployed.token(tenant="hostile", lifetime=timedelta(seconds=-300)),
        "other audience": deployed.token(tenant="hostile", audience="https://elsewhere.example"),
        "rubbish": "a.b.c",
    }
    for name, token in forgeries.items():
        with deployed.api(region) as client:
            answer = client.get("/fhir/Patient", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, (name, answer.text)
