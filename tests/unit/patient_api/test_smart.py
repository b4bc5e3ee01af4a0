"""SMART discovery: built from what the issuer publishes, without a token, and at the issuer's expense once a minute."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest
import trustme

from patient_api.discovery import smart
from patient_api.discovery.smart import SmartConfiguration, described, published_by
from unit.patient_api.whole_api import Platform

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
def test_the_document_needs_no_token_and_is_json_whatever_is_accepted(
    platform: Platform, headers: dict[str, str]
) -> None:
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


def test_without_an_issuer_there_is_no_document(platform: Platform) -> None:
    assert platform.call("GET", PATH, authorizer={}).status == 404


def test_the_issuer_is_asked_once_a_minute_also_while_it_does_not_answer(platform: Platform) -> None:
    asked: list[str] = []
    answers: list[Mapping[str, Any]] = []

    def published(issuer: str) -> Mapping[str, Any] | None:
        asked.append(issuer)
        return answers[0] if answers else None

    with_issuer(platform, published)
    for _ in range(3):
        reply = platform.call("GET", PATH, authorizer={})
        assert (reply.status, reply.headers["retry-after"]) == (503, "60")
    answers.append(PUBLISHED)
    platform.monotonic += 60
    for _ in range(3):
        assert platform.call("GET", PATH, authorizer={}).status == 200
    assert asked == [ISSUER, ISSUER]


def test_what_the_issuer_does_not_publish_is_not_made_up() -> None:
    keys = {"issuer": ISSUER, "jwks_uri": "https://idp.example.com/keys"}
    found = described(ISSUER, {**keys, "token_endpoint": 7, "authorization_endpoint": "http://idp.example.com"})
    assert {name: found[name] for name in keys} == keys
    assert not {"token_endpoint", "authorization_endpoint"} & found.keys()
    assert not found["grant_types_supported"]
    assert not found["code_challenge_methods_supported"]
    assert found["capabilities"] == ["permission-user", "permission-v1", "permission-v2"]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Serves one answer for the configuration of an issuer at a path, and returns that issuer."""
    authority, listeners = trustme.CA(), []
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(smart, "_trusted", lambda: client)
    monkeypatch.setattr(smart, "RESPONSE_SECONDS", 0.5)

    def serve(body: Callable[[str], bytes | None], *, path: str = "", status: str = "200 OK") -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        issuer = f"https://localhost:{listener.getsockname()[1]}{path}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        wanted = f"GET {path.rstrip('/')}/.well-known/openid-configuration HTTP/1.1\r\n".encode()

        def answer() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                        asked, content = connection.recv(65536), body(issuer)
                        if content is None:
                            connection.recv(1)
                        said = status if asked.startswith(wanted) else "404 Not Found"
                        length = len(content or b"")
                        connection.sendall(f"HTTP/1.1 {said}\r\nContent-Length: {length}\r\n\r\n".encode())
                        connection.sendall(content or b"")

        Thread(target=answer, daemon=True).start()
        return issuer

    yield serve
    for listener in listeners:
        listener.close()


def configuration(issuer: str) -> bytes:
    return json.dumps({**PUBLISHED, "issuer": issuer}).encode()


@pytest.mark.parametrize("path", ["", "/", "/realms/clinic", "/realms/clinic/"])
def test_an_issuers_configuration_is_read_with_or_without_a_trailing_slash(
    serving: Callable[..., str], path: str
) -> None:
    issuer = serving(configuration, path=path)
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
def test_an_issuer_that_publishes_no_configuration_of_its_own_is_unavailable(
    serving: Callable[..., str], body: Callable[[str], bytes | None], status: str
) -> None:
    assert published_by(serving(body, status=status)) is None


@pytest.mark.parametrize(
    "issuer", ["https://localhost:1", "https://localhost:port", "https://name.invalid", "https://["]
)
def test_an_issuer_that_cannot_be_reached_is_unavailable(issuer: str) -> None:
    assert published_by(issuer) is None
