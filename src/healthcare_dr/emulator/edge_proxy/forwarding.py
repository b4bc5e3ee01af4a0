"""Forward requests to the HTTP APIs of the listener's own region, and to nothing else."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from multidict import CIMultiDict
from yarl import URL

from healthcare_dr.emulator.configuration import HOST, SERVICES_SOCKET
from healthcare_dr.emulator.fault_state import EdgeFault
from healthcare_dr.emulator.services.middleware import API_PATH, CALLED_HEADER

Targets = Callable[[], Mapping[str, Mapping[str, str]]]
"""The API behind a shared name in each region: name → region → API id."""
Headers = list[tuple[bytes, bytes]]

# The services process ends an integration after 30 s, as HTTP APIs do.
TIMEOUT = aiohttp.ClientTimeout(total=35)
# With two cores, more concurrent requests finish no sooner. Further requests wait in a short queue.
MOST_AT_ONCE = 6
# At a laptop's throughput, a longer queue takes more than a second. A client that is throttled at once (429) retries
# later; one that times out retries immediately.
MOST_WAITING = 32
WAIT_SECONDS = 2.0
# Health checkers, which connect from the listener's own address, have a separate queue, so that load does not delay
# them.
CHECKS_AT_ONCE = 4
# How long an unknown API stays unknown before the list is read again.
RELOAD_SECONDS = 1.0
MOST_BODY_BYTES = 10 * 1024 * 1024
"""API Gateway's limit for the payload of a request to an HTTP API."""
# RFC 2616, section 13.5.1.
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
# Headers that the proxy sets itself.
_OWN_HEADERS = (b"host", b"content-length", b"expect", b"x-forwarded-proto", CALLED_HEADER)
SEGMENT = re.compile(rb"/\.{1,2}(?=/|$)")

logger = logging.getLogger("healthcare_dr.emulator")


@dataclass(frozen=True)
class Forwarded:
    """A request to the services process; `target` is path and query, percent-encoded."""

    method: str
    target: str
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class ForwardedResponse:
    """A response to a client of the listener."""

    status: int
    headers: Headers
    body: bytes


class ServicesUnreachable(Exception):  # noqa: N818 - a condition of the other process, not a defect of this one
    """The services process did not respond."""


class InvalidRequest(Exception):  # noqa: N818 - the client's error, not one of this process
    """The request cannot be forwarded: a header contains invalid characters."""


class ClientDisconnected(Exception):  # noqa: N818 - an event, not an error
    """The client closed its connection before the response."""


class Services:
    """The services process, reached through its UNIX socket."""

    def __init__(self, session: aiohttp.ClientSession, *, host: str) -> None:
        self._session = session
        self._host = host

    async def __call__(self, request: Forwarded) -> ForwardedResponse:
        """Send a request and return the response.

        Raises:
            ServicesUnreachable: no response.
            InvalidRequest: the request cannot be written as HTTP.
        """
        headers = CIMultiDict((name.decode("ascii"), _text(value)) for name, value in request.headers)
        headers["Host"] = self._host
        try:
            async with self._session.request(
                request.method,
                URL(f"http://{HOST}{request.target}", encoded=True),
                headers=headers,
                data=request.body or None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            ) as response:
                return ForwardedResponse(response.status, list(response.raw_headers), await response.read())
        except ValueError:
            raise InvalidRequest from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ServicesUnreachable(type(error).__name__) from None


def services_session() -> aiohttp.ClientSession:
    """Return a client session on the socket of the services process. It does not decode content."""
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(SERVICES_SOCKET, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=TIMEOUT,
    )


class BoundedQueue:
    """A bounded queue: `at_once` requests are served, `waiting` more wait for at most `seconds`, further ones are
    rejected.
    """

    def __init__(self, *, at_once: int, waiting: int, seconds: float) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._seconds = seconds
        self._waiting = 0

    async def enter(self) -> bool:
        """Wait for a slot; return whether there is one. `leave` releases it."""
        if not self._slots.locked():
            await self._slots.acquire()
            return True
        if self._waiting >= self._most_waiting:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._slots.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def leave(self) -> None:
        """Release a slot."""
        self._slots.release()


