"""Tests of HTTP APIs: the address and claims that a function receives, tokens, and CORS."""

import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from joserfc import jwt

from healthcare_dr.emulator import Emulator
from healthcare_dr.emulator.services.middleware import CALLED_HEADER
from healthcare_dr.emulator.token_issuer import load_key

Clients = Callable[..., Any]

ECHO = """
import json

def handler(event, context):
    print("called")
    return {"statusCode": 200, "body": json.dumps(event)}
"""


def web(emulator: Emulator) -> httpx.Client:
    return httpx.Client(verify=ssl.create_default_context(cafile=str(emulator.certificate)), trust_env=False)


@pytest.fixture(scope="module")
def api(emulator: Emulator, patched: Clients, make_function: Callable[..., str], make_api: Callable[..., str]) -> str:
    """The id of an API whose routes list no scopes, as in the platform."""
    issuer = emulator.issuer()
    routes = {"GET /health": {}, "GET /fhir/{type}": {"issuer": issuer}, "GET /slash": {"issuer": f"{issuer}/"}}
    return make_api(patched, make_function(patched, "gateway-echo", ECHO), routes, permitted=True)


@pytest.fixture
def client(emulator: Emulator) -> Iterator[httpx.Client]:
    with web(emulator) as client:
        yield client


def token(emulator: Emulator, **claims: object) -> Mapping[str, str]:
    """Return an Authorization header with additional claims."""
    key = load_key(emulator.home / "keys" / "token.key")
    now = int(time.time())
    usual = {"iss": emulator.issuer(), "aud": "healthcare-dr", "sub": "s", "iat": now, "exp": now + 600}
    signed = jwt.encode({"alg": "RS256", "kid": key.kid}, {**usual, **claims}, key)
    return {"Authorization": f"Bearer {signed}"}


def received_address(response: httpx.Response) -> tuple[str, str, str]:
    assert response.status_code == 200, response.text
    event = response.json()
    return event["requestContext"]["domainName"], event["headers"]["host"], event["rawPath"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_path_address_reaches_the_function_as_domain_name(
    emulator: Emulator, client: httpx.Client, api: str, host: str
) -> None:
    address = f"https://{host}:{emulator.port}/_aws/execute-api/{api}"
    spoofed = {CALLED_HEADER.decode(): "evil.example"}
    called = (f"{host}:{emulator.port}/_aws/execute-api/{api}", f"{host}:{emulator.port}", "/health")
    assert received_address(client.get(f"{address}/health?a=1", headers=spoofed)) == called


def test_response_has_one_date_header(emulator: Emulator, client: httpx.Client, api: str) -> None:
    assert len(client.get(f"{emulator.api_url(api)}/health").headers.get_list("date")) == 1


def test_called_host_reaches_the_function(emulator: Emulator, client: httpx.Client, api: str) -> None:
    host = f"{api}.execute-api.localhost:{emulator.port}"
    response = client.get(f"https://127.0.0.1:{emulator.port}/health", headers={"Host": host})
    assert received_address(response) == (host, host, "/health")


def test_unpatched_ministack_passes_another_domain_name(
    unpatched_emulator: Emulator, unpatched: Clients, make_function: Callable[..., str], make_api: Callable[..., str]
) -> None:
    api = make_api(unpatched, make_function(unpatched, "gateway-echo", ECHO), {"GET /health": {}}, permitted=True)
    with web(unpatched_emulator) as client:
        assert (
            received_address(client.get(f"{unpatched_emulator.api_url(api)}/health"))[0]
            == f"{api}.execute-api.localhost"
        )


@pytest.mark.parametrize("scopes", [{}, {"scope": "openid"}, {"scp": ["a"]}, {"scope": "system/Patient.r"}])
def test_route_without_scopes_accepts_any_valid_token(
    emulator: Emulator, client: httpx.Client, api: str, scopes: Mapping[str, object]
) -> None:
    address = f"{emulator.api_url(api)}/fhir/Patient"
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
    response = client.get(
        f"{emulator.api_url(api)}/fhir/Patient", headers=token(emulator, **dict.fromkeys(names, claim))
    )
    claims = response.json()["requestContext"]["authorizer"]["jwt"]["claims"]
    assert {claims[name] for name in names} == {handed_on}


def test_issuer_is_compared_byte_for_byte(emulator: Emulator, client: httpx.Client, api: str) -> None:
    slash, address = f"{emulator.issuer()}/", emulator.api_url(api)
    assert client.get(f"{address}/slash", headers=token(emulator, iss=slash)).status_code == 200
    assert client.get(f"{address}/slash", headers=token(emulator)).status_code == 401
    assert client.get(f"{address}/fhir/Patient", headers=token(emulator, iss=slash)).status_code == 401


def test_malformed_token_returns_401_with_challenge(
    emulator: Emulator,
    unpatched_emulator: Emulator,
    unpatched: Clients,
    client: httpx.Client,
    api: str,
    make_function: Callable[..., str],
    make_api: Callable[..., str],
) -> None:
    address = f"{emulator.api_url(api)}/fhir/Patient"
    array = {"Authorization": "Bearer W10.W10.W10"}
    for headers in (array, {"Authorization": "Bearer a.b.c"}, token(emulator, exp="soon"), token(emulator, aud="b")):
        refused = client.get(address, headers=headers)
        assert (refused.status_code, refused.json()) == (401, {"message": "Unauthorized"})
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert client.get(address).headers["www-authenticate"] == "Bearer"
    routes = {"GET /fhir/{type}": {"issuer": unpatched_emulator.issuer()}}
    function = make_function(unpatched, f"refused-{uuid.uuid4().hex}", ECHO)
    with web(unpatched_emulator) as direct:
        address = f"{unpatched_emulator.api_url(make_api(unpatched, function, routes, permitted=True))}/fhir/Patient"
        assert direct.get(address, headers=array).status_code == 500


ORIGIN = "https://app.example.com"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "if-match"}
ROUTES: Mapping[str, Mapping[str, Any]] = {"OPTIONS /{proxy+}": {}, "GET /fhir/{type}": {}}
CORS = {
    "AllowOrigins": [ORIGIN],
    "AllowMethods": ["GET", "PUT"],
    "AllowHeaders": ["authorization", "if-match"],
    "ExposeHeaders": ["etag", "location"],
    "MaxAge": 3600,
}


