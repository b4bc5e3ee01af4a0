"""Each documented header and parameter on each route: it has its documented effect, or the request is refused.

The exceptions are those that a standard demands, and health checks.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from patient_api.contract.headers import (
    ACCEPT,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    FORM,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_EXIST,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    MERGE_PATCH,
    MERGES,
    MINIMUM_VERSION,
    PREFER,
    REQUEST_HEADERS,
)
from patient_api.contract.keys import AUDIT_EVENT, DOCUMENT, PATIENT
from patient_api.contract.routes import ROUTES, Route
from patient_api.http.criteria import GENERAL
from patient_api.http.response import LARGEST_INDENTED, indented
from patient_api.search.parameters import CONTROLS, PARAMETERS
from unit.patient_api.fakes.api import Platform, Reply, id_of, patient
from unit.patient_api.fakes.aws import PEER, REGION, START_MS
from unit.patient_api.fakes.documents import announcement
from unit.patient_api.fakes.s3 import FakeS3, Time

OTHER = f'W/"{START_MS - 1000}-0000-{REGION}"'
"""A version that this region has never written."""
LATER = f'W/"{START_MS + 1_000_000}-0000-{PEER}"'
PAST, FUTURE = "Mon, 01 Jan 1990 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
PREFERENCES = (
    "return=minimal",
    "return=representation",
    "return=OperationOutcome",
    "handling=strict",
    "handling=lenient",
)
SEARCHED = (PATIENT, DOCUMENT, AUDIT_EVENT)
SEARCH = {type: {*(one.name for one in PARAMETERS[type]), *(one.name for one in CONTROLS[type])} for type in SEARCHED}
ALL_PARAMETERS = sorted(
    {*GENERAL, *(name for route in ROUTES for name in route.parameters), *set().union(*SEARCH.values())}
)
CONDITIONS = (
    IDEMPOTENCY_KEY, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_EXIST, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, MERGES,
    MINIMUM_VERSION,
)  # fmt: skip
FHIR = [route for route in ROUTES if route.fhir]
# A health check may contain anything, because refusing it would take its region out of service.
CHECKED = [route for route in ROUTES if not route.probed]


def name_of(route: Route) -> str:
    return route.operation


class World:
    """The API of one region with a patient and a document."""

    def __init__(self) -> None:
        buckets = {region: FakeS3(region, Time()).restricted() for region in (REGION, PEER)}
        self.platform = Platform(buckets=buckets)
        self.path, self.etag = self.platform.made(identifier=[{"system": "urn:mrn", "value": "1"}])
        self.announcement = announcement(b"x", patient=id_of(self.path))
        self.document = self.platform.call("POST", "/fhir/DocumentReference", self.announcement).location

    def send(self, route: Route, headers: Mapping[str, str] | None = None, query: str = "") -> Reply:
        """Send a request that is valid but for its headers and its query."""
        id = id_of(self.document if route.type == DOCUMENT else self.path)
        bodies: dict[str, Any] = {
            "createDocument": self.announcement,
            "completeDocument": None,
            "searchPatientsByForm": "family=example",
            "patchPatient": {"gender": "other"},
            "patchPatientThatMatches": {"gender": "other"},
            "updatePatientThatMatches": patient(),
        }
        body = bodies.get(route.operation, patient(id=id) if route.body else None)
        kind = MERGE_PATCH if route.method == "PATCH" else FORM if FORM in route.body else "application/fhir+json"
        named = {"content-type": kind, **({"if-match": "*"} if route.operation == "updatePatient" else {})}
        if route.conditional and route.method != "POST":
            query = f"identifier=1&{query}" if query else "identifier=1"
        path = route.path.format(id=id, vid=self.etag[3:-1])
        return self.platform.call(route.method, path, body, headers={**named, **(headers or {})}, query=query)


@pytest.fixture
def to() -> Iterator[World]:
    world = World()
    yield world
    world.platform.close()


def test_each_documented_header_is_tested() -> None:
    # Two headers describe the body, and are tested with bodies. API Gateway evaluates the token.
    others = {ACCEPT, PREFER, CONTENT_ENCODING, CONTENT_TYPE, "Authorization"}
    assert {name.lower() for name in (*CONDITIONS, *others)} == set(REQUEST_HEADERS)


def is_ignored_by_standard(route: Route, name: str) -> bool:
    """Return whether RFC 9110, sections 13.1.3 and 13.1.4, requires to ignore a date on this route."""
    undated = route.method == "GET" and IF_UNMODIFIED_SINCE not in route.headers
    if name == IF_MODIFIED_SINCE:
        return undated or route.method != "GET"
    return name == IF_UNMODIFIED_SINCE and undated


def has_effect(to: World, route: Route, name: str) -> bool:
    """Return whether a header that the route takes has its effect."""
    if name == IDEMPOTENCY_KEY:
        ids = [to.send(route, {name: "k"}).json["id"] for _ in range(2)]
        return len(set(ids)) == 1
    read = route.method == "GET"
    value, status = {
        IF_MATCH: (OTHER, 412),
        IF_NONE_MATCH: (to.etag, 304 if read else 412),
        IF_MODIFIED_SINCE: (FUTURE, 304),
        IF_UNMODIFIED_SINCE: (PAST, 412),
        IF_NONE_EXIST: ("identifier=1", 200),
        MERGES: (OTHER, 422),
        MINIMUM_VERSION: (LATER, 503),
    }[name]
    headers = {name: value}
    if name == IF_UNMODIFIED_SINCE and route.operation == "updatePatient":
        # If-Match would take precedence over the date, but an update needs a version.
        version = to.etag[3:-1]
        body = patient(id=id_of(to.path), meta={"versionId": version})
        return to.platform.call("PUT", to.path, body, headers=headers).status == status
    return to.send(route, headers).status == status


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("route", CHECKED, ids=name_of)
def test_condition_has_its_effect_or_is_refused(to: World, route: Route, name: str) -> None:
    if name in route.headers:
        assert has_effect(to, route, name)
    else:
        reply = to.send(route, {name: PAST if "Since" in name else OTHER})
        refused = reply.status == 400 and f"{name} on this path" in reply.issue["diagnostics"]
        assert refused != is_ignored_by_standard(route, name)


@pytest.mark.parametrize("preference", PREFERENCES)
@pytest.mark.parametrize("route", FHIR, ids=name_of)
def test_preference_is_honoured_or_refused(to: World, route: Route, preference: str) -> None:
    headers = {"prefer": preference}
    reply = to.send(route, headers)
    if preference.lower() not in route.preferences:
        assert reply.status == 400
        assert reply.issue["diagnostics"].startswith("Prefer must be ")
        return
    # The document has no parts to complete.
    assert reply.status in ({422} if route.operation == "completeDocument" else {200, 201, 204}), reply.body
    if preference == "return=minimal":
        assert reply.body == ""
    elif preference == "return=OperationOutcome":
        assert reply.issue["severity"] == "information"
    elif preference == "return=representation":
        assert reply.body
    elif preference == "handling=lenient":
        found = to.send(route, headers, f"{'agent' if route.type == AUDIT_EVENT else '_id'}=x&shoe-size=38")
        assert "The search ignored shoe-size." in found.body
    else:
        assert to.send(route, headers, "shoe-size=38").status == 400


@pytest.mark.parametrize("preference", ["return=everything", "return", "handling=", 'Handling="careful"'])
def test_unknown_value_of_a_known_preference_is_refused(platform: Platform, preference: str) -> None:
    assert platform.call("GET", "/fhir/Patient", headers={"prefer": preference}).outcome == (400, "structure")


def taken(route: Route) -> set[str]:
    """Return the parameters that a route documents."""
    found = {*GENERAL, *route.parameters}
    if route.searches:
        found |= SEARCH[str(route.type)]
    if route.conditional:
        found |= {one.name for one in PARAMETERS[PATIENT]}
    return found


@pytest.mark.parametrize("route", CHECKED, ids=name_of)
def test_parameter_is_evaluated_or_refused(to: World, route: Route) -> None:
    for name in ALL_PARAMETERS:
        valid = {"_pretty": "true", "_format": "json", "mode": "full"}.get(name, "1")
        if route.fhir and name in taken(route):
            reply = to.send(route, query=f"{name}=%00")
            assert reply.status == (406 if name == "_format" else 400), name
        else:
            assert to.send(route, query=f"{name}={valid}").status == 400, name


@pytest.mark.parametrize(
    ("headers", "query", "kind"),
    [
        ({"accept": "application/json"}, "", "application/json"),
        ({"accept": "application/fhir+json"}, "_format=application/json", "application/json"),
        ({"accept": "application/json"}, "_pretty=false", "application/json"),
        ({"accept": "application/json"}, "_pretty=true", "application/json"),
        ({}, "_pretty=true&_format=json", "application/fhir+json"),
    ],
)
@pytest.mark.parametrize("route", FHIR, ids=name_of)
def test_format_and_indentation_of_the_response_are_as_requested(
    to: World, route: Route, headers: Mapping[str, str], query: str, kind: str
) -> None:
    reply = to.send(route, headers, query)
    assert ("\n" in reply.body) is (bool(reply.body) and "_pretty=true" in query)
    assert reply.headers.get("content-type", kind) == kind
    assert to.send(route, {"accept": "application/fhir+xml"}).status == 406


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "{}"),
        ("[]", "[]"),
        ('{"a":[],"b":[{}]}', '{\n  "a": [],\n  "b": [\n    {}\n  ]\n}'),
        ('{"a":1.20,"b":[-1E+2,true]}', '{\n  "a": 1.20,\n  "b": [\n    -1E+2,\n    true\n  ]\n}'),
        ('{"a,b":"{\\"c\\":[1]}\\\\"}', '{\n  "a,b": "{\\"c\\":[1]}\\\\"\n}'),
        ("", ""),
    ],
)
def test_indentation_keeps_tokens(text: str, expected: str) -> None:
    assert indented(text) == expected


def test_response_that_would_become_too_long_stays_compact() -> None:
    text = "[" + ",".join("0" for _ in range(LARGEST_INDENTED // 4)) + "]"
    assert indented(text) == text
