"""Routes, draining, and what gets into the log."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import patient_api
from patient_api.http.request import FORM
from patient_api.patients.creation import Creation
from unit.patient_api.fakes import PEER, RECORDS, REGION, client_error
from unit.patient_api.whole_api import Platform, claims, patient


def raise_flag(platform: Platform, region: str) -> None:
    item = {"pk": {"S": "$platform#drain"}, "sk": {"S": region}}
    platform.dynamodb.tables[RECORDS]["$platform#drain", region] = item


@pytest.mark.parametrize("host", ["api.example.com", "127.0.0.1:4566/_aws/execute-api/0a1b2c3d"])
def test_every_absolute_link_begins_with_the_address_that_was_called(platform: Platform, host: str) -> None:
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
        links += [entry["fullUrl"] for entry in bundle["entry"]]
    assert {link["relation"] for reply in found for link in reply.json["link"]} == {"self", "next"}
    links.append(platform.call("GET", "/fhir/metadata", host=host).json["implementation"]["url"] + "/")
    assert [link for link in links if not link.startswith(base)] == []


@pytest.mark.requirement("C1")
def test_drain_says_which_region_is_to_be_drained(platform: Platform) -> None:
    raise_flag(platform, PEER)
    assert platform.call("GET", f"/drain/{PEER}", authorizer={}).status == 200
    assert platform.call("GET", f"/drain/{REGION}", authorizer={}).status == 404


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1 ", "$platform", "x" * 500])
def test_drain_of_a_region_that_is_not_ours_asks_nobody(platform: Platform, region: str) -> None:
    raise_flag(platform, region)
    assert platform.call("GET", f"/drain/{region}", authorizer={}).status == 404
    assert not platform.dynamodb.calls


def test_drain_verdicts_are_kept_for_a_while(platform: Platform) -> None:
    for _ in range(5):
        assert platform.call("GET", f"/drain/{PEER}").status == 404
    assert len(platform.dynamodb.calls) == 1
    raise_flag(platform, PEER)
    platform.monotonic += 3.1
    assert platform.call("GET", f"/drain/{PEER}").status == 200


def test_drain_of_a_store_that_fails_is_a_503_and_kept_too(platform: Platform) -> None:
    platform.dynamodb.faults["get_item"] = [client_error("InternalServerError")]
    assert [platform.call("GET", f"/drain/{PEER}").status for _ in range(3)] == [503, 503, 503]
    assert len(platform.dynamodb.calls) == 1
    platform.monotonic += 3.1
    assert platform.call("GET", f"/drain/{PEER}").status == 404


@pytest.mark.parametrize(
    "path", ["/", "/fhir", "/fhir/Patients", "/fhir/Patient/", "/fhir/Patient/1/2", "/health/", "/fhir/Patient/a\nb"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_routes(platform: Platform, method: str, path: str) -> None:
    reply = platform.call(method, path)
    assert reply.status in ({404, 405} if "\n" in path else {404})
    assert reply.json["resourceType"] == "OperationOutcome"
    assert reply.headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("PUT", "/drain/us-east-1", "GET, HEAD, OPTIONS"),
        ("PUT", "/fhir/DocumentReference", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/fhir/DocumentReference", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/fhir/DocumentReference", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/fhir/AuditEvent", "GET, HEAD, OPTIONS"),
        ("GET", "/fhir/Patient/$validate", "OPTIONS, POST"),
        ("POST", "/fhir/Patient/1", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("TRACE", "/fhir/Patient/1", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("DELETE", "/fhir/Patient/1/_history/1", "GET, HEAD, OPTIONS"),
    ],
)
def test_known_paths_with_other_methods(platform: Platform, method: str, path: str, allow: str) -> None:
    reply = platform.call(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allow)


def test_one_line_per_call_names_the_route_not_the_path(platform: Platform) -> None:
    key = platform.create().json["id"]
    platform.call("GET", f"/fhir/Patient/{key}")
    platform.call("GET", f"/fhir/Patient/{key}", query="name=Zubrowka")
    platform.call("GET", "/nowhere/Zubrowka")
    lines = [line for line in platform.lines() if line["message"] == "call"]
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
    """Stands in for the logic, and fails with patient data in the message."""

    def create(self, _request: object) -> None:
        try:
            int("Zubrowka")
        except ValueError as error:
            raise RuntimeError("Zubrowka", {"family": "Zubrowka"}) from error


@pytest.mark.requirement("C5")
@pytest.mark.trap(42)
def test_a_defect_is_a_500_and_its_line_has_no_values(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Creation, "create", Broken.create)
    reply = platform.call("POST", "/fhir/Patient", patient())
    assert (reply.status, reply.json["issue"][0]["code"]) == (500, "exception")
    (line,) = [line for line in platform.lines() if line["message"] == "unexpected exception"]
    assert [part["type"] for part in line["exceptions"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert any("test_api.py" in frame and frame.endswith(" create") for frame in line["exceptions"][0]["frames"])
    assert [line["status"] for line in platform.lines() if line["message"] == "call"] == [500]
    written = platform.log.getvalue() + reply.body + "".join(capfd.readouterr())
    assert "Zubrowka" not in written


@pytest.mark.trap(42)
@pytest.mark.requirement("C6")
def test_no_patient_data_in_any_log_line(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
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
    assert len([line for line in platform.lines() if line["message"] == "call"]) == len(calls) + 5
    assert mark not in written
    assert all(mark not in json.dumps({**item, "record": ""}) for item in platform.audit())


def test_the_function_knows_nothing_of_the_rest_of_the_project() -> None:
    folder = Path(patient_api.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "healthcare_dr" for name in names), path