def crossed(client: Clients, make_function: Callable[..., str], make_api: Callable[..., str]) -> str:
    api = make_api(client, make_function(client, f"cors-{uuid.uuid4().hex}", ECHO), ROUTES, permitted=True)
    client("apigatewayv2").update_api(ApiId=api, CorsConfiguration=CORS)
    return api


def test_gateway_answers_preflights_and_adds_cors_headers(
    emulator: Emulator,
    client: httpx.Client,
    patched: Clients,
    make_function: Callable[..., str],
    make_api: Callable[..., str],
) -> None:
    address = f"{emulator.api_url(crossed(patched, make_function, make_api))}/fhir/Patient"
    preflight = client.options(address, headers=PREFLIGHT)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert preflight.headers["access-control-allow-methods"] == "GET,PUT"
    assert preflight.headers["access-control-allow-headers"] == "authorization,if-match"
    assert preflight.headers["access-control-max-age"] == "3600"
    answer = client.get(address, headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "etag,location"
    others = {**PREFLIGHT, "Origin": "https://evil.example"}
    assert "access-control-allow-origin" not in client.options(address, headers=others).headers
    assert "access-control-allow-origin" not in client.get(address, headers={"Origin": others["Origin"]}).headers


def test_other_options_requests_are_routed(
    emulator: Emulator,
    unpatched_emulator: Emulator,
    patched: Clients,
    unpatched: Clients,
    make_function: Callable[..., str],
    make_api: Callable[..., str],
) -> None:
    def routed(target: Emulator, clients: Clients) -> list[bool]:
        plain = make_api(clients, make_function(clients, "gateway-plain", ECHO), ROUTES, permitted=True)
        requests = [(crossed(clients, make_function, make_api), {}), (plain, {}), (plain, PREFLIGHT)]
        with web(target) as client:
            answers = [client.options(f"{target.api_url(api)}/fhir/Patient", headers=head) for api, head in requests]
        assert not [each for each in answers if "access-control-allow-origin" in each.headers]
        methods = [each.json()["requestContext"]["http"]["method"] for each in answers if each.status_code == 200]
        return [method == "OPTIONS" for method in methods]

    assert routed(emulator, patched) == [True, True, True]
    assert routed(unpatched_emulator, unpatched) == []


def test_bucket_cors_allows_presigned_requests_of_its_origins(client: httpx.Client, patched: Clients) -> None:
    s3, bucket = patched("s3"), f"cors-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    rule = {"AllowedOrigins": [ORIGIN], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    address = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a"})
    preflight = client.options(address, headers={**PREFLIGHT, "Access-Control-Request-Headers": "content-type"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    sent = client.put(address, content=b"a", headers={"Origin": ORIGIN})
    assert (sent.status_code, sent.headers["access-control-expose-headers"]) == (200, "ETag")
    assert client.options(address, headers={**PREFLIGHT, "Origin": "https://evil.example"}).status_code == 403


DISCOVERS = """
import json, urllib.request

def handler(event, context):
    print("called")
    with urllib.request.urlopen({address!r}, timeout=5) as answer:
        return json.load(answer)
"""


def test_function_can_read_the_issuers_keys(
    emulator: Emulator, patched: Clients, make_function: Callable[..., str]
) -> None:
    source = DISCOVERS.format(address=f"{emulator.issuer()}/.well-known/openid-configuration")
    function = make_function(patched, "gateway-discovers", source)
    answer = patched("lambda").invoke(FunctionName=function)
    assert json.load(answer["Payload"])["issuer"] == emulator.issuer()
