"""What the API says of itself is what it does."""

import json
import re
from typing import Any

import pytest
from openapi import DOCUMENT_FILE, document, text

from patient_api.contract.headers import EXPOSED_HEADERS, REQUEST_HEADERS
from patient_api.contract.routes import AUTHENTICATED_ROUTES, METHODS, OPEN_ROUTES, ROUTES
from patient_api.discovery.capability_statement import statement as capabilities
from patient_api.handlers.responders import responders
from patient_api.search.parameters import PARAMETERS
from unit.patient_api.whole_api import Platform


@pytest.fixture
def statement(platform: Platform) -> dict[str, Any]:
    reply = platform.call("GET", "/fhir/metadata", authorizer={})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/fhir+json")
    return reply.json


def test_every_route_is_answered(platform: Platform) -> None:
    assert set(responders(platform.services)) == {route.operation for route in ROUTES}


def test_the_statement_names_each_interaction_and_no_other(statement: dict[str, Any]) -> None:
    (rest,) = statement["rest"]
    said = {(found["type"], each["code"]) for found in rest["resource"] for each in found["interaction"]}
    assert said == {(route.type, route.interaction) for route in ROUTES if route.type and route.interaction}
    assert statement["fhirVersion"] == "4.0.1"
    assert rest["security"]["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"


def test_the_statement_names_each_search_parameter(statement: dict[str, Any], platform: Platform) -> None:
    for found in statement["rest"][0]["resource"]:
        named = {parameter["name"] for parameter in found["searchParam"]}
        assert named == {parameter.name for parameter in PARAMETERS[found["type"]]}
        for name in named:
            # The trail is searched a month at most: the day is the platform's.
            value = {"date": "2027-01-15", "birthdate": "2020", "_lastUpdated": "gt2020"}.get(name, "1")
            reply = platform.call("GET", f"/fhir/{found['type']}", query=f"{name}={value}")
            assert reply.status == 200, (found["type"], name, reply.body)


@pytest.mark.parametrize("cors", [False, True])
def test_the_statement_says_whether_browsers_may_call(cors: bool) -> None:
    security = json.loads(capabilities("https://api.example.com/fhir", cors=cors))["rest"][0]["security"]
    assert security["cors"] is cors


def test_browsers_may_send_and_see_each_header_that_has_a_meaning() -> None:
    assert {name.lower() for route in ROUTES for name in route.headers} <= set(REQUEST_HEADERS)
    answered = {
        name
        for path in document()["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for name in answer.get("headers", ())
    }
    assert answered >= {"ETag", "Location", "Last-Modified"}
    assert {name.lower() for name in answered} <= set(EXPOSED_HEADERS)
    assert {route.method for route in ROUTES} <= set(METHODS)


def like(key: str) -> str:
    """The route of the gateway that takes a route of the function: any type, any operation."""
    for type in PARAMETERS:
        key = key.replace(f"/fhir/{type}", "/fhir/{type}")
    return re.sub(r"\$\w+", "{operation}", key)


@pytest.mark.requirement("C6")
def test_each_route_has_one_at_the_gateway_that_demands_a_token_where_it_needs_a_right() -> None:
    known = {f"{route.method} {route.path}": route for route in ROUTES}
    known |= {f"HEAD {route.path}": route for route in ROUTES if route.method == "GET"}
    opened = {key for key, route in known.items() if route.right is None}
    assert opened <= set(OPEN_ROUTES)
    assert {like(key) for key in known.keys() - opened} == set(AUTHENTICATED_ROUTES)


def test_the_openapi_document_is_current() -> None:
    """`make generate` brings it up to date."""
    assert DOCUMENT_FILE.read_text(encoding="utf-8") == text()


def test_the_openapi_document_knows_every_route_and_reference() -> None:
    written = document()
    operations = {each["operationId"] for path in written["paths"].values() for each in path.values()}
    assert operations == {route.operation for route in ROUTES}
    defined = written["components"]["schemas"].keys()
    used = {part.partition('"')[0] for part in json.dumps(written).split('"#/components/schemas/')[1:]}
    assert used <= defined
