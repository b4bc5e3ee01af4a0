"""What Route 53 thinks of each health check, asked of the process itself, so that no control plane is involved."""

import hmac
import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.replication.pending import SECRET_HEADER
from healthcare_dr.errors import EmulatorError

# Answered on loopback, to whoever knows root's secret: functions do not.
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
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(urlsplit(ports.endpoint).netloc, timeout=10, context=context)
    try:
        connection.request("GET", PATH, headers={SECRET_HEADER: root_secret(layout)})
        response = connection.getresponse()
        content = response.read()
    except OSError as error:
        raise EmulatorError(f"the embedded AWS does not say how its health checks are: {error}") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise EmulatorError(f"the embedded AWS does not say how its health checks are: HTTP {response.status}")
    return {name: CheckStatus(**found) for name, found in json.loads(content).items()}
