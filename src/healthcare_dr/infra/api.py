"""The patient API of a region: the function behind an HTTP API with an endpoint of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.apigatewayv2_api import Apigatewayv2Api
from cdktn_provider_aws.apigatewayv2_integration import Apigatewayv2Integration
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_alias import LambdaAlias
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_permission import LambdaPermission

from healthcare_dr.infra.function import Asset, Shape, lambda_function
from healthcare_dr.infra.gateway import ISSUER, cors, routes, stage
from healthcare_dr.infra.site import Site

PATIENT_API = Shape(
    name="patient-api",
    handler="patient_api.handler.handler",
    description="FHIR API over patient records",
    memory_mb=3072,
    timeout_seconds=30,
    published=True,
)
ALIAS = "live"


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
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> Api:
    """The function, its published alias, and the HTTP API that calls it.

    `after` holds what has to exist before the function is created.
    """
    function = lambda_function(
        stack,
        site,
        PATIENT_API,
        asset=asset,
        role=role,
        key=key,
        after=after,
        variables={
            "TENANT_CLAIM": site.settings.tenant_claim,
            "OIDC_ISSUER": ISSUER,
            "CORS": "true" if site.settings.cors_origins else "false",
        },
    )
    alias = LambdaAlias(
        stack,
        "patient_api_live",
        name=ALIAS,
        function_name=function.function_name,
        function_version=function.version,
    )
    http = Apigatewayv2Api(
        stack,
        "patient_http_api",
        name=site.names.of(PATIENT_API.name, site.region),
        protocol_type="HTTP",
        cors_configuration=cors(site),
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
    integration = Apigatewayv2Integration(
        stack,
        "patient_api_integration",
        api_id=http.id,
        integration_type="AWS_PROXY",
        integration_uri=alias.invoke_arn,
        payload_format_version="2.0",
        timeout_milliseconds=PATIENT_API.timeout_seconds * 1000,
    )
    routes(stack, site, http, integration_id=integration.id)
    stage(stack, site, http, key)
    return Api(function=function, http=http)
