"""HTTPS to the regions' APIs, with time limits, and trust in one authority only."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.ports import Target

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0
PROBE_SECONDS: Final = 5.0
HTTPX_VARIABLES: Final = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""The environment variables that httpx reads; it reads those of proxies in lower case too."""

Probe = Callable[[str], int | None]
"""Returns the HTTP status of a GET of an address; None without a response in time."""


def environment_client(**options: Any) -> "httpx.Client":
    """Return a client that uses the proxies and the authorities of the environment.

    Raises:
        ToolError: a variable is invalid, such as an unknown kind of proxy or a missing file of certificates.
    """
    import httpx

    try:
        return httpx.Client(**options)
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        named = [name for name in HTTPX_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
        raise ToolError(
            f"{' or '.join(named) or 'the environment'} cannot be used for HTTPS ({str(error).splitlines()[0]}): a "
            "proxy must be an http:// or https:// address, and SSL_CERT_FILE and SSL_CERT_DIR must hold certificates"
        ) from error


def https_client(ca_bundle: Path | None, *, timeout: float = TIMEOUT_SECONDS) -> "httpx.Client":
    """Return a client that trusts `ca_bundle` only and uses no proxy; without a bundle, as `environment_client`.

    Raises:
        ToolError: as `environment_client`.
    """
    if ca_bundle is None:
        return environment_client(timeout=timeout)
    import httpx

    context = ssl.create_default_context(cafile=str(ca_bundle))
    return httpx.Client(timeout=timeout, verify=context, trust_env=False)


def api_prober(target: Target) -> Probe:
    """Return a function that requests the APIs by their own host names, as health checkers do; at most 5 s."""
    import httpx

    edges = {f".execute-api.{region}.amazonaws.com": edge for region, edge in target.edge_addresses().items()}

    def probe(address: str) -> int | None:
        url = httpx.URL(address)
        edge = next((edge for domain, edge in edges.items() if url.host.endswith(domain)), None)
        try:
            with https_client(target.ca_bundle(), timeout=PROBE_SECONDS) as client:
                if edge is None:
                    return client.get(url).status_code
                return client.get(
                    url.copy_with(host=edge[0], port=edge[1]),
                    headers={"Host": url.host},
                    extensions={"sni_hostname": url.host},
                ).status_code
        except (httpx.HTTPError, OSError):
            return None

    return probe
