"""Patch the entry point of all services."""

from collections.abc import Awaitable, Callable
from typing import Any

from ministack import app

from healthcare_dr.emulator.patches.replacement import Response, replaces

HEALTH = "/_ministack/health"
READY = "/_ministack/ready"


def route_health_to_apis() -> None:
    """ministack answered `GET /health` itself on every host, which hid the `/health` of a deployed API."""
    app._HEALTH_PATHS = (HEALTH,)


@replaces(app, "_handle_pre_body_request")
async def block_admin_endpoints(
    inner: Callable[..., Awaitable[Response | None]],
    method: str,
    path: str,
    headers: dict[str, str],
    query: dict[str, Any],
    request_id: str,
) -> Response | None:
    """Without credentials, any client could erase all state, change settings and read Lambda code."""
    if path.startswith("/_ministack/") and path not in (HEALTH, READY):
        return 404, {"Content-Type": "application/json", "x-amzn-requestid": request_id}, b"{}"
    return await inner(method, path, headers, query, request_id)
