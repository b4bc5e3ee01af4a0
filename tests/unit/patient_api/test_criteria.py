"""On every route, a request with unsupported criteria returns no data."""

import base64
import json
from typing import Any

import pytest

from patient_api.contract.routes import ROUTES, Route
from unit.patient_api.fakes.api import Platform, Reply, id_of, patient

FORM = "application/x-www-form-urlencoded"
LENIENT = {"prefer": "handling=lenient"}
FHIR_ROUTES = [route for route in ROUTES if route.fhir]
BODIES = [route for route in FHIR_ROUTES if route.body]
MARK = "Zubrowka"


def name_of(route: Route) -> str:
    return route.operation


@pytest.fixture
def place(platform: Platform) -> tuple[str, str]:
    """Return the id and the version of a patient whose data no response may contain."""
    path, etag = platform.made(name=[{"family": MARK}])
    return id_of(path), etag[3:-1]


def at(route: Route, place: tuple[str, str]) -> str:
    return route.path.format(id=place[0], vid=place[1], region="us-east-1")


def call(platform: Platform, route: Route, place: tuple[str, str], **parts: Any) -> Reply:
    """Send a valid request to a route, except for `parts`."""
    bodies: dict[str, object] = {"PUT": patient(id=place[0]), "PATCH": [], "POST": patient()}
    usual = "name=Other" if route.body == (FORM,) else None if "$" in route.path else bodies.get(route.method)
    body = parts.pop("body", usual)
    headers = {"content-type": route.body[0] if route.body else ""}
    if "If-Match" in route.headers:
        headers["if-match"] = f'W/"{place[1]}"'
    if route.conditional and route.method != "POST":
        parts["query"] = "&".join(filter(None, (f"_id={place[0]}", parts.get("query"))))
    return platform.call(route.method, at(route, place), body, headers=headers | parts.pop("headers", {}), **parts)


def check_refused(platform: Platform, reply: Reply, status: int) -> None:
    """Check that a response has no data, and that nothing was written or audited as a success."""
    assert reply.status == status, reply.body
    if reply.body:
        assert reply.outcome
    assert MARK not in reply.body
    assert len(platform.versions()) == 1
    assert not [item for item in platform.audit(outcome="success") if item["interaction"] != "create"]


@pytest.mark.parametrize("name", ["shoe-size", "_elements", "identifier:of-type", "_has:Observation:patient:code", ""])
@pytest.mark.parametrize("route", FHIR_ROUTES, ids=name_of)
def test_unknown_parameter_returns_400(platform: Platform, place: tuple[str, str], route: Route, name: str) -> None:
    check_refused(platform, call(platform, route, place, query=f"{name}=x&_format=json"), 400)


@pytest.mark.parametrize("route", [route for route in FHIR_ROUTES if not route.searches], ids=name_of)
def test_lenient_handling_is_for_searches_only(platform: Platform, place: tuple[str, str], route: Route) -> None:
    check_refused(platform, call(platform, route, place, query="shoe-size=38", headers=LENIENT), 400)


@pytest.mark.parametrize("route", [route for route in FHIR_ROUTES if route.method != "POST"], ids=name_of)
def test_general_parameters_are_accepted_on_every_route(
    platform: Platform, place: tuple[str, str], route: Route
) -> None:
    reply = call(platform, route, place, query="_format=json&_pretty=true")
    assert reply.status == (404 if "DocumentReference/" in route.path else 204 if route.method == "DELETE" else 200)


@pytest.mark.parametrize("query", ["_format=xml", "_pretty=maybe"])
@pytest.mark.parametrize("route", FHIR_ROUTES, ids=name_of)
def test_invalid_general_parameter_is_rejected(
    platform: Platform, place: tuple[str, str], route: Route, query: str
) -> None:
    check_refused(platform, call(platform, route, place, query=query), 406 if "format" in query else 400)


@pytest.mark.parametrize(
    "sent", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "garbage", FORM]
)
@pytest.mark.parametrize("route", BODIES, ids=name_of)
def test_body_of_another_media_type_returns_415(
    platform: Platform, place: tuple[str, str], route: Route, sent: str
) -> None:
    if sent in route.body:
        sent = "application/json"
    body = "family=Other" if route.searches else json.dumps(patient(id=place[0]))
    check_refused(platform, call(platform, route, place, body=body, headers={"content-type": sent}), 415)


@pytest.mark.parametrize("body", [None, ""])
@pytest.mark.parametrize("route", [route for route in BODIES if "$" not in route.path], ids=name_of)
def test_empty_body_returns_400(platform: Platform, place: tuple[str, str], route: Route, body: str | None) -> None:
    check_refused(platform, call(platform, route, place, body=body), 400)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "SEARCH", "get\n"])
