"""Routes, drain flags, and log lines."""

import json
from typing import Any

import pytest

from patient_api.contract.headers import FORM
from patient_api.contract.routes import ROUTES, Route
from patient_api.patients.creation import Creation
from patient_api.region.health import Probe
from unit.patient_api.fakes.api import Platform, claims, patient
from unit.patient_api.fakes.aws import PEER, REGION, client_error


def set_flag(platform: Platform, region: str) -> None:
    platform.add({"pk": {"S": "$platform#drain"}, "sk": {"S": region}})


@pytest.mark.parametrize("host", ["api.example.com", "127.0.0.1:4566/_aws/execute-api/0a1b2c3d"])
def test_absolute_links_begin_with_the_address_of_the_request(platform: Platform, host: str) -> None:
    base = f"https://{host}/fhir/"
    created = [platform.call("POST", "/fhir/Patient", patient(), host=host) for _ in range(3)]
    assert {made.status for made in created} == {201}
    links = [made.headers["location"] for made in created]
    found = [
        platform.call("GET", "/fhir/Patient", query="_count=1", host=host),
        platform.call("POST", "/fhir/Patient/_search", "_count=1", headers={"content-type": FORM}, host=host),
        platform.call("GET", f"/fhir/Patient/{created[0].json['id']}/_history", host=host),
        platform.call("GET", "/fhir/AuditEvent", query="_count=1", host=host),
    ]
    for bundle in (reply.json for reply in found):
        links += [link["url"] for link in bundle["link"]]
        full_urls = [entry["fullUrl"] for entry in bundle["entry"]]
        links += [url for url in full_urls if not url.startswith("urn:uuid:")]  # events have no URL
    assert {link["relation"] for reply in found for link in reply.json["link"]} == {"self", "next"}
    links.append(platform.call("GET", "/fhir/metadata", host=host).json["implementation"]["url"] + "/")
    assert [link for link in links if not link.startswith(base)] == []


@pytest.mark.requirement("C1")
def test_drain_returns_the_flag_of_a_region(platform: Platform) -> None:
    set_flag(platform, PEER)
    assert platform.call("GET", f"/drain/{PEER}", authorizer={}).status == 200
    assert platform.call("GET", f"/drain/{REGION}", authorizer={}).status == 404


@pytest.mark.requirement("C1", "R4.2")
def test_probe_stage_serves_the_routes_of_health_checks() -> None:
    platform = Platform(probes=(Probe("records", lambda: None),))
    set_flag(platform, PEER)
    paths = ("/probes/health", f"/probes/drain/{PEER}", f"/probes/drain/{REGION}")
    for method in ("GET", "HEAD"):
        replies = [platform.call(method, path, stage="probes", authorizer={}).status for path in paths]
        assert replies == [200, 200, 404]
    platform.close()


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("route", [route for route in ROUTES if route.path not in ("/health", "/drain/{region}")])
def test_probe_stage_serves_no_other_route(platform: Platform, route: Route) -> None:
    path = "/probes" + route.path.format(id="a", vid="1")
    for method in (route.method, "OPTIONS"):
        reply = platform.call(method, path, stage="probes")
        assert (reply.status, reply.headers.get("allow")) == (404, None)
    assert not platform.dynamodb.calls


def test_client_stage_does_not_serve_the_paths_of_the_probe_stage(platform: Platform) -> None:
    assert platform.call("GET", "/probes/health").status == 404


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1 ", "$platform", "x" * 500])
def test_drain_of_unknown_region_reads_no_table(platform: Platform, region: str) -> None:
    set_flag(platform, region)
    assert platform.call("GET", f"/drain/{region}", authorizer={}).status == 404
    assert not platform.dynamodb.calls


def test_drain_flag_is_cached(platform: Platform) -> None:
    for _ in range(5):
        assert platform.call("GET", f"/drain/{PEER}").status == 404
    assert len(platform.dynamodb.calls) == 1
    set_flag(platform, PEER)
    platform.monotonic += 3.1
    assert platform.call("GET", f"/drain/{PEER}").status == 200


def test_storage_fault_of_drain_returns_503_and_is_cached(platform: Platform) -> None:
    platform.dynamodb.faults["get_item"] = [client_error("InternalServerError")]
    assert [platform.call("GET", f"/drain/{PEER}").status for _ in range(3)] == [503, 503, 503]
    assert len(platform.dynamodb.calls) == 1
    platform.monotonic += 3.1
    assert platform.call("GET", f"/drain/{PEER}").status == 404


