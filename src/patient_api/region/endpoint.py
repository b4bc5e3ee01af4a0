"""Probe the health of a region's own endpoint, within the limits of Route 53's health checkers."""

import re
import ssl
import time
from collections.abc import Callable
from functools import cache
from http.client import OK, HTTPException, HTTPSConnection
from typing import Final

# https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
CONNECT_SECONDS: Final = 4.0
RESPONSE_SECONDS: Final = 2.0
# As many consecutive failures as the health checks need, so that a single one raises no alarm.
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 1.0


def api_host(endpoint: str, region: str) -> str | None:
    """Return the host of a region's own HTTP API. None for any other address, such as the shared name (trap 23)."""
    found = re.fullmatch(rf"https://([a-z0-9]+\.execute-api\.{re.escape(region)}\.amazonaws\.com)/?", endpoint)
    return found[1] if found else None


def probe(
    host: str,
    *,
    port: int = 443,
    connect_seconds: float = CONNECT_SECONDS,
    response_seconds: float = RESPONSE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Return None when one of three attempts at `GET /health` has the status 200, else a code of the last failure."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE_SECONDS)
        failure = _attempt(host, port, connect_seconds, response_seconds)
        if failure is None:
            return None
    return failure


def _attempt(host: str, port: int, connect_seconds: float, response_seconds: float) -> str | None:
    connection = HTTPSConnection(host, port, timeout=connect_seconds, context=_tls_context())
    try:
        connection.connect()
        connection.sock.settimeout(response_seconds)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return None if status == OK else f"HTTP{status}"


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()
