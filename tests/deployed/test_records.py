"""Patients' records through the HTTP APIs of both regions, with real tokens."""

import gzip
import json
from datetime import timedelta

import httpx
import pytest

from support.platform import MARKS, Deployed, create_patient, eventually, issue_code, patient

FHIR = "application/fhir+json"
Apis = dict[str, httpx.Client]


@pytest.mark.requirement("R1.1", "R2.1", "R1.2")
def test_record_written_in_one_region_is_read_in_the_other(
    deployed: Deployed, apis: Apis, region: str, other_region: str
) -> None:
    written = create_patient(apis[region])
    deployed.settle()
    read = apis[other_region].get(f"/fhir/Patient/{written.json()['id']}")
    assert read.status_code == 200
    assert read.json() == written.json()
    assert read.headers["etag"] == written.headers["etag"] == f'W/"{written.json()["meta"]["versionId"]}"'
    assert read.headers["content-type"].startswith(FHIR)


def test_update_in_the_other_region_is_read_in_this_one(
    deployed: Deployed, apis: Apis, region: str, other_region: str
) -> None:
    written = create_patient(apis[region]).json()
    deployed.settle()
    address = f"/fhir/Patient/{written['id']}"
    changed = apis[other_region].put(
        address, json=written | {"gender": "female"}, headers={"If-Match": f'W/"{written["meta"]["versionId"]}"'}
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["meta"]["versionId"] > written["meta"]["versionId"]
    deployed.settle()
    assert apis[region].get(address).json() == changed.json()


@pytest.mark.trap(1)
def test_every_version_stays_in_both_regions(deployed: Deployed, apis: Apis, region: str) -> None:
    resource = create_patient(apis[region]).json()
    versions = [resource["meta"]["versionId"]]
    for gender in ("female", "other"):
        answer = apis[region].put(
            f"/fhir/Patient/{resource['id']}",
            json=resource | {"gender": gender},
            headers={"If-Match": f'W/"{versions[-1]}"'},
        )
        versions.append(answer.json()["meta"]["versionId"])
    items = [f"{prefix}#{version}" for prefix in ("l", "v") for version in versions]
    expected = ["head#us-east-1", "head#us-west-2", *items]

    def stored(place: str) -> list[str]:
        return [item["sk"]["S"] for item in deployed.items_of(place, f"Patient#{resource['id']}")]

    # The reconciliation of the other region updates that region's head, which is then replicated to this one.
    eventually(lambda: all(stored(place) == expected for place in ("us-east-1", "us-west-2")))


def test_update_with_stale_version_returns_412(apis: Apis, region: str) -> None:
    written = create_patient(apis[region]).json()
    address, match = f"/fhir/Patient/{written['id']}", {"If-Match": f'W/"{written["meta"]["versionId"]}"'}
    assert apis[region].put(address, json=written, headers=match).status_code == 200
    stale = apis[region].put(address, json=written, headers=match)
    assert (stale.status_code, issue_code(stale)) == (412, "conflict")
    # The version in the body is stale. Without any version the response is 428.
    assert apis[region].put(address, json=written).status_code == 412
    assert apis[region].put(address, json=patient(id=written["id"])).status_code == 428


@pytest.mark.requirement("C6")
def test_request_without_a_valid_token_returns_401(deployed: Deployed, region: str) -> None:
    address = "/fhir/Patient/5d2c2d0e-0000-4000-8000-000000000000"
    for token in (
        None,
        "no.token.atall",
        deployed.token(lifetime=timedelta(seconds=-5)),
        deployed.token(audience="other-audience"),
    ):
        with deployed.api(region, token) as client:
            assert client.get(address).status_code == 401
            assert client.put(address, json=patient()).status_code == 401
            assert client.post("/fhir/Patient", json=patient()).status_code == 401


@pytest.mark.requirement("C6")
def test_scope_grants_only_its_own_rights(deployed: Deployed, apis: Apis, region: str) -> None:
    written = create_patient(apis[region]).json()
    address = f"/fhir/Patient/{written['id']}"
    match = {"If-Match": f'W/"{written["meta"]["versionId"]}"'}
    with deployed.api(region, deployed.token(scopes=["system/Patient.r"])) as reader:
        assert reader.get(address).status_code == 200
        assert reader.post("/fhir/Patient", json=patient()).status_code == 403
        assert reader.put(address, json=written, headers=match).status_code == 403
    with deployed.api(region, deployed.token(scopes=["system/Patient.c"])) as creator:
        assert creator.post("/fhir/Patient", json=patient()).status_code == 201
        assert creator.get(address).status_code == 403


def test_head_returns_the_headers_of_get(deployed: Deployed, apis: Apis, region: str) -> None:
    written = create_patient(apis[region])
    address = f"/fhir/Patient/{written.json()['id']}"
    head = apis[region].head(address)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", written.headers["etag"])
    with deployed.api(region) as client:
        assert client.head("/health").status_code == 200
        assert client.head(address).status_code == 401


def test_gzip_body_is_accepted(apis: Apis, region: str) -> None:
    content = gzip.compress(json.dumps(patient()).encode())
    for coding, status in (("gzip", 201), ("br", 415)):
        headers = {"Content-Type": "application/fhir+json", "Content-Encoding": coding}
        answer = apis[region].post("/fhir/Patient", content=content, headers=headers)
        assert answer.status_code == status, answer.text


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("scope", ["system/*.rs", "user/Patient.read"])
def test_wildcards_and_smart_v1_grant_reading(deployed: Deployed, apis: Apis, region: str, scope: str) -> None:
    written = create_patient(apis[region]).json()
    with deployed.api(region, deployed.token(scopes=[scope])) as reader:
        assert reader.get(f"/fhir/Patient/{written['id']}").status_code == 200
        refused = reader.post("/fhir/Patient", json=patient())
    assert (refused.status_code, refused.json()["resourceType"]) == (403, "OperationOutcome")


def test_smart_configuration_needs_no_token(deployed: Deployed, region: str) -> None:
    with deployed.api(region) as client:
        answer = client.get("/fhir/.well-known/smart-configuration")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["issuer"] == deployed.emulator.issuer()


def test_preflight_needs_no_token_and_allows_no_unconfigured_origin(deployed: Deployed, region: str) -> None:
    preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
    with deployed.api(region) as client:
        answer = client.options("/fhir/Patient/1", headers=preflight)
    assert answer.status_code == 204
    assert "PUT" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_record_of_another_tenant_returns_404(deployed: Deployed, apis: Apis, region: str) -> None:
    written = create_patient(apis[region]).json()
    address = f"/fhir/Patient/{written['id']}"
    with deployed.api(region, deployed.token(tenant="clinic-b")) as other:
        assert other.get(address).status_code == 404
        match = {"If-Match": f'W/"{written["meta"]["versionId"]}"'}
        assert other.put(address, json=written, headers=match).status_code == 405
    assert apis[region].get(address).json() == written


@pytest.mark.requirement("C5")
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{not json", FHIR, 400),
        (b'{"resourceType": "Patient", "active": NaN}', FHIR, 400),
        (b'{"resourceType": "Patient", "resourceType": "Patient"}', FHIR, 400),
        (b"\xff\xfe", FHIR, 400),
        (b"[" * 5000, FHIR, 400),
        (b"[]", FHIR, 400),
        (b"{}", "text/plain", 415),
        (json.dumps(patient(text="x" * 300_000)).encode(), FHIR, 413),
        (b'{"resourceType": "Observation"}', FHIR, 422),
    ],
    ids=["syntax", "nan", "duplicate", "encoding", "bomb", "array", "media", "size", "type"],
)
def test_invalid_body_returns_its_status(apis: Apis, region: str, content: bytes, media_type: str, status: int) -> None:
    answer = apis[region].post("/fhir/Patient", content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "Traceback" not in answer.text


@pytest.mark.requirement("C5")
def test_unknown_record_returns_404(apis: Apis, region: str) -> None:
    client = apis[region]
    for answer in (
        client.get("/fhir/Patient/5d2c2d0e-0000-4000-8000-000000000000"),
        client.get("/fhir/Observation/1"),
        client.get("/nowhere"),
    ):
        assert (answer.status_code, issue_code(answer)) == (404, "not-found")
    assert client.post("/fhir/Patient/5d2c2d0e-0000-4000-8000-000000000000").status_code == 405


@pytest.mark.requirement("R4.2")
@pytest.mark.trap(24)
def test_health_response_contains_only_the_status(deployed: Deployed, region: str) -> None:
    with deployed.api(region) as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
        assert client.get(f"/drain/{region}").status_code == 404


@pytest.mark.requirement("R4.2", "C6")
def test_probe_stage_serves_health_checks_only(deployed: Deployed, apis: Apis, region: str) -> None:
    client = apis[region]
    answer = client.get("/probes/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
    assert client.get(f"/probes/drain/{region}").status_code == 404
    written = create_patient(client).json()
    path = f"/fhir/Patient/{written['id']}"
    assert client.get(path).status_code == 200
    assert client.get(f"/probes{path}").status_code == 404
    with deployed.api(region) as open_client:
        assert open_client.get(f"/probes{path}").status_code == 401


@pytest.mark.requirement("R1.3", "C6")
def test_every_access_writes_an_audit_item_to_both_regions(
    deployed: Deployed, apis: Apis, region: str, other_region: str
) -> None:
    written = create_patient(apis[region]).json()
    deployed.settle()
    apis[other_region].get(f"/fhir/Patient/{written['id']}")
    deployed.settle()
    for place in (region, other_region):
        items = deployed.client("dynamodb", place).query(
            TableName=deployed.names.audit_table,
            IndexName="by-record",
            KeyConditionExpression="#record = :record",
            ExpressionAttributeNames={"#record": "record"},
            ExpressionAttributeValues={":record": {"S": f"clinic-a#Patient/{written['id']}"}},
        )["Items"]
        seen = [(item["action"]["S"], item["region"]["S"], item["subject"]["S"]) for item in items]
        assert seen == [("C", region, "tester"), ("R", other_region, "tester")]
        assert not [mark for mark in MARKS if mark in json.dumps(items)]