@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_unsupported_method_returns_405(platform: Platform, place: tuple[str, str], path: str, method: str) -> None:
    known = {route.method for route in ROUTES if route.path == path}
    if method in known or (method == "HEAD" and "GET" in known):
        return
    reply = platform.call(method, path.format(id=place[0], vid=place[1], region="us-east-1"), patient(id=place[0]))
    check_refused(platform, reply, 405)
    assert set(reply.headers["allow"].split(", ")) == known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set())


@pytest.mark.parametrize("content_type", [FORM, "application/json", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("route", [route for route in FHIR_ROUTES if route.method == "GET"], ids=name_of)
def test_body_of_a_get_returns_400(
    platform: Platform, place: tuple[str, str], route: Route, method: str, content_type: str
) -> None:
    body, headers = "_since=2020&_elements=id", {"content-type": content_type}
    check_refused(platform, platform.call(method, at(route, place), body, headers=headers), 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 404),
        ({"resourceType": "Parameters"}, 404),
        ({"resourceType": "Parameters", "parameter": [{"name": "x"}]}, 400),
        ({}, 400),
        ("null", 400),
        ("{", 400),
    ],
)
def test_operation_without_parameters_checks_its_body(platform: Platform, body: object, status: int) -> None:
    assert platform.call("POST", "/fhir/DocumentReference/1/$complete", body).status == status


def test_form_and_url_are_combined(platform: Platform, place: tuple[str, str]) -> None:
    path, headers = "/fhir/Patient/_search", {"content-type": f"{FORM}; charset=utf-8"}
    assert platform.call("POST", path, "family=zub", headers=headers).json["total"] == 1
    assert platform.call("POST", path, "family=zub", headers=headers, query="gender=male").json["total"] == 0
    assert platform.call("POST", path, "family=zub&_format=xml", headers=headers).status == 406
    html = {**headers, "accept": "text/html"}
    assert platform.call("POST", path, "family=zub", headers=html).status == 406
    written = platform.call("POST", path, "family=zub&_format=application/json", headers=html)
    assert (written.status, written.headers["content-type"]) == (200, "application/json")
    assert platform.call("POST", path, "%ff", headers=headers).status == 400


@pytest.mark.parametrize("form", [b"family=\xff", b"family=zub&\xff=1", "family=zub".encode("utf-16")])
@pytest.mark.parametrize("headers", [{}, LENIENT])
def test_form_that_is_not_utf_8_returns_400(
    platform: Platform, place: tuple[str, str], form: bytes, headers: dict[str, str]
) -> None:
    body = base64.b64encode(form).decode()
    headers = headers | {"content-type": FORM}
    reply = platform.call("POST", "/fhir/Patient/_search", body, encoded=True, headers=headers)
    check_refused(platform, reply, 400)
    assert "The form is not UTF-8" in reply.body


@pytest.mark.parametrize("count", ["", "x", "-1", "+5", "%2B5", "%205", "1e3", "0x5", "5,6", "%EF%BC%91"])
@pytest.mark.parametrize("rest", ["", "&_summary=count"])
def test_invalid_count_returns_400(platform: Platform, place: tuple[str, str], count: str, rest: str) -> None:
    check_refused(platform, platform.call("GET", "/fhir/Patient", query=f"_count={count}{rest}"), 400)
    if not rest:
        check_refused(
            platform, platform.call("GET", f"/fhir/Patient/{place[0]}/_history", query=f"_count={count}"), 400
        )


@pytest.mark.parametrize(
    ("count", "entries"), [("0" * 12, 0), ("0" * 12 + "2", 2), ("02", 2), ("9" * 30, 3), ("0" * 12 + "9" * 30, 3)]
)
def test_count_may_have_leading_zeros_and_any_length(platform: Platform, count: str, entries: int) -> None:
    path, etag = platform.made()
    for _ in range(2):
        platform.made()
        etag = platform.put(path, etag, active=True).headers["etag"]
    for at_ in ("/fhir/Patient", f"{path}/_history"):
        assert len(platform.call("GET", at_, query=f"_count={count}").json.get("entry", [])) == entries


@pytest.mark.parametrize("cursor", ["", ".", "x", "%20", "%C3%A9.%C3%A9", "WzE4XQ.x"])
def test_invalid_cursor_returns_400(platform: Platform, place: tuple[str, str], cursor: str) -> None:
    for path in ("/fhir/Patient", "/fhir/AuditEvent", f"/fhir/Patient/{place[0]}/_history"):
        check_refused(platform, platform.call("GET", path, query=f"_cursor={cursor}"), 400)


