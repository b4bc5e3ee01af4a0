"""HTTPS to the regions' APIs, with bounded waits and trust in just the right authority."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0


def https_client(ca_bundle: Path | None, *, timeout: float = TIMEOUT_SECONDS) -> "httpx.Client":
    """A client that trusts `ca_bundle` alone where there is one, and then no proxy of the environment either."""
    import httpx

    if ca_bundle is None:
        return httpx.Client(timeout=timeout)
    context = ssl.create_default_context(cafile=str(ca_bundle))
    return httpx.Client(timeout=timeout, verify=context, trust_env=False)
