"""The receivers of notifications: HTTPS endpoints and webhooks on loopback, in place of those of operators.

Like such a service, a receiver confirms its SNS subscription itself. A webhook gets the messages of the region's relay,
whose `User-Agent` names the region. A receiver keeps the newest notifications in memory, and
the private route returns them.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from healthcare_dr.emulator.admin_api import RECEIVERS_PATH, Notification, authenticated

KEPT: Final = 500
LONGEST_BODY: Final = 1 << 20
TYPE_HEADER: Final = "x-amz-sns-message-type"

Confirm = Callable[[str, str], object]
"""Confirms the subscription to a topic with a token. Blocks."""


class Receivers:
    """Receives notifications at `<RECEIVERS_PATH>/<name>`, for any name."""

    def __init__(self, *, confirm: Confirm, secret: str) -> None:
        self._confirm = confirm
        self._secret = secret
        self._received: deque[Notification] = deque(maxlen=KEPT)

    def routes(self) -> list[Route]:
        """Return the route of the receivers, and the private route with what they received."""
        return [
            Route(f"{RECEIVERS_PATH}/{{name}}", self._receive, methods=["POST"]),
            Route(RECEIVERS_PATH, self._list),
        ]

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        try:
            content = json.loads(body[:LONGEST_BODY])
            if request.headers.get(TYPE_HEADER) == "SubscriptionConfirmation":
                await asyncio.to_thread(self._confirm, str(content["TopicArn"]), str(content["Token"]))
                return Response(status_code=200)
            if TYPE_HEADER in request.headers:
                text, region = str(content["Message"]), str(content["TopicArn"]).split(":")[3]
            else:
                text, region = str(content["text"]), request.headers["user-agent"].rpartition("/")[2]
        except (ValueError, LookupError, TypeError, AttributeError):
            return Response(status_code=400)
        now = datetime.now(UTC).isoformat()
        name = str(request.path_params["name"])
        self._received.append(Notification(receiver=name, region=region, text=text, received=now))
        return Response(status_code=200)

    async def _list(self, request: Request) -> Response:
        if not authenticated(request.headers, self._secret):
            return Response(status_code=404)
        return JSONResponse([asdict(notification) for notification in self._received])
