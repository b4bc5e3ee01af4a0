"""Probe endpoints as the health checkers of Route 53 do: one checker per check and checker region.

A probe connects only to addresses that its `Connect` function returns.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from healthcare_dr.emulator.route53.check_status import ProbeResults
from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, Observation, checker_regions, endpoint_of

Connect = Callable[[str, int], tuple[str, int] | None]
"""Returns the address and port at which a host and port are reached; None when they are unreachable."""

# The timeouts of "How Amazon Route 53 determines whether a health check is healthy" in its Developer Guide.
CONNECT_SECONDS = 4.0
TCP_CONNECT_SECONDS = 10.0
# For the status code, and again for the body that is searched. It is not scaled: a busy machine needs the time.
ANSWER_SECONDS = 2.0
# The shortest time to connect at any time scale.
SHORTEST_SECONDS = 2.0
SEARCHED_BYTES = 5120
HTTP, HTTPS = 80, 443

# The address of all checkers: they run on this machine.
CHECKER_ADDRESS = "127.0.0.1"
# The longest delay until a changed time scale applies, and the shortest time between two probes of one checker (real
# seconds).
NOTICE_SECONDS = 0.5
LEAST_SECONDS = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a probe, in the format of GetHealthCheckStatus."""

    success: bool
    text: str


def connect_timeout(kind: str, scale: float) -> float:
    """Return how long a check of a type may take to connect, TLS included: Route 53's limit, divided by `scale`."""
    return max(SHORTEST_SECONDS, (TCP_CONNECT_SECONDS if kind == "TCP" else CONNECT_SECONDS) / scale)


def loopback_only(edge_addresses: Mapping[str, str], edge_port: int) -> Connect:
    """Return a function that reaches each region's endpoints at its edge listener, and loopback addresses directly.

    Args:
        edge_addresses: addresses by region.
    """

    def connect(host: str, port: int) -> tuple[str, int] | None:
        endpoint = endpoint_of(host)
        if endpoint and endpoint[1] in edge_addresses:
            return (edge_addresses[endpoint[1]], edge_port) if port == HTTPS else None
        try:
            return (host, port) if ip_address(host).is_loopback else None
        except ValueError:
            return None

    return connect


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Route 53 does not validate the certificates of endpoints.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = _tls()


async def probe(check: CheckConfig, connect: Connect, scale: float) -> Outcome:
    """Probe the endpoint of `check` once, within the timeouts of its type."""
    address = connect(check.ip or check.host, check.port)
    if address is None:
        return Outcome(False, "Failure: Resolved IP: none. The endpoint cannot be reached.")
    tls = check.type.startswith("HTTPS")
    try:
        async with asyncio.timeout(connect_timeout(check.type, scale)):
            reader, writer = await asyncio.open_connection(
                *address,
                ssl=TLS if tls else None,
                server_hostname=(check.host if check.sni else "") if tls else None,
                # An edge listener recognizes health checkers by this address.
                local_addr=(address[0], 0),
            )
    except TimeoutError:
        return Outcome(False, "Failure: Connection timed out.")
    except (OSError, ValueError):
        return Outcome(False, "Failure: The connection was refused or broken off.")
    try:
        return await _request(check, reader, writer)
    except TimeoutError:
        return Outcome(False, "Failure: The endpoint did not respond in time.")
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        return Outcome(False, "Failure: The endpoint did not respond with HTTP.")
    finally:
        writer.transport.abort()


