"""The certificates of a listener, issued when a client first requests a name."""

import ssl
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from healthcare_dr.emulator.layout import Layout

if TYPE_CHECKING:
    import trustme

ALPN = ["http/1.1"]
ASKED_FOR = "name_asked_for"
"""The attribute of a TLS connection that holds the server name its client has asked for."""


def load_authority(layout: Layout) -> "trustme.CA":
    """The authority of the home, with its key."""
    import trustme  # heavy

    return trustme.CA.from_pem(layout.authority_certificate.read_bytes(), layout.authority_key.read_bytes())


class Certificates:
    """Answers for the API names of `region` and for `shared()` names; refuses every other with a TLS alert."""

    def __init__(self, *, authority: "trustme.CA", region: str, shared: Callable[[], Collection[str]]) -> None:
        self._authority = authority
        self._apis = f".execute-api.{region}.amazonaws.com"
        self._shared = shared
        self._minted: dict[str, ssl.SSLContext] = {}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a listener."""
        context = _server_context()
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        # The door finds it there, to fail the clients of one name alone.
        setattr(connection, ASKED_FOR, (name or "").lower())
        certified = self._certified((name or "").lower())
        if certified is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = self._minted.get(certified) or self._mint(certified)
        return None

    def _certified(self, name: str) -> str | None:
        """The name in the certificate for `name`: all APIs of a region share one."""
        label = name.removesuffix(self._apis)
        if label != name:
            return f"*{self._apis}" if label and "." not in label else None
        return name if name in self._shared() else None

    def _mint(self, name: str) -> ssl.SSLContext:
        context = _server_context()
        self._authority.issue_cert(name).configure_cert(context)
        self._minted[name] = context
        return context


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    return context