class ApiDirectory:
    """Caches the APIs of a region, and reads the list again for an unknown one, at most once a second.

    A deleted API stays in the cache: the embedded AWS responds for it.
    """

    def __init__(self, listed: Callable[[], Iterable[str]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._listed = listed
        self._clock = clock
        self._known: frozenset[str] = frozenset()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def has(self, api_id: str) -> bool:
        """Return whether the region has an API; False when the list cannot be read."""
        if api_id not in self._known:
            async with self._reading:
                if self._read_at is None or self._clock() - self._read_at >= RELOAD_SECONDS:
                    self._known |= await asyncio.to_thread(self._read)
                    self._read_at = self._clock()
        return api_id in self._known

    def _read(self) -> frozenset[str]:
        try:
            return frozenset(self._listed())
        except (BotoCoreError, ClientError):
            return frozenset()


class Forwarding:
    """The ASGI application behind the listener of `region`.

    Args:
        services: sends a request to the services process; raises `ServicesUnreachable`.
        apis: the APIs of the region.
        targets: returns the API behind each shared name.
        fault: returns the listener's present fault for the host name of a request.
    """

    def __init__(
        self,
        *,
        region: str,
        services: Callable[[Forwarded], Awaitable[ForwardedResponse]],
        apis: ApiDirectory,
        targets: Targets,
        fault: Callable[[str], EdgeFault],
    ) -> None:
        self._region = region
        self._services = services
        self._apis = apis
        self._targets = targets
        self._fault = fault
        self._clients = BoundedQueue(at_once=MOST_AT_ONCE, waiting=MOST_WAITING, seconds=WAIT_SECONDS)
        self._checkers = BoundedQueue(at_once=CHECKS_AT_ONCE, waiting=MOST_WAITING, seconds=WAIT_SECONDS)
        self._api_name = re.compile(rf"([a-z0-9]+)\.execute-api\.{re.escape(region)}\.amazonaws\.com")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        named = dict(scope["headers"])
        host = named.get(b"host", b"").decode("latin-1").partition(":")[0].lower()
        fault = self._fault(host)
        try:
            if fault.mode == "responds":
                response = _response(fault.status, fault.body.encode())
            else:
                response = await self._respond(host, scope, receive)
        except ClientDisconnected:
            return
        if fault.mode == "slow":
            await asyncio.sleep(fault.delay_seconds)
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, host: str, scope: Any, receive: Any) -> ForwardedResponse:
        api_id = await self._api_of(host)
        if api_id is None:
            return _message(403, "Forbidden")
        path: bytes = scope["raw_path"]
        if not path.startswith(b"/"):
            return _message(400, "Bad Request")
        if SEGMENT.search(path):
            # HTTP clients resolve dot segments: they must not lead out of the API.
            return _message(404, "Not Found")
        target = f"{API_PATH}{api_id}{path.decode('ascii')}"
        if query := scope["query_string"]:
            target += "?" + query.decode("ascii")
        queue = self._checkers if scope["client"][0] == scope["server"][0] else self._clients
        body = await _body(receive)
        if body is None:
            return _message(413, "Request Entity Too Large")
        headers = _end_to_end(scope["headers"], but=_OWN_HEADERS)
        headers += [(b"x-forwarded-proto", b"https"), (CALLED_HEADER, dict(scope["headers"])[b"host"])]
        forwarded = Forwarded(scope["method"], target, headers, body)
        try:
            return await _while_connected(receive, self._forward(queue, forwarded))
        except InvalidRequest:
            return _message(400, "Bad Request")
        except ServicesUnreachable as error:
            logger.warning("The edge listener of %s reached no API: %s", self._region, error)
            return _message(503, "Service Unavailable")

    async def _forward(self, queue: BoundedQueue, forwarded: Forwarded) -> ForwardedResponse:
        if not await queue.enter():
            return _message(429, "Too Many Requests")
        try:
            response = await self._services(forwarded)
        finally:
            queue.leave()
        return ForwardedResponse(response.status, _end_to_end(response.headers, but=()), response.body)

    async def _api_of(self, name: str) -> str | None:
        """Return the id of this region's API behind a host name in lower case."""
        match = self._api_name.fullmatch(name)
        api_id = match[1] if match else self._targets().get(name, {}).get(self._region)
        return api_id if api_id and await self._apis.has(api_id) else None


async def _body(receive: Any) -> bytes | None:
    """Return the body of a request; None when it is longer than `MOST_BODY_BYTES`.

    Raises:
        ClientDisconnected: the client has closed its connection.
    """
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _while_connected(receive: Any, responding: Coroutine[Any, Any, ForwardedResponse]) -> ForwardedResponse:
    """Return the response, or cancel the request when the client disconnects.

    Otherwise clients that time out and retry would leave ever more work behind.

    Raises:
        ClientDisconnected: the client has closed its connection.
    """
    response = asyncio.create_task(responding)
    disconnected = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((response, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if response.done():
            return response.result()
        raise ClientDisconnected
    finally:
        for task in (response, disconnected):
            task.cancel()
        await asyncio.gather(response, disconnected, return_exceptions=True)


async def _disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *, but: Iterable[bytes]) -> Headers:
    pairs = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in pairs if name == b"connection" for part in value.split(b",")}
    dropped = HOP_BY_HOP.union(named, but)
    return [(name, value) for name, value in pairs if name not in dropped]


def _text(value: bytes) -> str:
    """Return a header's value for a client that encodes as UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _message(status: int, text: str) -> ForwardedResponse:
    return _response(status, json.dumps({"message": text}, separators=(",", ":")).encode())


def _response(status: int, body: bytes) -> ForwardedResponse:
    return ForwardedResponse(
        status, [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())], body
    )
