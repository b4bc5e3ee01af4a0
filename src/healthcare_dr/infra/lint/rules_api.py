"""Rules on the API in front of the functions: its routes, their scopes, its log."""

import json
import re
from collections.abc import Iterator
from typing import Any

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import Platform, Resource

Problems = Iterator[tuple[str, str]]
# Route 53 signs nothing, and what the API is able to do is no secret; all else is a caller's.
OPEN_ROUTES = (
    "GET /health", "GET /drain/{region}", "GET /fhir/metadata",
    "HEAD /health", "HEAD /drain/{region}", "HEAD /fhir/metadata",
)  # fmt: skip
# The right that each route demands, as SMART writes it.
RIGHTS = {
    "POST /fhir/Patient": "Patient.c", "GET /fhir/Patient": "Patient.s", "POST /fhir/Patient/_search": "Patient.s",
    "GET /fhir/Patient/{id}": "Patient.r", "PUT /fhir/Patient/{id}": "Patient.u",
    "PATCH /fhir/Patient/{id}": "Patient.u", "DELETE /fhir/Patient/{id}": "Patient.d",
    "GET /fhir/Patient/{id}/_history": "Patient.r", "GET /fhir/Patient/{id}/_history/{vid}": "Patient.r",
    "POST /fhir/DocumentReference": "DocumentReference.c", "GET /fhir/DocumentReference": "DocumentReference.s",
    "GET /fhir/DocumentReference/{id}": "DocumentReference.r", "GET /fhir/AuditEvent": "AuditEvent.s",
    # Its headers tell of a record as much as the answer to GET: that it exists, its version, when it was changed.
    "HEAD /fhir/Patient": "Patient.s", "HEAD /fhir/Patient/{id}": "Patient.r",
    "HEAD /fhir/Patient/{id}/_history": "Patient.r", "HEAD /fhir/Patient/{id}/_history/{vid}": "Patient.r",
    "HEAD /fhir/DocumentReference": "DocumentReference.s", "HEAD /fhir/DocumentReference/{id}": "DocumentReference.r",
    "HEAD /fhir/AuditEvent": "AuditEvent.s",
}  # fmt: skip
AT_MOST = 10
SCOPE = re.compile(r"(?:system|user)/([A-Za-z]+)\.(c?r?u?d?s?)")
# What would bring ids and search values into a log.
TELLS_OF_PATIENTS = ("$context.path", "$context.requestOverride", "$request.", "queryString", "$context.domainName")


@rule(
    "api-calls-alias",
    "R2.1",
    why="The alias is the version that was published; a call past it runs whatever is newest.",
)
def calls_alias(platform: Platform) -> Problems:
    for kind, attribute in (
        ("aws_apigatewayv2_integration", "integration_uri"),
        ("aws_lambda_permission", "qualifier"),
    ):
        for resource in platform.resources(kind):
            if resource.get("principal") not in (None, "apigateway.amazonaws.com"):
                continue
            alias = platform.referred(resource.stack, resource.get(attribute))
            if alias is None or alias.kind != "aws_lambda_alias":
                yield resource.address, f"{attribute} must be the function's alias"


@rule("closed-routes", "C6", "trap 41", why="A route without an authorizer hands out patient data to anyone who asks.")
def closed_routes(platform: Platform) -> Problems:
    for route in platform.resources("aws_apigatewayv2_route"):
        if route.get("route_key") not in OPEN_ROUTES and not _closed(route):
            yield route.address, "must demand a token, or an IAM signature where there is no issuer"
    for pool in platform.resources("aws_cognito_user_pool"):
        yield pool.address, "a regional user pool is lost with its region"


@rule(
    "route-scopes", "C6",
    why="A route that takes a scope of another type or verb lets callers do what nobody granted them.",
)  # fmt: skip
def scopes(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        routes = {
            route.get("route_key"): route for route in platform.resources("aws_apigatewayv2_route", region=region)
        }
        for key in sorted({*OPEN_ROUTES, *RIGHTS, "$default"} - routes.keys()):
            yield region, f"no route {key}"
        for key, right in RIGHTS.items():
            if key in routes:
                yield from _of_right(routes[key], right)


@rule("access-log-private", "C6", "trap 42", why="Paths and queries carry ids, names and dates of birth.")
def access_log(platform: Platform) -> Problems:
    for stage in platform.resources("aws_apigatewayv2_stage"):
        format_ = str(stage.get("access_log_settings", "format"))
        if "$context.routeKey" not in format_ or "$context.status" not in format_:
            yield stage.address, "must log which route answered what"
        for word in TELLS_OF_PATIENTS:
            if word in format_:
                yield stage.address, f"must not log {word}"


def _of_right(route: Resource, right: str) -> Problems:
    kind, letter = right.split(".")
    found = _scopes(route)
    if not found or len(found) > AT_MOST:
        yield route.address, f"must list 1 to {AT_MOST} scopes; it lists {len(found)}"
    for scope in found:
        match = SCOPE.fullmatch(scope)
        if match is None or match[1] != kind or letter not in match[2]:
            yield route.address, f"{scope} does not hold {right}"


def _scopes(route: Resource) -> list[str]:
    match = re.search(r"toset\((\[.*?\])\)", str(route.get("authorization_scopes")))
    return json.loads(match[1]) if match else []


def _closed(route: Resource) -> Any:
    authorization = str(route.get("authorization_type"))
    return "NONE" not in authorization and ("JWT" in authorization or authorization == "AWS_IAM")
