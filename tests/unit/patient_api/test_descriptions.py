"""The CapabilityStatement and the OpenAPI document describe the routes."""

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
from unit.patient_api.fakes.api import Platform


@pytest.fixture
def statement(platform: Platform) -> dict[str, Any]:
    reply = platform.call("GET", "/fhir/metadata", authorizer={})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/fhir+json")
    return reply.json


def test_every_route_has_a_responder(platform: Platform) -> None:
    assert set(responders(platform.services)) == {route.operation for route in ROUTES}


def test_statement_lists_exactly_the_interactions(statement: dict[str, Any]) -> None:
    (rest,) = statement["rest"]
    listed = {(found["type"], each["code"]) for found in rest["resource"] for each in found["interaction"]}
    assert listed == {(route.type, route.interaction) for route in ROUTES if route.type and route.interaction}
    assert statement["fhirVersion"] == "4.0.1"
    assert rest["security"]["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"


def test_statement_lists_search_parameters_that_work(statement: dict[str, Any], platform: Platform) -> None:
    for found in statement["rest"][0]["resource"]:
        named = {parameter["name"] for parameter in found["searchParam"]}
        assert named == {parameter.name for parameter in PARAMETERS[found["type"]]}
        for name in named:
            # A search of the audit trail is limited to a month before the platform's day.
            value = {"date": "2027-01-15", "birthdate": "2020", "_lastUpdated": "gt2020"}.get(name, "1")
            reply = platform.call("GET", f"/fhir/{found['type']}", query=f"{name}={value}")
            assert reply.status == 200, (found["type"], name, reply.body)


@pytest.mark.parametrize("cors", [False, True])
def test_statement_declares_cors(cors: bool) -> None:
    security = json.loads(capabilities("https://api.example.com/fhir", cors=cors))["rest"][0]["security"]
    assert security["cors"] is cors


def test_gateway_passes_every_header_of_the_routes_to_browsers() -> None:
    assert {name.lower() for route in ROUTES for name in route.headers} <= set(REQUEST_HEADERS)
    returned = {
        name
        for path in document()["paths"].values()
        for operation in path.values()
        for response in operation["responses"].values()
        for name in response.get("headers", ())
    }
    assert returned >= {"ETag", "Location", "Last-Modified"}
    assert {name.lower() for name in returned} <= set(EXPOSED_HEADERS)
    assert {route.method for route in ROUTES} <= set(METHODS)


def gateway_route(key: str) -> str:
    """Return the gateway's route for a route of the function: with any type and any operation."""
    for type in PARAMETERS:
        key = key.replace(f"/fhir/{type}", "/fhir/{type}")
    return re.sub(r"\$\w+", "{operation}", key)


@pytest.mark.requirement("C6")
def test_gateway_requires_a_token_for_routes_that_need_a_right() -> None:
    known = {f"{route.method} {route.path}": route for route in ROUTES}
    known |= {f"HEAD {route.path}": route for route in ROUTES if route.method == "GET"}
    opened = {key for key, route in known.items() if route.right is None}
    assert opened <= set(OPEN_ROUTES)
    assert {gateway_route(key) for key in known.keys() - opened} == set(AUTHENTICATED_ROUTES)


def test_openapi_document_is_current() -> None:
    """`make generate` updates it."""
    assert DOCUMENT_FILE.read_text(encoding="utf-8") == text()


def test_openapi_document_has_every_route_and_schema() -> None:
    written = document()
    operations = {each["operationId"] for path in written["paths"].values() for each in path.values()}
    assert operations == {route.operation for route in ROUTES}
    defined = written["components"]["schemas"].keys()
    used = {part.partition('"')[0] for part in json.dumps(written).split('"#/components/schemas/')[1:]}
    assert used <= defined
