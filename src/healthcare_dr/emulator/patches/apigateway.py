"""Patch HTTP APIs of API Gateway: routing, invocations of functions, and the JWT authorizer."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from ministack.core.arn import execute_api_route_arn
from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
from ministack.services import apigateway, lambda_svc

from healthcare_dr.emulator.patches.replacement import Handler, Operation, Response, replaces
from healthcare_dr.emulator.services.middleware import called_address

SERVICE = "apigateway.amazonaws.com"
# Members of Lambda authorizers; a JWT authorizer has none of them.
LAMBDA_AUTHORIZER_MEMBERS = (
    "authorizerCredentialsArn",
    "authorizerPayloadFormatVersion",
    "authorizerResultTtlInSeconds",
    "authorizerUri",
    "enableSimpleResponses",
)


@replaces(apigateway, "_create_authorizer")
def omit_lambda_members_of_jwt_authorizers(inner: Operation, api_id: str, data: dict[str, Any]) -> Response:
    """A JWT authorizer reported payload format 2.0 and other members of Lambda authorizers, so it differed in every
    plan.
    """
    response = inner(api_id, data)
    if response[0] != 201 or data.get("authorizerType") != "JWT":
        return response
    authorizer = apigateway._authorizers[api_id][json.loads(response[2])["authorizerId"]]
    for member in LAMBDA_AUTHORIZER_MEMBERS:
        authorizer.pop(member, None)
    result: Response = apigateway._apigw_response(authorizer, 201)
    return result


@replaces(apigateway, "_invoke_lambda_proxy")
async def require_invoke_permission(
    inner: Handler,
    integration: dict[str, Any],
    api_id: str,
    stage: str,
    path: str,
    method: str,
    *rest: Any,
    **named: Any,
) -> Response:
    """An HTTP API called a Lambda function whose resource policy did not permit it. AWS responds 500."""
    account, region = named["owner_account_id"], named["owner_region"]
    route_key = rest[3]
    function = apigateway._extract_lambda_ref_from_integration_uri(integration.get("integrationUri", ""))
    source = execute_api_route_arn(region, account, api_id, stage, route_key)
    context = EvalContext(
        principal_arn="",
        principal_type="Service",
        principal_account=account,
        action="lambda:InvokeFunction",
        resource_arn=function,
        region=region,
        service_context={"aws:sourcearn": source, "aws:sourceaccount": account},
    )
    found = lambda_svc.function_policy_for_arn(function)
    if found is None or evaluate_resource_policy(found[0], context, SERVICE).decision != "Allow":
        return 500, {"Content-Type": "application/json"}, b'{"message":"Internal Server Error"}'
    return await inner(integration, api_id, stage, path, method, *rest, **named)


@replaces(apigateway, "_invoke_lambda_proxy")
async def include_stage_in_path(
    inner: Handler, integration: dict[str, Any], api_id: str, stage: str, path: str, *rest: Any, **named: Any
) -> Response:
    """The path that a function received omitted the name of a stage. AWS includes every name but `$default`."""
    called = path if stage == "$default" else f"/{stage}{path}"
    return await inner(integration, api_id, stage, called, *rest, **named)


@replaces(apigateway, "run_reentrant")
async def pass_called_address(
    inner: Callable[..., Awaitable[Any]], work: Callable[..., Any], *args: Any, **named: Any
) -> Any:
    """Every function received the domain name `<id>.execute-api.localhost` instead of the called one, and built links
    that do not resolve. On AWS, `domainName` and `host` are those of the client's URL.
    """
    called = called_address()
    for event in args:
        if called and isinstance(event, dict) and "domainName" in event.get("requestContext", {}):
            event["requestContext"]["domainName"] = called
            event["headers"]["host"] = called.partition("/")[0]
    return await inner(work, *args, **named)


def route_options_requests() -> None:
    """The gateway answered every OPTIONS request, with 403 for an API without a CORS configuration. AWS answers only
    preflights of an API with one, and routes other OPTIONS requests like any method.
    """
    execute: Handler = apigateway._handle_execute_in_scope
    match = apigateway._match_route
    invoke: Handler = apigateway._invoke_lambda_proxy

    async def handle(
        api_id: str, stage: str, path: str, method: str, headers: dict[str, str], *rest: Any, **named: Any
    ) -> Response:
        configured = (apigateway._apis.get(api_id) or {}).get("corsConfiguration")
        preflight = configured and {"origin", "access-control-request-method"} <= {name.lower() for name in headers}
        if method == "OPTIONS" and not preflight:
            # `execute` compares with the method in capitals; `match` and `invoke` get it in capitals again.
            method = "options"
        return await execute(api_id, stage, path, method, headers, *rest, **named)

    async def call(
        integration: dict[str, Any], api_id: str, stage: str, path: str, method: str, *rest: Any, **named: Any
    ) -> Response:
        return await invoke(integration, api_id, stage, path, method.upper(), *rest, **named)

    apigateway._handle_execute_in_scope = handle
    apigateway._match_route = lambda api_id, method, path: match(api_id, method.upper(), path)
    apigateway._invoke_lambda_proxy = call


@replaces(apigateway, "_validate_jwt_authorizer")
async def reject_malformed_tokens(
    inner: Callable[..., Awaitable[tuple[Any, Any, Any]]],
    route: dict[str, Any],
    authorizer: dict[str, Any],
    headers: dict[str, str],
    query: dict[str, Any],
) -> tuple[Any, Any, Any]:
    """A token whose header is not an object, or whose times are not numbers, caused 500. AWS responds with 401 as for
    every invalid token, and `WWW-Authenticate` names the error (RFC 6750, section 3).
    """
    try:
        claims, scopes, refusal = await inner(route, authorizer, headers, query)
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        claims, scopes, refusal = None, None, apigateway._jwt_unauthorized()
    if refusal is not None and refusal[0] == HTTPStatus.UNAUTHORIZED:
        sent = apigateway._extract_token_from_identity_source(authorizer.get("identitySource", []), headers, query)
        refusal[1]["WWW-Authenticate"] = 'Bearer error="invalid_token"' if sent else "Bearer"
    return claims, scopes, refusal
