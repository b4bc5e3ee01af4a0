"""ASGI middleware of the services process: admission control, and the address that a client called.

API Gateway passes the domain name that the client called to the function, which builds absolute links from it. An API
of the embedded AWS has several addresses: names below `execute-api` and the shared name, through the edge proxy, and
`https://127.0.0.1:<port>/_aws/execute-api/<id>`, which needs no name resolution. The last one is treated as a domain
name, path included.
"""

import json
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

# The edge proxy sends it to the services process. API Gateway has no such header, so functions do not receive it.
CALLED_HEADER = b"x-embedded-called-host"
API_PATH = "/_aws/execute-api/"
# Concurrent requests to APIs that do not come through the edge proxy; the functions have fewer processes.
MOST_AT_ONCE = 32

_API = re.compile(re.escape(API_PATH) + r"[^/]+")
_API_HOST = b".execute-api."
_HTTPS_PORT = ":443"
_THROTTLED = json.dumps({"message": "Too Many Requests"}, separators=(",", ":")).encode()

Application = Callable[[Any, Any, Any], Awaitable[None]]

_called: ContextVar[str | None] = ContextVar("called_address", default=None)


def called_address() -> str | None:
    """Return the part between `https://` and the API's own path of the URL that the current request called."""
    return _called.get()


class CalledAddress:
    """An ASGI application that records the called address of each request before `application` serves it."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            named = dict(scope["headers"])
            if _from_edge(scope):
                # The edge proxy has put the API into the path; the client's URL has no such prefix.
                host, prefix = named.get(CALLED_HEADER, b""), None
                headers = [(name, value) for name, value in scope["headers"] if name != CALLED_HEADER]
                scope = {**scope, "headers": headers}
            else:
                host, prefix = named.get(b"host", b""), _API.match(scope["path"])
            name = host.decode("latin-1").removesuffix(_HTTPS_PORT)
            _called.set(name + (prefix[0] if prefix else "") if name else None)
        await self._application(scope, receive, send)


class Admission:
    """An ASGI application that responds 429 to requests to APIs while `MOST_AT_ONCE` others are in progress.

    Requests to AWS services are never rejected: Terraform, functions and the emulator's own control use them. Requests
    from the edge proxy are not either: it limits them itself, and health checks are among them.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._served = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve or reject one request."""
        if scope["type"] != "http" or _from_edge(scope) or not _for_an_api(scope):
            await self._application(scope, receive, send)
            return
        if self._served >= MOST_AT_ONCE:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_THROTTLED))]
            await send({"type": "http.response.start", "status": 429, "headers": headers})
            await send({"type": "http.response.body", "body": _THROTTLED})
            return
        self._served += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._served -= 1


def _from_edge(scope: Any) -> bool:
    """Return whether a request came through the UNIX socket, whose clients have no address."""
    return scope["client"] is None


def _for_an_api(scope: Any) -> bool:
    if scope["path"].startswith(API_PATH):
        return True
    return any(name == b"host" and _API_HOST in value for name, value in scope["headers"])
