"""Send single HTTPS requests with separate time limits for the connection and the response."""

import ssl
from collections.abc import Mapping
from functools import cache
from http.client import HTTPSConnection

from patient_api.contract.headers import ACCEPT, JSON


def get(
    host: str,
    path: str,
    *,
    port: int | None = None,
    connect_seconds: float,
    response_seconds: float,
    limit: int = 0,
) -> tuple[int, bytes]:
    """Return the status of a GET of JSON, and up to `limit` bytes of the body. Raises OSError, HTTPException."""
    return request(
        "GET",
        host,
        path,
        port=port,
        headers={ACCEPT: JSON},
        connect_seconds=connect_seconds,
        response_seconds=response_seconds,
        limit=limit,
    )


def request(
    method: str,
    host: str,
    path: str,
    *,
    port: int | None,
    headers: Mapping[str, str],
    body: bytes | None = None,
    connect_seconds: float,
    response_seconds: float,
    limit: int = 0,
) -> tuple[int, bytes]:
    """Return the status of a request, and up to `limit` bytes of the body. Raises OSError, HTTPException.

    `connect_seconds` applies to each address of the host, and `response_seconds` to each part of the response.
    """
    connection = HTTPSConnection(host, port, timeout=connect_seconds, context=tls_context())
    try:
        connection.connect()
        connection.sock.settimeout(response_seconds)
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read(limit) if limit else b""
    finally:
        connection.close()


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that trusts the certificate authorities of the system."""
    return ssl.create_default_context()
