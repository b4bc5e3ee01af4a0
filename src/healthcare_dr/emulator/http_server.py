"""uvicorn's HTTP/1.1 protocol as the processes of the embedded AWS serve it: parsed in C, without access logs."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

KEEP_ALIVE_SECONDS = 75
GRACEFUL_SECONDS = 3
TLS_SHUTDOWN_SECONDS = 0.5


class Loop(uvloop.Loop):
    """The event loop of both processes. It closes TLS connections without waiting half a minute for idle clients."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_SHUTDOWN_SECONDS)
        return cast(asyncio.Server, await super().create_server(*args, **options))


def http_config(application: Any, **options: Any) -> uvicorn.Config:
    """Return the configuration that every HTTP server of the embedded AWS shares; `options` are uvicorn's."""
    return uvicorn.Config(
        application,
        http=HttpToolsProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # No proxy is in front: otherwise any client could choose the address that policies see.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        **options,
    )


def protocol_factory(config: uvicorn.Config, state: ServerState) -> Callable[[], HttpToolsProtocol]:
    """Return what makes the protocol of one connection, for servers that uvicorn does not start itself."""
    if not config.loaded:
        config.load()
    return lambda: HttpToolsProtocol(config=config, server_state=state, app_state={})
