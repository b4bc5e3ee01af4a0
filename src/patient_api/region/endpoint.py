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
ANSWER_SECONDS: Final = 2.0
# In a row, as many as the health checks need: one that fails by chance wakes nobody.
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 1.0


def host_of(endpoint: str, region: str) -> str | None:
    """The host of a region's own HTTP API; None for any other address, the shared name among them (trap 23)."""
    found = re.fullmatch(rf"https://([a-z0-9]+\.execute-api\.{re.escape(region)}\.amazonaws\.com)/?", endpoint)
    return found[1] if found else None


def failure(
    host: str,
    *,
    port: int = 443,
    connect_seconds: float = CONNECT_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """None when `GET /health` answers 200 at one of three attempts, else how the last one failed, as a code."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE_SECONDS)
        found = _failure(host, port, connect_seconds, answer_seconds)
        if found is None:
            return None
    return found


def _failure(host: str, port: int, connect_seconds: float, answer_seconds: float) -> str | None:
    connection = HTTPSConnection(host, port, timeout=connect_seconds, context=_trusted())
    try:
        connection.connect()
        connection.sock.settimeout(answer_seconds)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return None if status == OK else f"HTTP{status}"


@cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context()
