"""Adapt the process of a function to the embedded AWS when it starts.

Python runs the text of this module as `sitecustomize`, so it imports no module of the project. The functions' own code
is the same as on AWS.

- The host names of HTTP APIs resolve to the region's edge listener. Other names are not affected.
- The API caches the result of `/health` and the drain state for a few seconds. When health checks run ten times as
  fast, these caches have to expire ten times as fast too, or a drill measures the cache. Only callers in
  `SCALED_MODULES` see the scaled clock: timeouts stay in real seconds, because the machine is no faster.
- A drill can set a function's clock ahead. Only `time.time` is shifted, from which the functions read the time of day.
  A library that shifts every clock of a process, such as time-machine, is a C extension that each process of a
  function would load, and botocore would sign with the shifted time, which changes nothing below five minutes.
"""

import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

HTTPS = (443, "443", "https")
SUFFIX, SERVICE = ".amazonaws.com", ".execute-api."
SCALED_MODULES = ("patient_api.ttl_cache",)
NOTICE_SECONDS = 0.1


def install_resolution(edge_addresses: Mapping[str, str], edge_port: int) -> None:
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


class ScaledClock:
    """A monotonic clock, in seconds, that runs faster than `real` by the time scale in the file of faults."""

    def __init__(self, path: str, real: Callable[[], float] = time.monotonic) -> None:
        """`path` is the file of the fault state; without it, the clock runs in real time."""
        self._path = path
        self._real = real
        self._scale = 1.0
        self._since = self._value = self._looked = real()

    def now(self) -> float:
        """Return the present time of this clock."""
        present = self._real()
        if present - self._looked >= NOTICE_SECONDS:
            self._looked = present
            scale = _state(self._path, 1.0, "time_scale")
            if scale != self._scale:
                self._value += (present - self._since) * self._scale
                self._since, self._scale = present, scale
        return float(self._value + (present - self._since) * self._scale)


class ShiftedClock:
    """The time of day in seconds since 1970, with the error that the file of faults has for this function.

    The process may be a fork, so region and name of the function are read from the environment at each look.
    """

    def __init__(
        self, path: str, real: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`path` is the file of the fault state; without it, the time is right."""
        self._path = path
        self._real = real
        self._monotonic = monotonic
        self._looked = -math.inf
        self._ahead = 0.0

    def now(self) -> float:
        """Return the time by this clock."""
        present = self._monotonic()
        if present - self._looked >= NOTICE_SECONDS:
            self._looked = present
            region, name = os.environ.get("AWS_REGION"), os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
            self._ahead = _state(self._path, 0.0, "clocks_ahead", region, name)
        return self._real() + self._ahead


def _state(path: str, default: float, *names: str | None) -> float:
    """Return a number in the file of the fault state, the default when the file does not have it."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be loaded for this alone
            found = json.load(file)
        for name in names:
            found = found[name]
        return float(found)
    except (OSError, ValueError, KeyError, TypeError):
        return default


def install_clock(path: str) -> None:
    """Make `time.monotonic` return the scaled clock for callers in `SCALED_MODULES`, and real time for others.

    Make `time.time` return the shifted time for all callers.
    """
    real = time.monotonic
    time.time = ShiftedClock(os.fspath(path), time.time, real).now
    scaled = ScaledClock(os.fspath(path), real)

    def monotonic() -> float:
        caller = sys._getframe(1).f_globals.get("__name__")
        return scaled.now() if caller in SCALED_MODULES else real()

    time.monotonic = monotonic
