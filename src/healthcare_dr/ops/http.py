"""HTTPS to the regions' APIs, with bounded waits and trust in just the right authority."""

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import ToolError

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0
STEERING: Final = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What httpx reads, the proxies in small letters too."""


def environment_client(**options: Any) -> "httpx.Client":
    """A client that follows the proxies and the authorities of the environment.

    Raises:
        ToolError: httpx takes one of them for none: a proxy of another kind, or a file of certificates that is missing.
    """
    import httpx

    try:
        return httpx.Client(**options)
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        named = [name for name in STEERING if os.environ.get(name) or os.environ.get(name.lower())]
        raise ToolError(
            f"{' or '.join(named) or 'the environment'} cannot be used for HTTPS ({str(error).splitlines()[0]}): a "
            "proxy must be an http:// or https:// address, and SSL_CERT_FILE and SSL_CERT_DIR must hold certificates"
        ) from error


def https_client(ca_bundle: Path | None, *, timeout: float = TIMEOUT_SECONDS) -> "httpx.Client":
    """A client that trusts `ca_bundle` alone where there is one, and then no proxy of the environment either.

    Raises:
        ToolError: as `environment_client`.
    """
    if ca_bundle is None:
        return environment_client(timeout=timeout)
    import httpx

    context = ssl.create_default_context(cafile=str(ca_bundle))
    return httpx.Client(timeout=timeout, verify=context, trust_env=False)
