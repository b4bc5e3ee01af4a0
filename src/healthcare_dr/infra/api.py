"""The patient API of a region: the published function, the HTTP API, its routes, authorizer, stages and access log."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cdktn import ITerraformDependable, TerraformVariable
from cdktn_provider_aws.apigatewayv2_api import Apigatewayv2Api, Apigatewayv2ApiCorsConfiguration
from cdktn_provider_aws.apigatewayv2_authorizer import (
    Apigatewayv2Authorizer,
    Apigatewayv2AuthorizerJwtConfiguration,
)
from cdktn_provider_aws.apigatewayv2_integration import Apigatewayv2Integration
from cdktn_provider_aws.apigatewayv2_route import Apigatewayv2Route
from cdktn_provider_aws.apigatewayv2_stage import (
    Apigatewayv2Stage,
    Apigatewayv2StageAccessLogSettings,
    Apigatewayv2StageDefaultRouteSettings,
)
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_alias import LambdaAlias
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_permission import LambdaPermission

from healthcare_dr.infra.functions import Functions
from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import API, API_ALIAS
from patient_api.contract.headers import EXPOSED_HEADERS, REQUEST_HEADERS
from patient_api.contract.routes import (
    AUTHENTICATED_ROUTES,
    CLIENT_STAGE,
    DEFAULT_ROUTE,
    METHODS,
    OPEN_ROUTES,
    PROBE_STAGE,
)

# The issuer is a variable, so that the JSON is the same for every target.
ISSUER = "${var.oidc_issuer}"
ISSUER_GIVEN = 'var.oidc_issuer != ""'

PREFLIGHT_SECONDS = 3600
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
}
# API Gateway reads a claim of another name as a path of names, or not at all.
_LOGGED_CLAIM = re.compile(r"[A-Za-z0-9_]+")


def cors(site: RegionContext) -> Apigatewayv2ApiCorsConfiguration | None:
    """Return the CORS configuration for the configured origins; None without any.

    Without credentials: applications send tokens in a header themselves.
    """
    if not site.settings.cors_origins:
        return None
    return Apigatewayv2ApiCorsConfiguration(
        allow_origins=list(site.settings.cors_origins),
        allow_methods=list(METHODS),
        allow_headers=list(REQUEST_HEADERS),
        expose_headers=list(EXPOSED_HEADERS),
        max_age=PREFLIGHT_SECONDS,
    )


def routes(site: RegionContext, http: Apigatewayv2Api, *, integration_id: str) -> None:
    """Create every route of the API: open ones, and those that require a token or a signature."""
    target = f"integrations/{integration_id}"
    for route in OPEN_ROUTES:
        Apigatewayv2Route(
            site.stack, _route_id(route), api_id=http.id, route_key=route, target=target, authorization_type="NONE"
        )
    _authorizer(site, http)
    for route in (*AUTHENTICATED_ROUTES, DEFAULT_ROUTE):
        Apigatewayv2Route(
            site.stack,
            _route_id(route),
            api_id=http.id,
            route_key=route,
            target=target,
            authorization_type=f'${{{ISSUER_GIVEN} ? "JWT" : "AWS_IAM"}}',
            authorizer_id="${one(aws_apigatewayv2_authorizer.token_authorizer[*].id)}",
        )


def stages(site: RegionContext, http: Apigatewayv2Api, key: KmsKey) -> None:
    """Create the stage of clients, with its access log, and the stage of health checkers, which has none.

    API Gateway cannot exclude routes from an access log. Health checks are most of the requests of an idle platform.
    """
    log_group = CloudwatchLogGroup(
        site.stack,
        "access_log_group",
        name=site.names.log_group("access"),
        retention_in_days=site.settings.audit_retention_days,
        kms_key_id=key.arn,
    )
    limits = Apigatewayv2StageDefaultRouteSettings(
        throttling_rate_limit=site.settings.throttle_rate,
        throttling_burst_limit=site.settings.throttle_burst,
        # They are billed for each route. The alarms use those of the API, which are free.
        detailed_metrics_enabled=False,
    )
    Apigatewayv2Stage(
        site.stack,
        "patient_api_stage",
        api_id=http.id,
        name=CLIENT_STAGE,
        auto_deploy=True,
        access_log_settings=Apigatewayv2StageAccessLogSettings(
            destination_arn=log_group.arn, format=json.dumps(_access_log(site))
        ),
        default_route_settings=limits,
    )
    Apigatewayv2Stage(
        site.stack,
        "probe_stage",
        api_id=http.id,
        name=PROBE_STAGE,
        auto_deploy=True,
        # The stage is public, and requests of others count as well. With a lower limit, fewer of them suffice for the
        # gateway to refuse health checks.
        default_route_settings=limits,
    )


def _access_log(site: RegionContext) -> dict[str, str]:
    claim = site.settings.tenant_claim
    return ACCESS_LOG | ({"tenant": f"$context.authorizer.claims.{claim}"} if _LOGGED_CLAIM.fullmatch(claim) else {})


def _authorizer(site: RegionContext, http: Apigatewayv2Api) -> None:
    issuer, audience = (
        TerraformVariable(site.stack, name, type="string", default=default, description=description).string_value
        for name, default, description in (
            (
                "oidc_issuer",
                site.settings.oidc_issuer,
                "Issuer of the clients' tokens; if empty, clients sign with IAM credentials",
            ),
            ("oidc_audience", site.settings.oidc_audience, "Audience that a token must name"),
        )
    )
    authorizer = Apigatewayv2Authorizer(
        site.stack,
        "token_authorizer",
        api_id=http.id,
        name=site.names.of("tokens"),
        authorizer_type="JWT",
        identity_sources=["$request.header.Authorization"],
        jwt_configuration=Apigatewayv2AuthorizerJwtConfiguration(issuer=issuer, audience=[audience]),
    )
    authorizer.add_override("count", f"${{{ISSUER_GIVEN} ? 1 : 0}}")


def _route_id(route_key: str) -> str:
    words = "".join(character if character.isalnum() else " " for character in route_key).split()
    return "_".join(["route", *words]).lower()


@dataclass(frozen=True)
class Api:
    """The resources of the API that other parts of a regional stack use."""

    function: LambdaFunction
    http: Apigatewayv2Api

    def endpoint(self, region: str) -> str:
        """Return the region's own address of the API, as AWS forms it. The embedded AWS has the same."""
        return f"https://{self.http.id}.execute-api.{region}.amazonaws.com"


