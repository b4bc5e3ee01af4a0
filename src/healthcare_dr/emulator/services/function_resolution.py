"""Resolve the host names of HTTP APIs to the region's listener, in the processes of functions.

Python runs the text of this module as `sitecustomize` when a function's process starts, so it imports no module of the
project. Other names are not affected, and the functions' own code is the same as on AWS.
"""

import socket
from collections.abc import Mapping
from typing import Any

HTTPS = (443, "443", "https")
SUFFIX, SERVICE = ".amazonaws.com", ".execute-api."


def install(edge_addresses: Mapping[str, str], edge_port: int) -> None:
    """Let `<api>.execute-api.<region>.amazonaws.com:443` resolve to `edge_port` at the region's
    address in `edge_addresses`.

    Raise `gaierror` for other regions and ports, so that no call leaves this machine by accident.
    """
    inner: Any = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        name = str(host).lower().removesuffix(".")
        if not name.endswith(SUFFIX) or SERVICE not in name:
            return inner(host, port, *rest, **options)
        region = name.removesuffix(SUFFIX).rpartition(SERVICE)[2]
        if port not in HTTPS or region not in edge_addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} is not in the embedded AWS")
        return inner(edge_addresses[region], edge_port, *rest, **options)

    socket.getaddrinfo = getaddrinfo