async def _request(check: CheckConfig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Outcome:
    if check.type == "TCP":
        return Outcome(True, "Success: TCP connected.")
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    async with asyncio.timeout(ANSWER_SECONDS):
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {_host(check)}\r\nConnection: close\r\n"
            f"User-Agent: Amazon-Route53-Health-Check-Service (ref {check.id})\r\nAccept: */*\r\n\r\n".encode()
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
    version, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError(version)
    code = int(rest[:3])
    if not 200 <= code < 400:
        return Outcome(False, f"Failure: HTTP Status Code {rest}")
    if check.type.endswith("_STR_MATCH"):
        async with asyncio.timeout(ANSWER_SECONDS):
            if not await _found(check.search or "", head, reader):
                return Outcome(False, f"Failure: HTTP Status Code {rest}. The search string was not found.")
    return Outcome(True, f"Success: HTTP Status Code {rest}")


def _host(check: CheckConfig) -> str:
    """Return the Host header, with the port unless it is the default ("FullyQualifiedDomainName" in Route 53's API
    reference).
    """
    name, usual = check.host or str(check.ip), HTTPS if check.type.startswith("HTTPS") else HTTP
    return name if check.port == usual else f"{name}:{check.port}"


async def _found(search: str, head: bytes, reader: asyncio.StreamReader) -> bool:
    text, body = search.encode(), b""
    chunked = b"transfer-encoding: chunked" in head.lower()
    while text not in body:
        left = SEARCHED_BYTES - len(body)
        if left == 0:
            return False
        if chunked:
            size = int((await reader.readline()).partition(b";")[0], 16)
            part = await reader.readexactly(min(size, left))
            if size < left:
                await reader.readline()
        else:
            part = await reader.read(left)
        if not part:
            return False
        body += part
    return True


class Checkers:
    """Probes checks and records the outcomes in `results`, in one event loop."""

    def __init__(self, *, results: ProbeResults, connect: Connect, time_scale: Callable[[], float]) -> None:
        self._results = results
        self._connect = connect
        self._time_scale = time_scale
        self._running: dict[str, tuple[CheckConfig, list[asyncio.Task[None]]]] = {}
        self._unsupported: set[str] = set()

    def follow(self, checks: Mapping[str, CheckConfig]) -> None:
        """Probe these checks from now on, and no others. A check that changed keeps the observations of its checkers.

        A check that is neither probed nor calculated is ignored, which is logged once.
        """
        self._warn_of_unsupported(checks)
        probed = {check.id: check for check in checks.values() if check.probed}
        for check_id, (config, tasks) in list(self._running.items()):
            if probed.get(check_id) != config:
                del self._running[check_id]
                for task in tasks:
                    task.cancel()
        self._results.keep_only(probed)
        for check in probed.values():
            if check.id not in self._running:
                tasks = [asyncio.create_task(self._check(check, number)) for number in range(len(CHECKER_REGIONS))]
                self._running[check.id] = (check, tasks)

    def _warn_of_unsupported(self, checks: Mapping[str, CheckConfig]) -> None:
        unsupported = {check.id: check for check in checks.values() if not check.supported}
        for check_id in unsupported.keys() - self._unsupported:
            kind, always = unsupported[check_id].type, "unhealthy" if unsupported[check_id].inverted else "healthy"
            logger.warning(
                "The health check %s has the type %s, which is not supported: it is always %s", check_id, kind, always
            )
        self._unsupported = set(unsupported)

    async def stop(self) -> None:
        """End every checker."""
        tasks = [task for _, found in self._running.values() for task in found]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _check(self, check: CheckConfig, number: int) -> None:
        region = CHECKER_REGIONS[number]
        starting = True
        while True:
            if region not in checker_regions(self._time_scale()):
                starting = True
                await asyncio.sleep(NOTICE_SECONDS)
                continue
            if starting:
                # Checkers that start together probe one after the other.
                await self._pause(time.monotonic(), check.interval * number / len(CHECKER_REGIONS))
                starting = False
            started = time.monotonic()
            try:
                outcome = await probe(check, self._connect, self._time_scale())
            except Exception as error:  # noqa: BLE001 - a checker that ended would keep its last result forever
                outcome = Outcome(False, f"Failure: The endpoint cannot be probed ({type(error).__name__}).")
            seen = Observation(region, CHECKER_ADDRESS, outcome.text, time.time())
            self._results.record(check, seen, success=outcome.success)
            await asyncio.sleep(LEAST_SECONDS)
            await self._pause(started, check.interval)

    async def _pause(self, started: float, seconds: float) -> None:
        while (left := started + seconds / self._time_scale() - time.monotonic()) > 0:
            await asyncio.sleep(min(left, NOTICE_SECONDS))
