"""Tests of HTTP APIs: permission to invoke, the address and claims that a function receives, tokens, and CORS."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.services.middleware import CALLED_HEADER
from healthcare_dr.emulator.token_issuer import load_key
from unit.emulator.aws import ECHO, Aws, only_when_patched


def api_of(aws: Aws, routes: Mapping[str, Mapping[str, str]], *, permitted: bool = True) -> str:
    """Create an API whose function returns its event, and return the API's URL."""
    function = aws.function(f"echo-{uuid.uuid4().hex}", ECHO)
    return aws.emulator.api_url(aws.api(function, routes, permitted=permitted))


@pytest.fixture(scope="module")
def api(patched: Aws) -> str:
    """The URL of an API whose routes list no scopes, as in the platform."""
    issuer = patched.emulator.issuer()
    authenticated = ("GET /fhir/{type}", "HEAD /fhir/{type}", "$default")
    routes = {"GET /health": {}, "GET /slash": {"issuer": f"{issuer}/"}}
    return api_of(patched, routes | {route: {"issuer": issuer} for route in authenticated})


@pytest.fixture
def client(patched: Aws) -> Iterator[httpx.Client]:
    with patched.web() as client:
        yield client


def token(emulator: Emulator, *, key: RSAKey | None = None, **claims: object) -> Mapping[str, str]:
    """Return an Authorization header with additional claims."""
    key = key or load_key(emulator.home / "keys" / "token.key")
    now = int(time.time())
    usual = {"iss": emulator.issuer(), "aud": "healthcare-dr", "sub": "s", "iat": now, "exp": now + 600}
    signed = jwt.encode({"alg": "RS256", "kid": key.kid}, {**usual, **claims}, key)
    return {"Authorization": f"Bearer {signed}"}


def received_address(response: httpx.Response) -> tuple[str, str, str]:
    assert response.status_code == 200, response.text
    event = response.json()
    return event["requestContext"]["domainName"], event["headers"]["host"], event["rawPath"]


@pytest.mark.parametrize(("permitted", "status"), [(True, 200), (False, 500)])
def test_api_needs_permission_to_invoke_the_function(
    patched: Aws, unpatched: Aws, permitted: bool, status: int
) -> None:
    codes = [
        aws.get(f"{api_of(aws, {'GET /health': {}}, permitted=permitted)}/health").status_code
        for aws in (patched, unpatched)
    ]
    assert codes == [status, 200]


@only_when_patched
def test_health_path_reaches_the_api(aws: Aws) -> bool:
    api_id = api_of(aws, {"GET /health": {}}).rpartition("/")[2]
    with aws.web(headers={"Host": f"{api_id}.execute-api.localhost:{aws.emulator.port}"}) as client:
        answer = client.get(f"https://127.0.0.1:{aws.emulator.port}/health").json()
    return bool(answer.get("rawPath") == "/health")


def test_admin_endpoints_are_blocked(patched: Aws, unpatched: Aws) -> None:
    path = "_ministack/sqs/messages"
    codes = [aws.get(f"https://127.0.0.1:{aws.emulator.port}/{path}").status_code for aws in (patched, unpatched)]
    assert codes == [404, 200]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_path_address_reaches_the_function_as_domain_name(client: httpx.Client, api: str, host: str) -> None:
    address = api.replace("127.0.0.1", host)
    spoofed = {CALLED_HEADER.decode(): "evil.example"}
    name = address.removeprefix("https://")
    called = (name, name.partition("/")[0], "/health")
    assert received_address(client.get(f"{address}/health?a=1", headers=spoofed)) == called


@only_when_patched
def test_function_receives_the_name_of_a_stage_in_the_path(aws: Aws) -> bool:
    address = api_of(aws, {"GET /health": {}})
    aws("apigatewayv2").create_stage(ApiId=address.rpartition("/")[2], StageName="probes", AutoDeploy=True)
    assert aws.get(f"{address}/health").json()["rawPath"] == "/health"
    event = aws.get(f"{address}/probes/health").json()
    assert (event["routeKey"], event["requestContext"]["stage"]) == ("GET /health", "probes")
    return bool(event["rawPath"] == event["requestContext"]["http"]["path"] == "/probes/health")


def test_response_has_one_date_header(client: httpx.Client, api: str) -> None:
    assert len(client.get(f"{api}/health").headers.get_list("date")) == 1


