"""Pass the address that a client called to the function behind the API.

API Gateway passes the domain name that the client called to the function, which builds absolute links from it. An API
of the embedded AWS has several addresses: names below `execute-api` and the shared name, through a listener of the edge
proxy, and `https://127.0.0.1:<port>/_aws/execute-api/<id>`, which needs no name resolution. The last one is treated as
a domain name, path included.
"""

import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

# From a front door to the services process. API Gateway has no such header, so functions do not see it.
CALLED_HEADER = b"x-embedded-called-host"
API_PATH = "/_aws/execute-api/"

_API = re.compile(re.escape(API_PATH) + r"[^/]+")
_HTTPS_PORT = ":443"

Application = Callable[[Any, Any, Any], Awaitable[None]]

_called: ContextVar[str | None] = ContextVar("called_address", default=None)


def called_address() -> str | None:
    """Return what stands between `https://` and the path of the API in the request that is being served."""
    return _called.get()


def through_a_door(scope: Any) -> bool:
    """Return whether a request came through the UNIX socket, whose clients have no address."""
    return scope["client"] is None


class CalledAddress:
    """An ASGI application that notes the called address of each request before `application` serves it."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            named = dict(scope["headers"])
            if through_a_door(scope):
                # The door has chosen the API, which is in the path; the client called no path of this kind.
                host, prefix = named.get(CALLED_HEADER, b""), None
                headers = [(name, value) for name, value in scope["headers"] if name != CALLED_HEADER]
                scope = {**scope, "headers": headers}
            else:
                host, prefix = named.get(b"host", b""), _API.match(scope["path"])
            name = host.decode("latin-1").removesuffix(_HTTPS_PORT)
            _called.set(name + (prefix[0] if prefix else "") if name else None)
        await self._application(scope, receive, send)
