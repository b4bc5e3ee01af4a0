"""Patch HTTP APIs of API Gateway: routing, invocations of functions, and the JWT authorizer."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from ministack.core.arn import execute_api_route_arn
from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
from ministack.services import apigateway, lambda_svc

from healthcare_dr.emulator.services.middleware import called_address

Response = tuple[int, dict[str, str], bytes]

# The number of routes times paths; each entry takes some 300 bytes.
PATHS = 4096

SERVICE = "apigateway.amazonaws.com"
# Members of Lambda authorizers; a JWT authorizer has none of them.
LAMBDA_AUTHORIZER_MEMBERS = (
    "authorizerCredentialsArn",
    "authorizerPayloadFormatVersion",
    "authorizerResultTtlInSeconds",
    "authorizerUri",
    "enableSimpleResponses",
)


# A client has one token at a time, and the clients of a load share one; each entry takes some 200 bytes.
SIGNATURES = 4096


def omit_lambda_members_of_jwt_authorizers() -> None:
    """A JWT authorizer reported payload format 2.0 and other members of Lambda authorizers, so it differed in every
    plan.
    """
    inner = apigateway._create_authorizer

    def create(api_id: str, data: dict[str, Any]) -> Response:
        response: Response = inner(api_id, data)
        if response[0] != 201 or data.get("authorizerType") != "JWT":
            return response
        authorizer = apigateway._authorizers[api_id][json.loads(response[2])["authorizerId"]]
        for member in LAMBDA_AUTHORIZER_MEMBERS:
            authorizer.pop(member, None)
        result: Response = apigateway._apigw_response(authorizer, 201)
        return result

    apigateway._create_authorizer = create


def cache_route_matches() -> None:
    """Cache the match of a path with a route: ministack builds the pattern of each route twice for every request."""
    inner = apigateway._extract_path_params

    @lru_cache(PATHS)
    def parameters_in(route: str, path: str) -> tuple[tuple[str, str], ...] | None:
        found = inner(route, path)
        return None if found is None else tuple(found.items())

    def parameters(route: str, path: str) -> dict[str, str] | None:
        found = parameters_in(route, path)
        # A copy for each caller, which may change it.
        return None if found is None else dict(found)

    apigateway._extract_path_params = parameters


def require_invoke_permission() -> None:
    """An HTTP API called a Lambda function whose resource policy did not permit it. AWS responds 500."""
    inner = apigateway._invoke_lambda_proxy

    async def invoke(
        integration: dict[str, Any], api_id: str, stage: str, path: str, method: str, *rest: Any, **named: Any
    ) -> Response:
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
        response: Response = await inner(integration, api_id, stage, path, method, *rest, **named)
        return response

    apigateway._invoke_lambda_proxy = invoke


def pass_called_address() -> None:
    """Every function received the domain name `<id>.execute-api.localhost`, whatever name the client called, and built
    links that do not resolve. On AWS, `domainName` and `host` are those of the client's URL.
    """
    inner = apigateway.run_reentrant

    async def run(work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        called = called_address()
        for event in args:
            if called and isinstance(event, dict) and "domainName" in event.get("requestContext", {}):
                event["requestContext"]["domainName"] = called
                event["headers"]["host"] = called.partition("/")[0]
        return await inner(work, *args, **named)

    apigateway.run_reentrant = run


def route_options_requests() -> None:
    """The gateway answered every OPTIONS request, with 403 for an API without a CORS configuration. AWS answers only
    preflights of an API with one, and routes other OPTIONS requests like any method.
    """
    execute, match, invoke = (
        apigateway._handle_execute_in_scope,
        apigateway._match_route,
        apigateway._invoke_lambda_proxy,
    )

    async def handle(
        api_id: str, stage: str, path: str, method: str, headers: dict[str, str], *rest: Any, **named: Any
    ) -> Response:
        configured = (apigateway._apis.get(api_id) or {}).get("corsConfiguration")
        preflight = configured and {"origin", "access-control-request-method"} <= {name.lower() for name in headers}
        if method == "OPTIONS" and not preflight:
            # `execute` compares with the method in capitals; `match` and `invoke` get it in capitals again.
            method = "options"
        response: Response = await execute(api_id, stage, path, method, headers, *rest, **named)
        return response

    def route(api_id: str, method: str, path: str) -> Any:
        return match(api_id, method.upper(), path)

    async def call(
        integration: dict[str, Any], api_id: str, stage: str, path: str, method: str, *rest: Any, **named: Any
    ) -> Response:
        response: Response = await invoke(integration, api_id, stage, path, method.upper(), *rest, **named)
        return response

    apigateway._handle_execute_in_scope = handle
    apigateway._match_route = route
    apigateway._invoke_lambda_proxy = call


def cache_verified_signatures() -> None:
    """Cache verified RSA signatures of bearer tokens.

    Only the fact that a key signed a token's bytes is cached. Every request checks the times, issuer, audience and
    scopes, and the issuer's present keys. Invalid signatures are not cached.
    """
    inner = apigateway._verify_rs256_signature
    verified: OrderedDict[tuple[bytes, str, str], None] = OrderedDict()

    def verify(token: str, jwk: dict[str, Any]) -> bool:
        entry = (hashlib.sha256(token.encode()).digest(), str(jwk.get("n")), str(jwk.get("e")))
        if entry in verified:
            verified.move_to_end(entry)
            return True
        if not inner(token, jwk):
            return False
        verified[entry] = None
        if len(verified) > SIGNATURES:
            verified.popitem(last=False)
        return True

    apigateway._verify_rs256_signature = verify


def reject_malformed_tokens() -> None:
    """A token whose header is not an object, or whose times are not numbers, caused 500. AWS responds with 401 as for
    every invalid token, and `WWW-Authenticate` names the error (RFC 6750, section 3).
    """
    inner = apigateway._validate_jwt_authorizer

    async def validate(
        route: dict[str, Any], authorizer: dict[str, Any], headers: dict[str, str], query: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        try:
            claims, scopes, refusal = await inner(route, authorizer, headers, query)
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
            claims, scopes, refusal = None, None, apigateway._jwt_unauthorized()
        if refusal is not None and refusal[0] == HTTPStatus.UNAUTHORIZED:
            sent = apigateway._extract_token_from_identity_source(authorizer.get("identitySource", []), headers, query)
            refusal[1]["WWW-Authenticate"] = 'Bearer error="invalid_token"' if sent else "Bearer"
        return claims, scopes, refusal

    apigateway._validate_jwt_authorizer = validate