def test_called_host_reaches_the_function(emulator: Emulator, client: httpx.Client, api: str) -> None:
    host = f"{api.rpartition('/')[2]}.execute-api.localhost:{emulator.port}"
    response = client.get(f"https://127.0.0.1:{emulator.port}/health", headers={"Host": host})
    assert received_address(response) == (host, host, "/health")


def test_unpatched_ministack_passes_another_domain_name(unpatched: Aws) -> None:
    api = api_of(unpatched, {"GET /health": {}})
    received = received_address(unpatched.get(f"{api}/health"))[0]
    assert received == f"{api.rpartition('/')[2]}.execute-api.localhost"


@pytest.mark.parametrize("scopes", [{}, {"scope": "openid"}, {"scp": ["a"]}, {"scope": "system/Patient.r"}])
def test_route_without_scopes_accepts_any_valid_token(
    emulator: Emulator, client: httpx.Client, api: str, scopes: Mapping[str, Any]
) -> None:
    address = f"{api}/fhir/Patient"
    assert client.get(address, headers=token(emulator, **scopes)).status_code == 200
    assert client.get(address, headers=token(emulator, **scopes, exp=int(time.time()) - 1)).status_code == 401


@pytest.mark.parametrize(
    ("claim", "handed_on"),
    [("a b", "a b"), (["a", "b"], "[a b]"), (["a"], "[a]"), ([], "[]"), (7, "7"), (True, "true")],
)
def test_claims_are_passed_as_strings(
    emulator: Emulator, client: httpx.Client, api: str, claim: object, handed_on: str
) -> None:
    names = ("scope", "scp", "https://example.com/tenant")
    claims: dict[str, Any] = dict.fromkeys(names, claim)
    headers = token(emulator, **claims)
    response = client.get(f"{api}/fhir/Patient", headers=headers)
    claims = response.json()["requestContext"]["authorizer"]["jwt"]["claims"]
    assert {claims[name] for name in names} == {handed_on}


def test_claims_of_an_issued_token_reach_the_function(emulator: Emulator, client: httpx.Client, api: str) -> None:
    issued = emulator.token(subject="dr-house", tenant="clinic", scopes=("system/Patient.r", "openid"))
    response = client.get(f"{api}/fhir/Patient", headers={"Authorization": f"Bearer {issued}"})
    claims = response.json()["requestContext"]["authorizer"]["jwt"]["claims"]
    assert (claims["sub"], claims["tenant"], claims["scope"]) == ("dr-house", "clinic", "system/Patient.r openid")


def test_token_of_another_key_returns_401(emulator: Emulator, client: httpx.Client, api: str) -> None:
    known = load_key(emulator.home / "keys" / "token.key")
    forged = RSAKey.generate_key(2048, {"kid": str(known.kid)})
    assert client.get(f"{api}/fhir/Patient", headers=token(emulator, key=known)).status_code == 200
    assert client.get(f"{api}/fhir/Patient", headers=token(emulator, key=forged)).status_code == 401


def test_head_is_not_routed_like_get(emulator: Emulator, client: httpx.Client, api: str) -> None:
    # Without a route of its own, HEAD is routed to `$default`.
    assert client.head(f"{api}/health").status_code == 401
    response = client.head(f"{api}/fhir/Patient", headers=token(emulator))
    assert (response.status_code, response.content) == (200, b"")


def test_issuer_is_compared_byte_for_byte(emulator: Emulator, client: httpx.Client, api: str) -> None:
    slash = f"{emulator.issuer()}/"
    assert client.get(f"{api}/slash", headers=token(emulator, iss=slash)).status_code == 200
    assert client.get(f"{api}/slash", headers=token(emulator)).status_code == 401
    assert client.get(f"{api}/fhir/Patient", headers=token(emulator, iss=slash)).status_code == 401


def test_malformed_token_returns_401_with_challenge(
    emulator: Emulator, unpatched: Aws, client: httpx.Client, api: str
) -> None:
    address, array = f"{api}/fhir/Patient", {"Authorization": "Bearer W10.W10.W10"}
    for headers in (array, {"Authorization": "Bearer a.b.c"}, token(emulator, exp="soon"), token(emulator, aud="b")):
        refused = client.get(address, headers=headers)
        assert (refused.status_code, refused.json()) == (401, {"message": "Unauthorized"})
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    missing = client.get(address)
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    routes = {"GET /fhir/{type}": {"issuer": unpatched.emulator.issuer()}}
    with unpatched.web(headers=array) as direct:
        assert direct.get(f"{api_of(unpatched, routes)}/fhir/Patient").status_code == 500


