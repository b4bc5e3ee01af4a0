"""The status of each Route 53 health check, read from the edge process, so that no control plane is involved."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from healthcare_dr.emulator import admin_client
from healthcare_dr.emulator.admin_client import authenticated
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.route53.model import CheckStatus, Observation

PATH = "/_edge/health-checks"


def route(checks: Callable[[], Mapping[str, CheckStatus]], *, secret: str) -> Route:
    """Return the route that answers with all health checks by id, to requests that carry `secret`."""

    async def answer(request: Request) -> Response:
        if not authenticated(request.headers, secret):
            return Response(status_code=404)
        return JSONResponse(
            {
                check_id: {
                    "name": status.name,
                    "healthy": status.healthy,
                    "share": status.share,
                    "observations": [list(observation) for observation in status.observations],
                }
                for check_id, status in checks().items()
            }
        )

    return Route(PATH, answer)


def ask(layout: Layout, ports: Ports) -> dict[str, CheckStatus]:
    """Return the status of all health checks by id.

    Raises:
        EmulatorError: the edge process does not answer.
    """
    found = admin_client.ask(layout, ports.issuer, PATH, what="how its health checks are")
    return {
        check_id: CheckStatus(
            name=status["name"],
            healthy=status["healthy"],
            share=status["share"],
            observations=tuple(Observation(*observation) for observation in status["observations"]),
        )
        for check_id, status in found.items()
    }
