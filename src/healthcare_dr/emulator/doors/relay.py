"""The outer layer of a front door: it carries bytes between its clients and the server behind it, and plays what
happens to connections rather than to requests."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from healthcare_dr.emulator.conditions import DoorMode

BACKLOG = 1024
CHUNK = 65536
# Closed with this, a connection ends in a reset rather than in an orderly end.
RESET = struct.pack("ii", 1, 0)

Serve = Callable[[socket.socket], Awaitable[None]]
"""Serves a client at the other end of a socket, which it closes in the end."""


class Relay:
    """Listens at `address`; lives in one event loop."""

    def __init__(self, address: tuple[str, int], *, serve: Serve) -> None:
        self._address = address
        self._serve = serve
        self._mode: DoorMode = "open"
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._frozen: list[socket.socket] = []

    def listen(self) -> None:
        """Begin to listen.

        Raises:
            OSError: it cannot at this address.
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

    async def play(self, mode: DoorMode) -> None:
        """Behave like `mode` from now on; `errors` and `slow` are open doors here.

        Raises:
            OSError: somebody took the address while it was closed; it stays closed, and may be asked again.
        """
        if mode == self._mode:
            return
        if self._mode == "blackhole":
            await self._end_blackhole()
        if mode == "blackhole":
            await self._begin_blackhole()
        elif mode == "refused":
            await self._close()
        elif self._listener is None:
            self.listen()
        self._mode = mode

    async def stop(self) -> None:
        """Close everything."""
        await self._close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                outer, _ = await loop.sock_accept(listener)
            except OSError:
                # Out of file descriptors, or the client is gone already.
                await asyncio.sleep(0.05)
                continue
            task = asyncio.create_task(self._carry(outer))
            self._connections[task] = outer
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        outer = self._connections.pop(task, None)
        if outer is not None:
            outer.close()

    async def _carry(self, outer: socket.socket) -> None:
        outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inner, served = socket.socketpair()
        inner.setblocking(False)
        served.setblocking(False)
        behind = [asyncio.ensure_future(self._serve(served)), asyncio.create_task(_pump(outer, inner))]
        try:
            # What the server has said, all of it, ends the connection.
            await _pump(inner, outer)
        finally:
            for task in behind:
                task.cancel()
            await asyncio.gather(*behind, return_exceptions=True)
            inner.close()

    async def _begin_blackhole(self) -> None:
        if self._listener is None:
            self.listen()
        # The kernel goes on to accept, and keeps what is sent.
        await self._stop_accepting()
        self._frozen = await self._release()

    async def _end_blackhole(self) -> None:
        for outer in self._frozen:
            _reset(outer)
        self._frozen = []
        if self._listener is not None:
            with suppress(BlockingIOError):
                while True:
                    _reset(self._listener.accept()[0])
            self._accepting = asyncio.create_task(self._accept(self._listener))

    async def _close(self) -> None:
        await self._stop_accepting()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for outer in [*self._frozen, *await self._release()]:
            _reset(outer)
        self._frozen = []

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None

    async def _release(self) -> list[socket.socket]:
        """Every connection, open still, with nobody behind it."""
        tasks, outers = list(self._connections), list(self._connections.values())
        self._connections.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return outers


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(sink, data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
