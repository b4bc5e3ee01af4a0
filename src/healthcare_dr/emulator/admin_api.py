"""The private HTTP routes of the emulator's processes, and their client. Requests carry the secret of root.

- The edge process reports the status of Route 53 health checks, so that reading it involves no control plane.
- The edge process reports the notifications that its receivers got.
- The services process reports the changes that have not replicated, including a write that was just acknowledged.
"""

import hmac
import http.client
import json
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from healthcare_dr.emulator.configuration import Layout, Ports
from healthcare_dr.emulator.route53.model import CheckStatus, Observation
from healthcare_dr.errors import EmulatorError

SECRET_HEADER: Final = "x-healthcare-dr-root"  # noqa: S105 - the name of a header
HEALTH_CHECKS_PATH: Final = "/_edge/health-checks"
RECEIVERS_PATH: Final = "/_edge/receivers"
REPLICATION_PATH: Final = "/_ministack/replication"
# The query parameter of REPLICATION_PATH that names a table or bucket; it may be repeated.
ONLY: Final = "only"
TIMEOUT_SECONDS: Final = 10


@dataclass(frozen=True)
class PendingChanges:
    """The number of writes that have not replicated, and the age of the oldest of them in seconds."""

    pending: int = 0
    waiting_seconds: float = 0.0


@dataclass(frozen=True)
class Notification:
    """A notification that a receiver got.

    Attributes:
        receiver: the last part of the receiver's path.
        region: the region that sent it.
        received: the time in UTC, in ISO 8601.
    """

    receiver: str
    region: str
    text: str
    received: str


def authenticated(headers: Mapping[str, str], secret: str) -> bool:
    """Return whether a request carries root's secret."""
    return hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), secret.encode())


def send(
    layout: Layout, address: str, path: str, headers: Mapping[str, str], *, timeout: float = TIMEOUT_SECONDS
) -> tuple[int, bytes]:
    """Send a GET request to the process at `address`, and return status and content of the response.

    Raises:
        OSError, HTTPException: no valid response.
    """
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(urlsplit(address).netloc, timeout=timeout, context=context)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def get(layout: Layout, address: str, path: str, *, subject: str) -> Any:
    """Return the JSON content of `path` at the process at `address`.

    Raises:
        EmulatorError: the process does not answer; the message names the `subject`.
    """
    try:
        status, content = send(layout, address, path, {SECRET_HEADER: layout.read_root_secret()})
        if status != http.client.OK:
            raise EmulatorError(f"the embedded AWS did not report {subject}: HTTP {status}")
        return json.loads(content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EmulatorError(f"the embedded AWS did not report {subject}: {reason}") from None


def get_health_checks(layout: Layout, ports: Ports) -> dict[str, CheckStatus]:
    """Return the status of all health checks by id.

    Raises:
        EmulatorError: the edge process does not answer.
    """
    found = get(layout, ports.issuer, HEALTH_CHECKS_PATH, subject="the status of its health checks")
    return {
        check_id: CheckStatus(
            **{**status, "observations": tuple(Observation(*observation) for observation in status["observations"])}
        )
        for check_id, status in found.items()
    }


def get_notifications(layout: Layout, ports: Ports) -> list[Notification]:
    """Return the notifications that the receivers got since the edge process started, the oldest first.

    Raises:
        EmulatorError: the edge process does not answer.
    """
    found = get(layout, ports.issuer, RECEIVERS_PATH, subject="the notifications that it received")
    return [Notification(**each) for each in found]


def get_pending_changes(layout: Layout, ports: Ports, *, only: Collection[str] = ()) -> PendingChanges:
    """Return the pending changes of the tables and buckets `only`, or of all when it is empty.

    Raises:
        EmulatorError: the services process does not answer.
    """
    path = f"{REPLICATION_PATH}?{urlencode([(ONLY, name) for name in only])}"
    return PendingChanges(**get(layout, ports.endpoint, path, subject="the changes that have not replicated"))


def health_checks_route(checks: Callable[[], Mapping[str, CheckStatus]], *, secret: str) -> Route:
    """Return the route with the status of all health checks by id; 404 for requests without `secret`."""

    async def endpoint(request: Request) -> Response:
        if not authenticated(request.headers, secret):
            return Response(status_code=404)
        return JSONResponse({check_id: asdict(status) for check_id, status in checks().items()})

    return Route(HEALTH_CHECKS_PATH, endpoint)
