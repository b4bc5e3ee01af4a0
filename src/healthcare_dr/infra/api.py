"""The patient API of a region: the function behind an HTTP API with an endpoint of its own."""

import json
from dataclasses import dataclass
from pathlib import Path

from cdktn import (
    AssetType,
    ITerraformDependable,
    TerraformAsset,
    TerraformStack,
    TerraformVariable,
    Token,
)
from cdktn_provider_aws.apigatewayv2_api import Apigatewayv2Api
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
from cdktn_provider_aws.lambda_function import LambdaFunction, LambdaFunctionEnvironment
from cdktn_provider_aws.lambda_permission import LambdaPermission

from healthcare_dr.infra.site import Site

MEMORY_MB = 3072
TIMEOUT_SECONDS = 30
ALIAS = "live"
# The issuer is known when a plan is made, not at synthesis: the bytes are the same for every target.
ISSUER_GIVEN = 'var.oidc_issuer != ""'
# API Gateway compares whole scopes and takes ten of them a route; the function reads SMART's grammar in full.
OPEN_ROUTES = ("GET /health", "GET /drain/{region}")
SCOPES = {
    "POST /fhir/Patient": ("c", "cru", "cruds"),
    "GET /fhir/Patient/{id}": ("r", "rs", "cru", "cruds"),
    "PUT /fhir/Patient/{id}": ("u", "cru", "cruds"),
    "$default": (),
}
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


@dataclass(frozen=True)
class FunctionCode:
    """The zip that Lambda runs, and its SHA-256 as Lambda states it (base64)."""

    path: Path
    sha256_base64: str


@dataclass(frozen=True)
class Api:
    """What the rest of a regional stack needs to know of its API."""

    function: LambdaFunction
    http: Apigatewayv2Api

    def endpoint(self, region: str) -> str:
        """The region's own address of the API; the one that AWS gives, whatever plays AWS."""
        return f"https://{self.http.id}.execute-api.{region}.amazonaws.com"


def patient_api(
    stack: TerraformStack,
    site: Site,
    *,
    code: FunctionCode,
    role: IamRole,
    key: KmsKey,
    after: list[ITerraformDependable],
) -> Api:
    """The function, its published alias, and the HTTP API that calls it.

    `after` holds what has to exist before the function is created.
    """
    function = _function(stack, site, code, role, key, after)
    alias = LambdaAlias(
        stack,
        "patient_api_live",
        name=ALIAS,
        function_name=function.function_name,
        function_version=function.version,
    )
    http = Apigatewayv2Api(
        stack, "patient_http_api", name=site.names.of("patient-api", site.region), protocol_type="HTTP"
    )
    LambdaPermission(
        stack,
        "patient_api_permission",
        statement_id="http-api",
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        qualifier=alias.name,
        principal="apigateway.amazonaws.com",
        source_arn=f"{http.execution_arn}/*/*",
    )
    _routes(stack, site, http, alias)
    _stage(stack, site, http, key)
    return Api(function=function, http=http)


def _function(
    stack: TerraformStack,
    site: Site,
    code: FunctionCode,
    role: IamRole,
    key: KmsKey,
    after: list[ITerraformDependable],
) -> LambdaFunction:
    name = site.names.of("patient-api")
    log_group = CloudwatchLogGroup(
        stack,
        "patient_api_log_group",
        name=site.names.lambda_log_group(name),
        retention_in_days=site.settings.log_retention_days,
        kms_key_id=key.arn,
    )
    asset = TerraformAsset(stack, "patient_api_package", path=str(code.path), type=AssetType.FILE)
    return LambdaFunction(
        stack,
        "patient_api",
        function_name=name,
        description="FHIR API over patient records",
        role=role.arn,
        runtime="python3.13",
        architectures=["arm64"],
        handler="patient_api.handler.handler",
        filename=asset.path,
        source_code_hash=code.sha256_base64,
        memory_size=MEMORY_MB,
        timeout=TIMEOUT_SECONDS,
        publish=True,
        kms_key_arn=key.arn,
        environment=LambdaFunctionEnvironment(
            variables={
                "RECORDS_TABLE": site.names.records_table,
                "AUDIT_TABLE": site.names.audit_table,
                "DOCUMENTS_BUCKET": site.documents_bucket,
                "KEY_ARN": key.arn,
                "PEER_REGION": site.peer_region,
                "POWERTOOLS_SERVICE_NAME": "patient-api",
                "POWERTOOLS_METRICS_NAMESPACE": "HealthcareDR",
                "POWERTOOLS_LOG_LEVEL": site.settings.log_level,
            }
        ),
        tags={"DataClass": "phi"},
        depends_on=[log_group, *after],
    )


def _routes(stack: TerraformStack, site: Site, http: Apigatewayv2Api, alias: LambdaAlias) -> None:
    integration = Apigatewayv2Integration(
        stack,
        "patient_api_integration",
        api_id=http.id,
        integration_type="AWS_PROXY",
        integration_uri=alias.invoke_arn,
        payload_format_version="2.0",
        timeout_milliseconds=TIMEOUT_SECONDS * 1000,
    )
    target = f"integrations/{integration.id}"
    for route in OPEN_ROUTES:
        Apigatewayv2Route(
            stack, _route_id(route), api_id=http.id, route_key=route, target=target, authorization_type="NONE"
        )
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
    for route, rights in SCOPES.items():
        scopes = [f"{context}/Patient.{letters}" for context in ("system", "user") for letters in rights]
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


def _stage(stack: TerraformStack, site: Site, http: Apigatewayv2Api, key: KmsKey) -> None:
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


def _route_id(route_key: str) -> str:
    words = "".join(character if character.isalnum() else " " for character in route_key).split()
    return "_".join(["route", *words]).lower()
