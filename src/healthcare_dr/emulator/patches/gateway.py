"""Patch the entry point of all services."""

from typing import Any

from ministack import app

HEALTH = "/_ministack/health"
READY = "/_ministack/ready"


def route_health_to_apis() -> None:
    """ministack answered `GET /health` itself on every host, which hid the `/health` of a deployed API."""
    app._HEALTH_PATHS = (HEALTH,)


def block_admin_endpoints() -> None:
    """Without credentials, any client could erase all state, change settings and read Lambda code."""
    inner = app._handle_pre_body_request

    async def handle(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any], request_id: str
    ) -> tuple[int, dict[str, str], bytes] | None:
        if path.startswith("/_ministack/") and path not in (HEALTH, READY):
            return 404, {"Content-Type": "application/json", "x-amzn-requestid": request_id}, b"{}"
        response: tuple[int, dict[str, str], bytes] | None = await inner(method, path, headers, query, request_id)
        return response

    app._handle_pre_body_request = handle
