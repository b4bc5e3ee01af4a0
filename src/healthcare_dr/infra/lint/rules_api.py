"""Rules on the API in front of the functions: its routes, their authorizers, its stages and access log."""

from healthcare_dr.infra.lint.model import Platform, Problems, rule
from patient_api.contract.routes import AUTHENTICATED_ROUTES, DEFAULT_ROUTE

# Not imported from the contract: a route that the contract opens by mistake must not open this rule as well.
OPEN_ROUTES = (
    "GET /health", "GET /drain/{region}", "GET /fhir/metadata", "GET /fhir/.well-known/smart-configuration",
    "HEAD /health", "HEAD /drain/{region}", "HEAD /fhir/metadata", "HEAD /fhir/.well-known/smart-configuration",
    "OPTIONS /{proxy+}",
)  # fmt: skip
CLIENTS, PROBES = "$default", "probes"
# A client needs them to update what it has read, and to find what it has created.
EXPOSED = {"etag", "location", "last-modified", "retry-after"}
# Variables that contain ids and search values.
PATIENT_DATA = ("$context.path", "$context.requestOverride", "$request.", "queryString", "$context.domainName")


@rule("R2.1")
def api_calls_alias(platform: Platform) -> Problems:
    """The alias is the published version; a call without it runs the newest code."""
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


@rule("C6", "trap 41")
def closed_routes(platform: Platform) -> Problems:
    """A route without an authorizer returns patient data to any client."""
    for route in platform.resources("aws_apigatewayv2_route"):
        authorization = str(route.get("authorization_type"))
        closed = "NONE" not in authorization and ("JWT" in authorization or authorization == "AWS_IAM")
        if route.get("route_key") not in OPEN_ROUTES and not closed:
            yield route.address, "must require a token, or an IAM signature if there is no issuer"
    for pool in platform.resources("aws_cognito_user_pool"):
        yield pool.address, "a regional user pool is lost with its region"


@rule("C6")
def complete_routes(platform: Platform) -> Problems:
    """The gateway refuses a request without a route, and the access log does not distinguish the default route's."""
    for region in platform.settings.regions:
        keys = {route.get("route_key") for route in platform.resources("aws_apigatewayv2_route", region=region)}
        for key in sorted({*OPEN_ROUTES, *AUTHENTICATED_ROUTES, DEFAULT_ROUTE} - keys):
            yield region, f"no route {key}"


@rule("C6")
def routes_without_scopes(platform: Platform) -> Problems:
    """A route has at most ten scopes and no wildcards: a list refuses valid tokens, without an audit event."""
    for route in platform.resources("aws_apigatewayv2_route"):
        if route.get("authorization_scopes"):
            yield route.address, "must not list scopes: the function decides"


@rule("C6")
def cors_origins(platform: Platform) -> Problems:
    """Any web page could call the API with a token that it has, unless its origin is not allowed."""
    expected = sorted(platform.settings.cors_origins)
    apis = list(platform.resources("aws_apigatewayv2_api"))
    configured = list(platform.resources("aws_s3_bucket_cors_configuration"))
    for block, attribute, resources in (
        ("cors_configuration", "allow_origins", apis),
        ("cors_rule", "allowed_origins", configured),
    ):
        for resource in resources:
            found = sorted(origin for each in resource.blocks(block) for origin in each.get(attribute, ()))
            if found != expected:
                yield resource.address, f"must allow the origins {expected}, not {found}"
    for api in apis:
        for cors in api.blocks("cors_configuration"):
            if cors.get("allow_credentials"):
                yield api.address, "must not allow credentials: a browser adds none to a token"
            for name in sorted(EXPOSED - set(cors.get("expose_headers", ()))):
                yield api.address, f"must expose {name}"
    for region in platform.settings.regions if expected else ():
        if not any(bucket.region == region for bucket in configured):
            yield region, "no browser application can upload documents"


@rule("C6", "trap 42")
def access_log_private(platform: Platform) -> Problems:
    """Paths and queries contain ids, names and dates of birth."""
    for stage in platform.resources("aws_apigatewayv2_stage"):
        if not stage.blocks("access_log_settings"):
            continue
        log_format = str(stage.get("access_log_settings", "format"))
        if "$context.routeKey" not in log_format or "$context.status" not in log_format:
            yield stage.address, "must log route and status"
        for variable in PATIENT_DATA:
            if variable in log_format:
                yield stage.address, f"must not log {variable}"


@rule("C6")
def access_log_of_clients(platform: Platform) -> Problems:
    """Requests that the gateway refuses are in its access log only; health checks would be most lines of that log."""
    for region in platform.settings.regions:
        stages = {stage.get("name"): stage for stage in platform.resources("aws_apigatewayv2_stage", region=region)}
        if sorted(stages) != [CLIENTS, PROBES]:
            yield region, f"its API must have the stages {CLIENTS} and {PROBES}"
        if PROBES in stages and stages[PROBES].blocks("access_log_settings"):
            yield stages[PROBES].address, "must have no access log: only health checkers call this stage"
        if CLIENTS in stages:
            stage = stages[CLIENTS]
            group = platform.referred(stage.stack, stage.get("access_log_settings", "destination_arn"))
            if group is None or group.get("retention_in_days") != platform.settings.audit_retention_days:
                days = platform.settings.audit_retention_days
                yield stage.address, f"must have an access log in a group that keeps {days} days"


@rule("R6.2")
def no_route_metrics(platform: Platform) -> Problems:
    """CloudWatch bills six metrics for each route in use; alarms and dashboards use those of the API."""
    for stage in platform.resources("aws_apigatewayv2_stage"):
        if stage.get("default_route_settings", "detailed_metrics_enabled") is not False or stage.get("route_settings"):
            yield stage.address, "detailed metrics must be off"
