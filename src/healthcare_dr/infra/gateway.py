"""The HTTP API of a region: its routes, who may call them, and what is kept of each call."""

import json
from collections.abc import Iterable

from cdktn import TerraformStack, TerraformVariable, Token
from cdktn_provider_aws.apigatewayv2_api import Apigatewayv2Api
from cdktn_provider_aws.apigatewayv2_authorizer import (
    Apigatewayv2Authorizer,
    Apigatewayv2AuthorizerJwtConfiguration,
)
from cdktn_provider_aws.apigatewayv2_route import Apigatewayv2Route
from cdktn_provider_aws.apigatewayv2_stage import (
    Apigatewayv2Stage,
    Apigatewayv2StageAccessLogSettings,
    Apigatewayv2StageDefaultRouteSettings,
)
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.kms_key import KmsKey

from healthcare_dr.infra.site import Site

# The issuer is known when a plan is made, not at synthesis: the bytes are the same for every target.
ISSUER_GIVEN = 'var.oidc_issuer != ""'
_OPEN = ("GET /health", "GET /drain/{region}", "GET /fhir/metadata")
# API Gateway compares whole scopes and takes ten of them a route; the function reads SMART's grammar in full.
_LETTERS = {
    "c": ("c", "cru", "crud", "cruds"),
    "r": ("r", "rs", "cru", "crud", "cruds"),
    "u": ("u", "cru", "crud", "cruds"),
    "d": ("d", "crud", "cruds"),
    "s": ("s", "rs", "cruds"),
}
_SCOPES = {
    "POST /fhir/Patient": "Patient.c",
    "GET /fhir/Patient": "Patient.s",
    "POST /fhir/Patient/_search": "Patient.s",
    "GET /fhir/Patient/{id}": "Patient.r",
    "PUT /fhir/Patient/{id}": "Patient.u",
    "PATCH /fhir/Patient/{id}": "Patient.u",
    "DELETE /fhir/Patient/{id}": "Patient.d",
    "GET /fhir/Patient/{id}/_history": "Patient.r",
    "GET /fhir/Patient/{id}/_history/{vid}": "Patient.r",
    "POST /fhir/DocumentReference": "DocumentReference.c",
    "GET /fhir/DocumentReference": "DocumentReference.s",
    "GET /fhir/DocumentReference/{id}": "DocumentReference.r",
    "GET /fhir/AuditEvent": "AuditEvent.s",
}


def _with_heads(routes: Iterable[str]) -> dict[str, str]:
    """The routes as they are, and for each GET one for HEAD, which API Gateway does not count as a GET."""
    found = {route: route for route in routes}
    return found | {route.replace("GET", "HEAD", 1): route for route in found if route.startswith("GET ")}


OPEN_ROUTES = tuple(_with_heads(_OPEN))
# The scope that each route demands: of which type, and which letter must be in it.
SCOPES = {route: _SCOPES[like] for route, like in _with_heads(_SCOPES).items()}
# Whatever has no route of its own: the caller must be known, and the function decides.
DEFAULT_ROUTE = "$default"
# Neither path nor query: ids and search values are patient data, the route's pattern is not.
ACCESS_LOG = {
    "requestId": "$context.requestId",
    "at": "$context.requestTime",
    "routeKey": "$context.routeKey",
    "status": "$context.status",
    "responseLatency": "$context.responseLatency",
    "integrationError": "$context.integrationErrorMessage",
    "authorizerError": "$context.authorizer.error",
    "sourceIp": "$context.identity.sourceIp",
    "caller": "$context.identity.userArn",
    "subject": "$context.authorizer.claims.sub",
    "tenant": "$context.authorizer.claims.tenant",
}


def accepted_scopes(scope: str) -> list[str]:
    """The scopes of callers that hold what a route demands, such as `Patient.c`."""
    kind, letter = scope.split(".")
    return [f"{context}/{kind}.{letters}" for context in ("system", "user") for letters in _LETTERS[letter]]


def routes(stack: TerraformStack, site: Site, http: Apigatewayv2Api, *, integration_id: str) -> None:
    """Every route of the API: open ones, those that demand a scope, and the rest."""
    target = f"integrations/{integration_id}"
    for route in OPEN_ROUTES:
        Apigatewayv2Route(
            stack, _route_id(route), api_id=http.id, route_key=route, target=target, authorization_type="NONE"
        )
    _authorizer(stack, site, http)
    for route in (*SCOPES, DEFAULT_ROUTE):
        scopes = accepted_scopes(SCOPES[route]) if route in SCOPES else []
        Apigatewayv2Route(
            stack,
            _route_id(route),
            api_id=http.id,
            route_key=route,
            target=target,
            authorization_type=f'${{{ISSUER_GIVEN} ? "JWT" : "AWS_IAM"}}',
            authorizer_id="${one(aws_apigatewayv2_authorizer.token_authorizer[*].id)}",
            authorization_scopes=(
                Token.as_list(f"${{{ISSUER_GIVEN} ? toset({json.dumps(scopes)}) : null}}") if scopes else None
            ),
        )


def stage(stack: TerraformStack, site: Site, http: Apigatewayv2Api, key: KmsKey) -> None:
    """The one stage of the API, with its access log and its limits."""
    log_group = CloudwatchLogGroup(
        stack,
        "access_log_group",
        name=site.names.log_group("access"),
        retention_in_days=site.settings.audit_retention_days,
        kms_key_id=key.arn,
    )
    Apigatewayv2Stage(
        stack,
        "patient_api_stage",
        api_id=http.id,
        name="$default",
        auto_deploy=True,
        access_log_settings=Apigatewayv2StageAccessLogSettings(
            destination_arn=log_group.arn, format=json.dumps(ACCESS_LOG)
        ),
        default_route_settings=Apigatewayv2StageDefaultRouteSettings(
            throttling_rate_limit=site.settings.throttle_rate,
            throttling_burst_limit=site.settings.throttle_burst,
            detailed_metrics_enabled=True,
        ),
    )


def _authorizer(stack: TerraformStack, site: Site, http: Apigatewayv2Api) -> None:
    issuer = TerraformVariable(
        stack,
        "oidc_issuer",
        type="string",
        default=site.settings.oidc_issuer,
        description="Issuer of the callers' tokens; when empty, callers sign with IAM credentials",
    )
    audience = TerraformVariable(
        stack,
        "oidc_audience",
        type="string",
        default=site.settings.oidc_audience,
        description="Audience that a token must name",
    )
    authorizer = Apigatewayv2Authorizer(
        stack,
        "token_authorizer",
        api_id=http.id,
        name=site.names.of("tokens"),
        authorizer_type="JWT",
        identity_sources=["$request.header.Authorization"],
        jwt_configuration=Apigatewayv2AuthorizerJwtConfiguration(
            issuer=issuer.string_value, audience=[audience.string_value]
        ),
    )
    authorizer.add_override("count", f"${{{ISSUER_GIVEN} ? 1 : 0}}")


def _route_id(route_key: str) -> str:
    words = "".join(character if character.isalnum() else " " for character in route_key).split()
    return "_".join(["route", *words]).lower()
