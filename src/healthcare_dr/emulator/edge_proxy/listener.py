"""The listener of a region: its connections, and the faults of connections."""

import asyncio
import errno
import logging
import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from types import MappingProxyType
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from healthcare_dr.emulator.edge_proxy.forwarding import Forwarding
from healthcare_dr.emulator.edge_proxy.tls import SERVER_NAME_ATTRIBUTE, read_server_name
from healthcare_dr.emulator.fault_state import EdgeMode
from healthcare_dr.emulator.http_server import TLS_SHUTDOWN_SECONDS, http_config

BACKLOG = 1024
HANDSHAKE_SECONDS = 10
# Further connections of clients are reset before the TLS handshake: a laptop serves far fewer clients than this. Health
# checkers, which connect from the listener's own address, are not counted.
MOST_CONNECTIONS = 400
# Errors of accept() that concern only one client (accept(2), "Error handling").
SINGLE_CLIENT_ERRORS = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
ACCEPT_RETRY_SECONDS = 0.05
# With this SO_LINGER value, closing a connection sends a reset.
RESET = struct.pack("ii", 1, 0)

logger = logging.getLogger("healthcare_dr.emulator")


class _FreezableTransport:
    """A transport that, once frozen, neither reads nor writes nor closes: its client gets no response."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._frozen = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._frozen:
            self._transport.write(data)

    def close(self) -> None:
        if not self._frozen:
            self._transport.close()

    def resume_reading(self) -> None:
        if not self._frozen:
            self._transport.resume_reading()

    def freeze(self) -> None:
        self._frozen = True
        with suppress(RuntimeError):
            self._transport.pause_reading()

    def reset(self) -> None:
        connection = self._transport.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol on a transport that can be frozen."""

    def __init__(self, listener: "EdgeListener", **options: Any) -> None:
        super().__init__(**options)
        self._owner = listener
        self.outer: _FreezableTransport | None = None
        self.host = ""

    # uvicorn also narrows the argument of asyncio's protocol.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.outer = _FreezableTransport(transport)
        self.host = getattr(transport.get_extra_info("ssl_object"), SERVER_NAME_ATTRIBUTE, "")
        # It has the methods of a transport, which asyncio only declares as classes.
        super().connection_made(self.outer)  # type: ignore[arg-type]
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.closed(self)
        super().connection_lost(exc)


class EdgeListener:
    """Listens at `address` with the TLS `context` and serves `forwarding`, in one event loop."""

    def __init__(self, address: tuple[str, int], *, forwarding: Forwarding, context: ssl.SSLContext) -> None:
        self._address = address
        self._forwarding = forwarding
        self._context = context
        self._config = http_config(forwarding, lifespan="off", date_header=False)
        self._config.load()
        self._state = ServerState()
        self._mode: EdgeMode = "open"
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}
        self._without_response: list[socket.socket] = []
        self._host_modes: Mapping[str, EdgeMode] = {}
        self._held: dict[str, list[socket.socket]] = {}
        self._connections: set[_Connection] = set()

    def listen(self) -> None:
        """Start to listen.

        Raises:
            OSError: the address cannot be used.
        """
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(self._address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def set_mode(self, mode: EdgeMode, *, host_modes: Mapping[str, EdgeMode] = MappingProxyType({})) -> None:
        """Switch to the fault `mode`. `responds` and `slow` are faults of requests: connections are accepted.

        `host_modes` are the modes for single host names while `mode` is `open`. Only the ClientHello contains the
        host name, so a connection to be refused is accepted and then reset.

        Raises:
            OSError: another process took the address while it was closed. It stays closed, and the call can be
                repeated.
        """
        self._set_host_modes(host_modes)
        if mode == self._mode:
            return
        if self._mode == "blackhole":
            self._end_blackhole()
        if mode == "blackhole":
            await self._begin_blackhole()
        elif mode == "refused":
            await self.stop()
        elif self._listener is None:
            self.listen()
        self._mode = mode

    async def stop(self) -> None:
        """Stop listening and reset every connection."""
        await self._stop_accepting()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._reset_all()

    def opened(self, connection: _Connection) -> None:
        """Register a connection whose TLS handshake is complete."""
        self._connections.add(connection)
        _apply_mode(
            connection, "blackhole" if self._mode == "blackhole" else self._host_modes.get(connection.host, "open")
        )

    def closed(self, connection: _Connection) -> None:
        """Remove a connection that has ended."""
        self._connections.discard(connection)

    def _set_host_modes(self, host_modes: Mapping[str, EdgeMode]) -> None:
        former, self._host_modes = self._host_modes, dict(host_modes)
        for host in former.keys() | host_modes.keys():
            was, now = former.get(host, "open"), host_modes.get(host, "open")
            if was == now:
                continue
            for accepted in self._held.pop(host, ()):
                _reset(accepted)
            for connection in [each for each in self._connections if each.host == host]:
                _apply_mode(connection, "refused" if was == "blackhole" else now)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (client, *_) = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in SINGLE_CLIENT_ERRORS:
                    # Out of file descriptors: they are released as connections end.
                    await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            full = len(self._connections) + len(self._handshakes) >= MOST_CONNECTIONS
            if full and client != self._address[0]:
                _reset(accepted)
                continue
            task = asyncio.create_task(self._handshake(accepted))
            self._handshakes[task] = accepted
            task.add_done_callback(self._handshakes.pop)

    async def _handshake(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if any(mode in ("refused", "blackhole") for mode in self._host_modes.values()):
            host = await read_server_name(accepted, within=HANDSHAKE_SECONDS)
            mode = self._host_modes.get(host, "open")
            if mode == "refused":
                _reset(accepted)
                return
            if mode == "blackhole":
                self._held.setdefault(host, []).append(accepted)
                return

        def protocol() -> _Connection:
            return _Connection(self, config=self._config, server_state=self._state, app_state={})

        try:
            await loop.connect_accepted_socket(
                protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except OSError:
            # The client does not use TLS, or requests a name without a certificate here.
            accepted.close()

    async def _begin_blackhole(self) -> None:
        if self._listener is None:
            self.listen()
        # The kernel still accepts connections, and keeps the data of clients.
        await self._stop_accepting()
        for connection in self._connections:
            if connection.outer is not None:
                connection.outer.freeze()
        for task, accepted in list(self._handshakes.items()):
            # The copy keeps the connection open, without a response, when the handshake is cancelled.
            self._without_response.append(accepted.dup())
            task.cancel()

    def _end_blackhole(self) -> None:
        self._reset_all()
        if self._listener is not None:
            with suppress(BlockingIOError):
                while True:
                    _reset(self._listener.accept()[0])
            self._accepting = asyncio.create_task(self._accept(self._listener))

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None

    def _reset_all(self) -> None:
        for accepted in (*self._without_response, *chain.from_iterable(self._held.values())):
            _reset(accepted)
        self._without_response, self._held = [], {}
        for task in list(self._handshakes):
            task.cancel()
        for connection in list(self._connections):
            if connection.outer is not None:
                connection.outer.reset()


def _apply_mode(connection: _Connection, mode: EdgeMode) -> None:
    if connection.outer is not None:
        if mode == "refused":
            connection.outer.reset()
        elif mode == "blackhole":
            connection.outer.freeze()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
