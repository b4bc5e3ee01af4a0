"""Tests of the issuer's tokens with a JWT authorizer and a real Lambda function."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from healthcare_dr.emulator import Emulator
from healthcare_dr.emulator.token_issuer import load_key, sign
from unit.emulator.aws import ECHO, Aws

SCOPES = ("system/Patient.r", "openid")


@pytest.fixture(scope="module")
def api(patched: Aws) -> Iterator[httpx.Client]:
    issuer = patched.emulator.issuer()
    limited = {"issuer": issuer, "scopes": ["system/Patient.r"]}
    routes: dict[str, dict[str, Any]] = {
        "GET /health": {},
        "GET /fhir/Patient/{id}": limited,
        "HEAD /fhir/Patient/{id}": limited,
        "$default": {"issuer": issuer},
    }
    api_id = patched.api(patched.function("echo", ECHO), routes)
    with patched.web(base_url=patched.emulator.api_url(api_id)) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_valid_token_is_accepted_and_its_claims_reach_the_function(emulator: Emulator, api: httpx.Client) -> None:
    token = emulator.token(subject="dr-house", tenant="clinic", scopes=SCOPES)
    response = api.get("/fhir/Patient/1", headers=bearer(token))
    assert response.status_code == 200
    claims = response.json()["requestContext"]["authorizer"]["jwt"]["claims"]
    assert (claims["sub"], claims["tenant"], claims["scope"]) == ("dr-house", "clinic", " ".join(SCOPES))


def test_token_without_the_route_scope_returns_403(emulator: Emulator, api: httpx.Client) -> None:
    token = emulator.token(subject="s", tenant="t", scopes=["system/Observation.r"])
    assert api.get("/fhir/Patient/1", headers=bearer(token)).status_code == 403


def test_head_is_not_routed_like_get(emulator: Emulator, api: httpx.Client) -> None:
    """Without a route of its own, HEAD is routed to `$default`; a route for HEAD has its own scopes."""
    assert api.head("/health").status_code == 401
    for scopes, status in ((SCOPES, 200), (("system/Observation.r",), 403)):
        token = emulator.token(subject="s", tenant="t", scopes=scopes)
        response = api.head("/fhir/Patient/1", headers=bearer(token))
        assert (response.status_code, response.content) == (status, b"")


def test_token_of_another_key_or_issuer_returns_401(emulator: Emulator, api: httpx.Client) -> None:
    known = load_key(emulator.home / "keys" / "token.key")
    forged = RSAKey.generate_key(2048, {"kid": str(known.kid)})
    for key, issuer in ((forged, emulator.issuer()), (known, "https://issuer.example")):
        token = sign(
            key,
            issuer=issuer,
            subject="s",
            tenant="t",
            scopes=SCOPES,
            audience="healthcare-dr",
            lifetime=timedelta(hours=1),
        )
        assert api.get("/fhir/Patient/1", headers=bearer(token)).status_code == 401


def test_issuer_publishes_only_public_keys_and_issues_no_tokens(patched: Aws) -> None:
    with patched.web(base_url=patched.emulator.issuer()) as client:
        discovery = client.get("/.well-known/openid-configuration").json()
        assert discovery["issuer"] == patched.emulator.issuer()
        assert "token_endpoint" not in discovery
        (key,) = client.get(discovery["jwks_uri"]).json()["keys"]
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi"}
        assert (key["alg"], key["use"], len(key["n"])) == ("RS256", "sig", 342)
        assert client.post("/token").status_code == 404


def test_restart_keeps_the_signing_key(make_emulator: Callable[..., Emulator]) -> None:
    emulator = make_emulator()
    kids = set()
    for _ in range(2):
        token = emulator.token(subject="s", tenant="t", scopes=[])
        header = token.split(".")[0]
        kids.add(json.loads(urlsafe_b64decode(header + "=="))["kid"])
        emulator.start()
        emulator.stop()
    assert len(kids) == 1
