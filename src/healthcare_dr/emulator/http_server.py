"""Configure uvicorn's HTTP/1.1 protocol for the processes of the embedded AWS: parsed in C, without access logs."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

KEEP_ALIVE_SECONDS = 75
GRACEFUL_SECONDS = 3
TLS_SHUTDOWN_SECONDS = 0.5
CONTINUE = b"HTTP/1.1 100 "

logger = logging.getLogger("healthcare_dr.emulator")


class Loop(uvloop.Loop):
    """The event loop of both processes. It closes TLS connections without waiting half a minute for idle clients."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_SHUTDOWN_SECONDS)
        return cast(asyncio.Server, await super().create_server(*args, **options))


class WholeResponse:
    """The transport of one response, which sends its head together with the first part of its body.

    uvicorn writes them one after the other, and on a busy machine a few milliseconds pass in between. Terraform's
    provider sometimes closes a connection on which it has the head and waits for the body, and repeats the request: the
    resource to be created then exists already. This happened to one in 300 requests.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Keep the head of a response. Send any other data after the kept head."""
        if not self._head and data.startswith(b"HTTP/1.1 ") and not data.startswith(CONTINUE):
            self._head = data
        else:
            head, self._head = self._head, b""
            self._transport.write(head + data)

    def flush(self) -> None:
        """Send the head of a response without a body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close the connection once all is sent."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or being closed."""
        return self._transport.is_closing()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol of one connection, with head and body in one write. It logs requests whose client disconnected
    before the response.

    Such a request may have been carried out: when it is repeated, the resource to be created may exist.
    """

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is None or self.cycle is before:
            return
        whole, complete = WholeResponse(self.cycle.transport), self.cycle.on_response

        def respond() -> None:
            whole.flush()
            complete()

        self.cycle.transport = cast(asyncio.Transport, whole)
        self.cycle.on_response = respond

    def connection_lost(self, exc: Exception | None) -> None:
        # Clients on the UNIX socket have no address: clients of the edge proxy disconnect whenever they time out.
        if self.client is not None and self.cycle and not self.cycle.response_complete:
            logger.warning(
                "The client of %s %s disconnected before the response (%s)",
                self.scope["method"],
                self.scope["path"],
                exc or "it closed the connection",
            )
        super().connection_lost(exc)


def http_config(application: Any, **options: Any) -> uvicorn.Config:
    """Return the configuration that every HTTP server of the embedded AWS shares; `options` are uvicorn's."""
    return uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # There is no proxy: otherwise any client could choose the address that policies see.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        **options,
    )


def protocol_factory(config: uvicorn.Config, state: ServerState) -> Callable[[], Protocol]:
    """Return the factory of a connection's protocol, for servers that uvicorn does not start itself."""
    if not config.loaded:
        config.load()
    return lambda: Protocol(config=config, server_state=state, app_state={})
