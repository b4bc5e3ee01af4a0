"""What Route 53 thinks of each health check, asked of the process itself, so that no control plane is involved."""

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from healthcare_dr.emulator import asking
from healthcare_dr.emulator.asking import SECRET_HEADER
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout

PATH = "/_ministack/health-checks"

Response = tuple[int, dict[str, str], bytes]


class Judged(Protocol):
    """A health check as the data plane sees it."""

    @property
    def name(self) -> str:
        """What its tag `Name` says; empty without one."""

    @property
    def healthy(self) -> bool:
        """Its verdict."""

    @property
    def share(self) -> float | None:
        """The part of its checkers that find it healthy."""


@dataclass(frozen=True, kw_only=True)
class CheckStatus:
    """A check's name and verdict, and the share (0 to 1) of its checkers that find it healthy: None without any."""

    name: str
    healthy: bool
    share: float | None


def install(checks: Callable[[], Mapping[str, Judged]], *, secret: str) -> None:
    """Answer `PATH`, before the first request."""
    from ministack import app

    inner = app._handle_pre_body_request

    async def handle(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any], request_id: str
    ) -> Response | None:
        if path == PATH and hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), secret.encode()):
            content = {
                check: {"name": found.name, "healthy": found.healthy, "share": found.share}
                for check, found in checks().items()
            }
            return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()
        response: Response | None = await inner(method, path, headers, query, request_id)
        return response

    app._handle_pre_body_request = handle


def ask(layout: Layout, ports: Ports) -> dict[str, CheckStatus]:
    """All health checks by their ids.

    Raises:
        EmulatorError: the process does not say.
    """
    found = asking.ask(layout, ports, PATH, what="how its health checks are")
    return {name: CheckStatus(**check) for name, check in found.items()}
