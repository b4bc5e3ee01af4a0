"""Rules on the API in front of the functions: its routes, what they demand, its log."""

from collections.abc import Iterator
from typing import Any

from healthcare_dr.infra.lint.model import Platform, Resource, rule
from patient_api.contract.routes import AUTHENTICATED_ROUTES, DEFAULT_ROUTE

Problems = Iterator[tuple[str, str]]
# A literal of its own: a route that the contract opens by mistake must not open this rule as well.
OPEN_ROUTES = (
    "GET /health", "GET /drain/{region}", "GET /fhir/metadata", "GET /fhir/.well-known/smart-configuration",
    "HEAD /health", "HEAD /drain/{region}", "HEAD /fhir/metadata", "HEAD /fhir/.well-known/smart-configuration",
    "OPTIONS /{proxy+}",
)  # fmt: skip
CLOSED_ROUTES = (*AUTHENTICATED_ROUTES, DEFAULT_ROUTE)
# A client needs them to update what it has read, and to find what it has created.
EXPOSED = {"etag", "location", "last-modified", "retry-after"}
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


@rule("closed-routes", "C6", "trap 41", why="A route without an authorizer returns patient data to any client.")
def closed_routes(platform: Platform) -> Problems:
    for route in platform.resources("aws_apigatewayv2_route"):
        if route.get("route_key") not in OPEN_ROUTES and not _closed(route):
            yield route.address, "must demand a token, or an IAM signature where there is no issuer"
    for pool in platform.resources("aws_cognito_user_pool"):
        yield pool.address, "a regional user pool is lost with its region"


@rule("complete-routes", "C6", why="Without a route of its own a call is in no metric, or refused by the gateway.")
def complete(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        keys = {route.get("route_key") for route in platform.resources("aws_apigatewayv2_route", region=region)}
        for key in sorted({*OPEN_ROUTES, *CLOSED_ROUTES} - keys):
            yield region, f"no route {key}"


@rule(
    "routes-without-scopes", "C6",
    why="A route takes ten scopes and no wildcard: a list refuses tokens that grant the call, and no trail records it.",
)  # fmt: skip
def without_scopes(platform: Platform) -> Problems:
    for route in platform.resources("aws_apigatewayv2_route"):
        if route.get("authorization_scopes"):
            yield route.address, "must not list scopes: the function decides"


@rule(
    "cors-origins", "C6",
    why="Any web page could call the API with a token that it has, unless its origin is not allowed.",
)  # fmt: skip
def cors(platform: Platform) -> Problems:
    wanted = sorted(platform.settings.cors_origins)
    for api in platform.resources("aws_apigatewayv2_api"):
        blocks = api.blocks("cors_configuration")
        found = sorted(origin for block in blocks for origin in block.get("allow_origins", ()))
        if found != wanted:
            yield api.address, f"must allow the origins {wanted}, not {found}"
        for block in blocks:
            if block.get("allow_credentials"):
                yield api.address, "must not allow credentials: a browser adds none to a token"
            for name in sorted(EXPOSED - set(block.get("expose_headers", ()))):
                yield api.address, f"must expose {name}"
    configured = list(platform.resources("aws_s3_bucket_cors_configuration"))
    for bucket in configured:
        found = sorted(origin for block in bucket.blocks("cors_rule") for origin in block.get("allowed_origins", ()))
        if found != wanted:
            yield bucket.address, f"must allow the origins {wanted}, not {found}"
    for region in platform.settings.regions if wanted else ():
        if not any(bucket.region == region for bucket in configured):
            yield region, "no browser application can upload documents"


@rule("access-log-private", "C6", "trap 42", why="Paths and queries carry ids, names and dates of birth.")
def access_log(platform: Platform) -> Problems:
    for stage in platform.resources("aws_apigatewayv2_stage"):
        format_ = str(stage.get("access_log_settings", "format"))
        if "$context.routeKey" not in format_ or "$context.status" not in format_:
            yield stage.address, "must log which route answered what"
        for word in TELLS_OF_PATIENTS:
            if word in format_:
                yield stage.address, f"must not log {word}"


def _closed(route: Resource) -> Any:
    authorization = str(route.get("authorization_type"))
    return "NONE" not in authorization and ("JWT" in authorization or authorization == "AWS_IAM")