def patient_api(
    site: RegionContext,
    functions: Functions,
    *,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> Api:
    """Create the function, its published alias, and the HTTP API that calls it.

    `after` contains the resources that the function depends on.
    """
    function = functions.create(
        API,
        role=role,
        after=after,
        tenant_claim=site.settings.tenant_claim,
        issuer=ISSUER,
        cors=bool(site.settings.cors_origins),
        clock_bound=site.settings.clock_bound_seconds,
    )
    alias = LambdaAlias(
        site.stack,
        "patient_api_live",
        name=API_ALIAS,
        function_name=function.function_name,
        function_version=function.version,
    )
    http = Apigatewayv2Api(
        site.stack,
        "patient_http_api",
        name=site.names.of(API.name, site.region),
        protocol_type="HTTP",
        cors_configuration=cors(site),
    )
    LambdaPermission(
        site.stack,
        "patient_api_permission",
        statement_id="http-api",
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        qualifier=alias.name,
        principal="apigateway.amazonaws.com",
        source_arn=f"{http.execution_arn}/*/*",
    )
    integration = Apigatewayv2Integration(
        site.stack,
        "patient_api_integration",
        api_id=http.id,
        integration_type="AWS_PROXY",
        integration_uri=alias.invoke_arn,
        payload_format_version="2.0",
        timeout_milliseconds=API.timeout_seconds * 1000,
    )
    routes(site, http, integration_id=integration.id)
    stages(site, http, key)
    return Api(function=function, http=http)
