"""The SMART configuration: built from the issuer's configuration, which is read once a minute."""

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from patient_api.discovery import smart
from patient_api.discovery.smart import SmartConfiguration, described, published_by
from unit.patient_api.fakes.api import Platform
from unit.patient_api.fakes.tls import HOST, Serving

PATH = "/fhir/.well-known/smart-configuration"
ISSUER = "https://idp.example.com/"
PUBLISHED = {
    "issuer": ISSUER,
    "jwks_uri": "https://idp.example.com/keys",
    "authorization_endpoint": "https://idp.example.com/authorize",
    "token_endpoint": "https://idp.example.com/token",
    "userinfo_endpoint": "https://idp.example.com/userinfo",
    "grant_types_supported": ["authorization_code", "client_credentials"],
    "response_types_supported": ["code"],
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "tls_client_auth"],
    "code_challenge_methods_supported": ["S256"],
}


def with_issuer(platform: Platform, published: Callable[[str], Mapping[str, Any] | None], issuer: str = ISSUER) -> None:
    platform.services.smart = SmartConfiguration(
        issuer=issuer, published=published, monotonic=lambda: platform.monotonic
    )


@pytest.mark.parametrize("headers", [{}, {"accept": "text/html"}])
def test_document_needs_no_token_and_is_json_for_any_accept(platform: Platform, headers: dict[str, str]) -> None:
    with_issuer(platform, {ISSUER: PUBLISHED}.get)
    reply = platform.call("GET", PATH, authorizer={}, headers=headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == {
        **{name: value for name, value in PUBLISHED.items() if name != "userinfo_endpoint"},
        "scopes_supported": [
            "system/Patient.cruds", "system/DocumentReference.crus", "system/AuditEvent.s",
            "user/Patient.cruds", "user/DocumentReference.crus", "user/AuditEvent.s",
        ],
        "capabilities": [
            "client-confidential-symmetric", "client-confidential-asymmetric",
            "permission-user", "permission-v1", "permission-v2",
        ],
    }  # fmt: skip
    assert not platform.audit()
    head = platform.call("HEAD", PATH, authorizer={}, headers=headers)
    assert (head.status, head.body) == (200, "")


def test_document_without_issuer_returns_404(platform: Platform) -> None:
    assert platform.call("GET", PATH, authorizer={}).status == 404


def test_issuer_is_read_once_a_minute_also_while_it_is_unreachable(platform: Platform) -> None:
    requested: list[str] = []
    responses: list[Mapping[str, Any]] = []

    def published(issuer: str) -> Mapping[str, Any] | None:
        requested.append(issuer)
        return responses[0] if responses else None

    with_issuer(platform, published)
    for _ in range(3):
        reply = platform.call("GET", PATH, authorizer={})
        assert (reply.status, reply.headers["retry-after"]) == (503, "60")
    responses.append(PUBLISHED)
    platform.monotonic += 60
    for _ in range(3):
        assert platform.call("GET", PATH, authorizer={}).status == 200
    assert requested == [ISSUER, ISSUER]


def test_elements_that_the_issuer_does_not_publish_are_omitted() -> None:
    keys = {"issuer": ISSUER, "jwks_uri": "https://idp.example.com/keys"}
    found = described(ISSUER, {**keys, "token_endpoint": 7, "authorization_endpoint": "http://idp.example.com"})
    assert {name: found[name] for name in keys} == keys
    assert not {"token_endpoint", "authorization_endpoint"} & found.keys()
    assert not found["grant_types_supported"]
    assert not found["code_challenge_methods_supported"]
    assert found["capabilities"] == ["permission-user", "permission-v1", "permission-v2"]


Publish = Callable[..., str]


@pytest.fixture
def publish(serving: Serving, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Serve one response as the configuration of an issuer at a path, and return that issuer."""
    monkeypatch.setattr(smart, "RESPONSE_SECONDS", 0.5)

    def publish(body: Callable[[str], bytes | None], *, path: str = "", status: str = "200 OK") -> str:
        wanted = f"GET {path.rstrip('/')}/.well-known/openid-configuration HTTP/1.1\r\n".encode()

        def serve(connection: socket.socket) -> None:
            with trusted.wrap_socket(connection, server_side=True) as inner:
                received, content = inner.recv(65536), body(issuer)
                if content is None:
                    inner.recv(1)
                line = status if received.startswith(wanted) else "404 Not Found"
                inner.sendall(f"HTTP/1.1 {line}\r\nContent-Length: {len(content or b'')}\r\n\r\n".encode())
                inner.sendall(content or b"")

        issuer = f"https://{HOST}:{serving(serve).port}{path}"
        return issuer

    return publish


def configuration(issuer: str) -> bytes:
    return json.dumps({**PUBLISHED, "issuer": issuer}).encode()


@pytest.mark.parametrize("path", ["", "/", "/realms/clinic", "/realms/clinic/"])
def test_issuer_may_end_with_a_slash(publish: Publish, path: str) -> None:
    issuer = publish(configuration, path=path)
    assert published_by(issuer) == {**PUBLISHED, "issuer": issuer}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (lambda issuer: configuration(f"{issuer}/other"), "200 OK"),
        (lambda issuer: configuration(f"{issuer}/"), "200 OK"),
        (configuration, "302 Found"),
        (configuration, "500 Internal Server Error"),
        (lambda _: b"<html>", "200 OK"),
        (lambda _: b"[1]", "200 OK"),
        (lambda _: b"\xff", "200 OK"),
        (lambda _: b"[" * 60_000, "200 OK"),
        (lambda issuer: configuration(issuer) + b" " * 65_536, "200 OK"),
        (lambda _: None, "200 OK"),
    ],
)
def test_issuer_without_valid_configuration_is_unavailable(
    publish: Publish, body: Callable[[str], bytes | None], status: str
) -> None:
    assert published_by(publish(body, status=status)) is None


@pytest.mark.parametrize(
    "issuer", ["https://localhost:1", "https://localhost:port", "https://name.invalid", "https://["]
)
def test_unreachable_issuer_is_unavailable(issuer: str) -> None:
    assert published_by(issuer) is None