@pytest.mark.parametrize(
    "path", ["/", "/fhir", "/fhir/Patients", "/fhir/Patient/", "/fhir/Patient/1/2", "/health/", "/fhir/Patient/a\nb"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_path_returns_404(platform: Platform, method: str, path: str) -> None:
    reply = platform.call(method, path)
    assert reply.status in ({404, 405} if "\n" in path else {404})
    assert reply.json["resourceType"] == "OperationOutcome"
    assert reply.headers["content-type"] == "application/fhir+json"


def test_log_line_has_the_route_and_not_the_path(platform: Platform) -> None:
    key = platform.create().json["id"]
    platform.call("GET", f"/fhir/Patient/{key}")
    platform.call("GET", f"/fhir/Patient/{key}", query="name=Zubrowka")
    platform.call("GET", "/nowhere/Zubrowka")
    lines = [line for line in platform.log.messages() if line["message"] == "call"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/fhir/Patient", 201),
        ("GET", "/fhir/Patient/{id}", 200),
        ("GET", "/fhir/Patient/{id}", 400),
        ("GET", "unmatched", 404),
    ]
    for line in lines:
        assert (line["request_id"], line["tenant"], line["region"]) == ("request-1", "north-clinic", REGION)
        assert line["ms"] >= 0
    assert key not in platform.log.getvalue()


class Broken:
    """Fails with patient data in the message."""

    def create(self, _request: object) -> None:
        try:
            int("Zubrowka")
        except ValueError as error:
            raise RuntimeError("Zubrowka", {"family": "Zubrowka"}) from error


@pytest.mark.requirement("C5")
@pytest.mark.trap(42)
def test_defect_returns_500_and_logs_no_values(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Creation, "create", Broken.create)
    reply = platform.call("POST", "/fhir/Patient", patient())
    assert (reply.status, reply.json["issue"][0]["code"]) == (500, "exception")
    (line,) = [line for line in platform.log.messages() if line["message"] == "unexpected exception"]
    assert [part["type"] for part in line["exceptions"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert any("test_api.py" in frame and frame.endswith(" create") for frame in line["exceptions"][0]["frames"])
    assert [line["status"] for line in platform.log.messages() if line["message"] == "call"] == [500]
    written = platform.log.getvalue() + reply.body + "".join(capfd.readouterr())
    assert "Zubrowka" not in written


@pytest.mark.trap(42)
@pytest.mark.requirement("C6")
def test_log_lines_contain_no_patient_data(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    mark = "Zubrowka"
    platform = Platform()
    body = patient(name=[{"family": mark}], address=[{"city": mark}])
    made = platform.create(body)
    path, etag = f"/fhir/Patient/{made.json['id']}", {"if-match": made.headers["etag"]}
    own = {**body, "id": made.json["id"]}
    calls: list[tuple[str, str, object, dict[str, Any]]] = [
        ("POST", "/fhir/Patient", body, {}),
        ("GET", path, None, {"query": f"name={mark}"}),
        ("PUT", path, own, {"headers": etag}),
        ("PUT", path, own, {"headers": etag}),
        ("PUT", path, own, {}),
        ("PUT", path, own, {"headers": {"if-match": mark}}),
        ("PUT", path, {**body, "id": mark}, {"headers": etag}),
        ("PUT", f"/fhir/Patient/{mark}", {**body, "id": mark}, {"headers": etag}),
        ("GET", f"/fhir/Patient/{mark} {mark}", None, {}),
        ("GET", f"/{mark}", None, {}),
        ("DELETE", f"/fhir/Patient/{mark}", None, {}),
        ("GET", f"/fhir/Patient/{mark}/_history/{mark}", None, {}),
        ("GET", f"{path}/_history", None, {"query": f"_cursor={mark}"}),
        ("PATCH", path, [{"op": "add", "path": f"/{mark}", "value": mark}], {"headers": etag}),
        ("POST", path, None, {}),
        ("POST", "/fhir/Patient", {**body, mark: 1}, {}),
        ("POST", "/fhir/Patient", {**body, "gender": mark}, {}),
        ("POST", "/fhir/Patient", body, {"headers": {"idempotency-key": mark}}),
        ("GET", path, None, {"headers": {"accept": mark}}),
        ("GET", f"/drain/{mark}", None, {}),
        ("POST", "/fhir/Patient", json.dumps(body) + mark, {}),
        ("POST", "/fhir/Patient", f'{{"{mark}":1,"{mark}":1}}', {}),
        ("POST", "/fhir/Patient", f'{{"{mark}":1{"0" * 99}}}', {}),
        ("POST", "/fhir/Patient", {"resourceType": mark}, {}),
        ("POST", "/fhir/Patient", mark * 50_000, {}),
        ("POST", "/fhir/Patient", body, {"headers": {"content-type": mark}}),
        ("POST", "/fhir/Patient", body, {"authorizer": claims(scope=mark)}),
        ("POST", "/fhir/Patient", body, {"authorizer": claims(tenant=f"{mark} {mark}")}),
        ("POST", "/fhir/Patient", body, {"authorizer": {}}),
    ]
    statuses = {platform.call(method, at, sent, **parts).status for method, at, sent, parts in calls}
    assert statuses == {200, 201, 400, 401, 403, 404, 405, 406, 412, 413, 415, 422, 428}
    for operation, fault in [
        ("transact_write_items", client_error("ValidationException", message=f"bad value {mark}")),
        (
            "transact_write_items",
            client_error("TransactionCanceledException", message=mark, reasons=("ValidationError",)),
        ),
        ("transact_write_items", RuntimeError(mark)),
    ]:
        platform.dynamodb.faults[operation] = [fault]
        assert platform.call("POST", "/fhir/Patient", body).status in {500, 503}
    platform.dynamodb.faults = {"query": [client_error("InternalServerError", message=mark)]}
    assert platform.call("GET", path).status == 503
    platform.close()
    written = platform.log.getvalue() + "".join(capfd.readouterr()) + caplog.text
    assert len([line for line in platform.log.messages() if line["message"] == "call"]) == len(calls) + 5
    assert mark not in written
    assert all(mark not in json.dumps({**item, "record": ""}) for item in platform.audit())
