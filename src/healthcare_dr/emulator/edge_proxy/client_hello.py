"""Read the server name of a TLS client from its ClientHello, before the handshake."""

import asyncio
import socket
from typing import Final

AGAIN_SECONDS: Final = 0.005
# A record holds at most 2**14 bytes after its header (RFC 8446, section 5.1); a ClientHello needs a few hundred.
MOST_BYTES: Final = 5 + 2**14
HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0


class _Reader:
    """Takes bytes from the front; raises IndexError when there are not enough."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def take(self, count: int) -> bytes:
        if count > len(self._content):
            raise IndexError
        taken, self._content = self._content[:count], self._content[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> "_Reader":
        """The vector that follows, whose length is in `size` bytes before it."""
        return _Reader(self.take(self.number(size)))

    def __bool__(self) -> bool:
        return bool(self._content)


async def server_name(accepted: socket.socket, *, within: float) -> str:
    """Wait for the ClientHello on a socket that does not block, and leave it there; empty when none names a host.

    `within` is in seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while loop.time() < deadline:
        try:
            begun = accepted.recv(MOST_BYTES, socket.MSG_PEEK)
            if not begun:
                return ""
            if (name := parsed(begun)) is not None:
                return name
        except BlockingIOError:
            pass
        except OSError:
            return ""
        await asyncio.sleep(AGAIN_SECONDS)
    return ""


def parsed(begun: bytes) -> str | None:
    """The server name, in lower case, of a ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3).

    Empty when it names none or is none; None while it is not complete.
    """
    record = _Reader(begun)
    try:
        if record.number(1) != HANDSHAKE:
            return ""
        record.take(2)
        message = record.vector(2)
    except IndexError:
        return None
    try:
        return _name(message)
    except (IndexError, UnicodeDecodeError):
        return ""


def _name(message: _Reader) -> str:
    if message.number(1) != CLIENT_HELLO:
        return ""
    hello = message.vector(3)
    hello.take(2 + 32)  # version and random
    for size in (1, 2, 1):  # session, cipher suites, compression methods
        hello.vector(size)
    extensions = hello.vector(2)
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == SERVER_NAME:
            names = content.vector(2)
            if names.number(1) == HOST_NAME:
                return names.take(names.number(2)).decode("ascii").lower()
    return ""
