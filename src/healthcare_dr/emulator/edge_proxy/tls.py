"""TLS of the edge listeners: certificates that are issued when a client first requests a name, and the server name of a
ClientHello.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from healthcare_dr.emulator.configuration import Layout

if TYPE_CHECKING:
    import trustme

ALPN = ["http/1.1"]
SERVER_NAME_ATTRIBUTE = "requested_server_name"
"""The attribute of a TLS connection with the server name that its client has requested."""
POLL_SECONDS: Final = 0.005
# A record holds at most 2**14 bytes after its header (RFC 8446, section 5.1); a ClientHello needs a few hundred.
LONGEST_BYTES: Final = 5 + 2**14


def load_authority(layout: Layout) -> "trustme.CA":
    """Return the certificate authority of the home folder, with its key."""
    import trustme  # slow to import

    return trustme.CA.from_pem(layout.authority_certificate.read_bytes(), layout.authority_key.read_bytes())


class Certificates:
    """Certificates for the API names of `region` and for `shared()` names. Other names get a TLS alert."""

    def __init__(self, *, authority: "trustme.CA", region: str, shared: Callable[[], Collection[str]]) -> None:
        self._authority = authority
        self._apis = f".execute-api.{region}.amazonaws.com"
        self._shared = shared
        self._issued: dict[str, ssl.SSLContext] = {}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a listener."""
        context = _server_context()
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        # The listener reads it, to apply the faults of single host names.
        setattr(connection, SERVER_NAME_ATTRIBUTE, (name or "").lower())
        certified = self._certified((name or "").lower())
        if certified is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = self._issued.get(certified) or self._issue(certified)
        return None

    def _certified(self, name: str) -> str | None:
        """Return the name in the certificate for `name`: all APIs of a region share one certificate."""
        label = name.removesuffix(self._apis)
        if label != name:
            return f"*{self._apis}" if label and "." not in label else None
        return name if name in self._shared() else None

    def _issue(self, name: str) -> ssl.SSLContext:
        context = _server_context()
        self._authority.issue_cert(name).configure_cert(context)
        self._issued[name] = context
        return context


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    return context


async def read_server_name(accepted: socket.socket, *, within: float) -> str:
    """Wait for the ClientHello on a non-blocking socket, without consuming it; return its server name, or an empty
    string.

    `within` is the timeout in seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while loop.time() < deadline:
        try:
            received = accepted.recv(LONGEST_BYTES, socket.MSG_PEEK)
            if not received:
                return ""
            if (name := parse_server_name(received)) is not None:
                return name
        except BlockingIOError:
            pass
        except OSError:
            return ""
        await asyncio.sleep(POLL_SECONDS)
    return ""


def parse_server_name(received: bytes) -> str | None:
    """Return the server name, in lower case, of a ClientHello (RFC 6066, section 3).

    The result is empty when there is no server name or the bytes are not a ClientHello, and None while it is not
    complete.
    """
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: names.append((name or "").lower())
    incoming = ssl.MemoryBIO()
    incoming.write(received)
    try:
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    except ssl.SSLWantReadError:
        return names[0] if names else None
    except ssl.SSLError:
        # Without a certificate, every handshake ends with an error after its ClientHello.
        pass
    return names[0] if names else ""