ORIGIN, OTHER_ORIGIN = "https://app.example.com", "https://evil.example"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "if-match"}
ROUTES: Mapping[str, Mapping[str, str]] = {"OPTIONS /{proxy+}": {}, "GET /fhir/{type}": {}}
CORS = {
    "AllowOrigins": [ORIGIN],
    "AllowMethods": ["GET", "PUT"],
    "AllowHeaders": ["authorization", "if-match"],
    "ExposeHeaders": ["etag", "location"],
    "MaxAge": 3600,
}


def api_with_cors(aws: Aws) -> str:
    address = api_of(aws, ROUTES)
    aws("apigatewayv2").update_api(ApiId=address.rpartition("/")[2], CorsConfiguration=CORS)
    return address


def test_gateway_answers_preflights_and_adds_cors_headers(client: httpx.Client, patched: Aws) -> None:
    address = f"{api_with_cors(patched)}/fhir/Patient"
    preflight = client.options(address, headers=PREFLIGHT)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "authorization,if-match",
        "access-control-max-age": "3600",
    }.items() <= preflight.headers.items()
    answer = client.get(address, headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "etag,location"
    others = {**PREFLIGHT, "Origin": OTHER_ORIGIN}
    assert "access-control-allow-origin" not in client.options(address, headers=others).headers
    assert "access-control-allow-origin" not in client.get(address, headers={"Origin": OTHER_ORIGIN}).headers


def test_other_options_requests_are_routed(patched: Aws, unpatched: Aws) -> None:
    def routed(aws: Aws) -> list[bool]:
        plain = api_of(aws, ROUTES)
        requests = [(api_with_cors(aws), {}), (plain, {}), (plain, PREFLIGHT)]
        with aws.web() as client:
            answers = [client.options(f"{address}/fhir/Patient", headers=headers) for address, headers in requests]
        assert not [each for each in answers if "access-control-allow-origin" in each.headers]
        methods = [each.json()["requestContext"]["http"]["method"] for each in answers if each.status_code == 200]
        return [method == "OPTIONS" for method in methods]

    assert routed(patched) == [True, True, True]
    assert routed(unpatched) == []


def test_bucket_cors_allows_presigned_requests_of_its_origins(client: httpx.Client, patched: Aws) -> None:
    s3, bucket = patched("s3"), patched.bucket()
    rule = {"AllowedOrigins": [ORIGIN], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    address = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a"})
    preflight = client.options(address, headers={**PREFLIGHT, "Access-Control-Request-Headers": "content-type"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    sent = client.put(address, content=b"a", headers={"Origin": ORIGIN})
    assert (sent.status_code, sent.headers["access-control-expose-headers"]) == (200, "ETag")
    assert client.options(address, headers={**PREFLIGHT, "Origin": OTHER_ORIGIN}).status_code == 403


READS_ISSUER = """
import json, urllib.request

def handler(address, context):
    print("called")
    with urllib.request.urlopen(address, timeout=5) as answer:
        return json.load(answer)
"""


def test_function_can_read_the_issuers_keys(emulator: Emulator, patched: Aws) -> None:
    function = patched.function("reads-issuer", READS_ISSUER)
    found = patched.invoke(function, f"{emulator.issuer()}/.well-known/openid-configuration")
    assert found["issuer"] == emulator.issuer()


@only_when_patched
def test_jwt_authorizer_has_no_lambda_authorizer_members(aws: Aws) -> bool:
    apis = aws("apigatewayv2")
    api = apis.create_api(Name="api", ProtocolType="HTTP")["ApiId"]
    created = apis.create_authorizer(
        ApiId=api,
        AuthorizerType="JWT",
        Name="jwt",
        IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Audience": ["a"], "Issuer": "https://issuer.example"},
    )
    found = apis.get_authorizer(ApiId=api, AuthorizerId=created["AuthorizerId"])
    members = {"AuthorizerPayloadFormatVersion", "EnableSimpleResponses", "AuthorizerResultTtlInSeconds"}
    return not members & (set(created) | set(found)) and found["JwtConfiguration"]["Audience"] == ["a"]
