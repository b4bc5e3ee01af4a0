"""Admission control of the services process: rejects requests to APIs before they cost work.

Requests to the AWS services themselves are always admitted: Terraform, functions and the control of a run depend on
them. So are requests from the edge proxy, whose listeners limit them; health checks are among them.
"""

import json
from typing import Any

from healthcare_dr.emulator.called_address import API_PATH, Application, through_a_door

# Requests to APIs past the front doors that are served at once; the functions' processes take fewer.
MOST_AT_ONCE = 32
API_HOST = b".execute-api."
THROTTLED = json.dumps({"message": "Too Many Requests"}, separators=(",", ":")).encode()


class Admission:
    """An ASGI application that answers 429 to requests for an API while `MOST_AT_ONCE` others are being served."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._served = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve or shed one request."""
        if scope["type"] != "http" or through_a_door(scope) or not _for_an_api(scope):
            await self._application(scope, receive, send)
            return
        if self._served >= MOST_AT_ONCE:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(THROTTLED))]
            await send({"type": "http.response.start", "status": 429, "headers": headers})
            await send({"type": "http.response.body", "body": THROTTLED})
            return
        self._served += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._served -= 1


def _for_an_api(scope: Any) -> bool:
    if scope["path"].startswith(API_PATH):
        return True
    return any(name == b"host" and API_HOST in value for name, value in scope["headers"])
