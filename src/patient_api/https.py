"""Send single HTTPS requests with separate time limits for the connection and the response."""

import ssl
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
    connection = HTTPSConnection(host, port, timeout=connect_seconds, context=tls_context())
    try:
        connection.connect()
        connection.sock.settimeout(response_seconds)
        connection.request("GET", path, headers={ACCEPT: JSON})
        response = connection.getresponse()
        return response.status, response.read(limit) if limit else b""
    finally:
        connection.close()


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context that trusts the certificate authorities of the system."""
    return ssl.create_default_context()