class TestLenient:
    def test_unknown_parameter_is_dropped_and_named(self, platform: Platform, place: tuple[str, str]) -> None:
        query = "family=zub&shoe-size=38&_include=Patient:link&shoe-size=39&_count=1"
        found = platform.call("GET", "/fhir/Patient", headers=LENIENT, query=query).json
        match, outcome = found["entry"]
        assert (match["resource"]["id"], match["search"]) == (place[0], {"mode": "match"})
        assert (outcome["resource"]["resourceType"], outcome["search"]) == ("OperationOutcome", {"mode": "outcome"})
        issues = outcome["resource"]["issue"]
        assert [issue["severity"] for issue in issues] == ["warning", "warning"]
        assert ["shoe-size" in issues[0]["diagnostics"], "_include" in issues[1]["diagnostics"]] == [True, True]
        assert [link["url"].partition("?")[2] for link in found["link"]] == ["family=zub&_count=1"]
        assert found["total"] == 1

    def test_next_page_needs_no_preference(self, platform: Platform) -> None:
        for _ in range(3):
            platform.create()
        first = platform.call("GET", "/fhir/Patient", headers=LENIENT, query="family=ex&x=1&_count=2").json
        (following,) = [link["url"].partition("?")[2] for link in first["link"] if link["relation"] == "next"]
        second = platform.call("GET", "/fhir/Patient", query=following)
        assert (second.status, len(second.json["entry"])) == (200, 1)

    @pytest.mark.parametrize(
        "query", ["x=1", "x=1&_count=5", "x=1&_sort=_lastUpdated", "_include=a", "_summary=count&x=1"]
    )
    @pytest.mark.parametrize("kind", ["Patient", "DocumentReference", "AuditEvent"])
    def test_search_without_remaining_criteria_returns_400(
        self, platform: Platform, place: tuple[str, str], kind: str, query: str
    ) -> None:
        query = query.replace("&_sort=_lastUpdated", "") if kind == "AuditEvent" else query
        check_refused(platform, platform.call("GET", f"/fhir/{kind}", headers=LENIENT, query=query), 400)

    def test_empty_parameter_is_dropped_and_named(self, platform: Platform, place: tuple[str, str]) -> None:
        query = "family=zub&given=&gender&_count="
        match, outcome = platform.call("GET", "/fhir/Patient", headers=LENIENT, query=query).json["entry"]
        assert match["resource"]["id"] == place[0]
        diagnostics = [issue["diagnostics"] for issue in outcome["resource"]["issue"]]
        assert all(name in text for name, text in zip(("given", "gender", "_count"), diagnostics, strict=True))

    def test_empty_parameter_returns_400_without_the_preference(
        self, platform: Platform, place: tuple[str, str]
    ) -> None:
        for query in ("family=zub&given=", "family=zub&gender", "family="):
            check_refused(platform, platform.call("GET", "/fhir/Patient", query=query), 400)

    def test_search_with_empty_parameters_only_returns_400(self, platform: Platform, place: tuple[str, str]) -> None:
        for query in ("family=", "family&_count=5", "_id=&x=1"):
            check_refused(platform, platform.call("GET", "/fhir/Patient", headers=LENIENT, query=query), 400)

    def test_form_may_be_lenient(self, platform: Platform, place: tuple[str, str]) -> None:
        headers = LENIENT | {"content-type": FORM}
        found = platform.call("POST", "/fhir/Patient/_search", "family=zub&x=1", headers=headers).json
        assert [entry["search"]["mode"] for entry in found["entry"]] == ["match", "outcome"]
        assert platform.call("POST", "/fhir/Patient/_search", "x=1", headers=headers).status == 400

    def test_search_of_audit_events_may_be_lenient(self, platform: Platform, place: tuple[str, str]) -> None:
        query = f"patient={place[0]}&entity-name=x"
        found = platform.call("GET", "/fhir/AuditEvent", headers=LENIENT, query=query).json
        assert [entry["search"]["mode"] for entry in found["entry"]] == ["match", "outcome"]

    @pytest.mark.parametrize(
        "query", ["family:exact=zub", "family=zub&family:contains=z", "birthdate=ne1970", "_sort=x"]
    )
    def test_unsupported_use_of_a_known_parameter_returns_400(
        self, platform: Platform, place: tuple[str, str], query: str
    ) -> None:
        check_refused(platform, platform.call("GET", "/fhir/Patient", headers=LENIENT, query=query), 400)

    @pytest.mark.parametrize(
        ("prefer", "status"),
        [
            ("handling=lenient", 200),
            ('respond-async; wait="10, 20", Handling = "lenient"', 200),
            ("handling=lenient; x=y, handling=strict", 200),
            ("handling=strict, handling=lenient", 400),
            ('foo="handling=lenient"', 400),
            ("handling", 400),
            ("", 400),
        ],
    )
    def test_preference_is_parsed(self, platform: Platform, prefer: str, status: int) -> None:
        reply = platform.call("GET", "/fhir/Patient", headers={"prefer": prefer}, query="family=zub&x=1")
        assert reply.status == status

    def test_invalid_name_is_not_repeated(self, platform: Platform) -> None:
        query = f"family=zub&%3Cscript%3E{MARK}=1&{'y' * 300}=2"
        reply = platform.call("GET", "/fhir/Patient", headers=LENIENT, query=query)
        assert reply.status == 200
        assert [part for part in ("script", MARK, "yyy") if part in reply.body] == []
