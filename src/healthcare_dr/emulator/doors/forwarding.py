"""What a front door does with a request: it reaches the region's own HTTP APIs, and nothing else."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from healthcare_dr.emulator.conditions import DoorFault

Targets = Callable[[], Mapping[str, Mapping[str, str]]]
"""Which API a shared name stands for in each region: name → region → API id."""

# HTTP APIs end an integration after 30 s; the embedded AWS does that itself.
TIMEOUT = httpx.Timeout(35, connect=5)
# A laptop serves no more at once, whatever is asked of it. Who waits for longer is throttled, as by API Gateway: a
# client that is told so soon comes again, and one that is answered after it gave up was served in vain.
AT_ONCE = 16
PLACE_SECONDS = 2.0
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
SEGMENT = re.compile(rb"/\.{1,2}(?=/|$)")

logger = logging.getLogger("healthcare_dr.emulator")


class Apis(Protocol):
    """The HTTP APIs of one region."""

    async def has(self, api_id: str) -> bool:
        """Whether an API is one of them."""


class Forwarding:
    """The ASGI application behind the front door of `region`."""

    def __init__(
        self,
        *,
        region: str,
        endpoint: str,
        client: httpx.AsyncClient,
        apis: Apis,
        targets: Targets,
        fault: Callable[[], DoorFault],
    ) -> None:
        self._region = region
        self._endpoint = httpx.URL(endpoint)
        self._client = client
        self._apis = apis
        self._targets = targets
        self._fault = fault
        self._places = asyncio.Semaphore(AT_ONCE)
        self._api_name = re.compile(rf"([a-z0-9]+)\.execute-api\.{re.escape(region)}\.amazonaws\.com")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        fault = self._fault()
        try:
            response = _message(503, "Service Unavailable") if fault.mode == "errors" else await self._answer(request)
        except ClientDisconnect:
            return
        if fault.mode == "slow":
            await asyncio.sleep(fault.delay_seconds)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        api_id = await self._api_of(request.headers.get("host", ""))
        if api_id is None:
            return _message(403, "Forbidden")
        path = request.scope.get("raw_path") or request.url.path.encode()
        if SEGMENT.search(path):
            # A client of HTTP resolves them: they must not lead out of the API.
            return _message(404, "Not Found")
        target = b"/_aws/execute-api/%s%s" % (api_id.encode(), path)
        if query := request.scope["query_string"]:
            target += b"?" + query
        body = await request.body()
        forwarded = httpx.Request(
            request.method,
            self._endpoint.copy_with(raw_path=target),
            headers=_end_to_end(request.headers.raw, but=(b"host", b"content-length")),
            content=body,
            extensions={"timeout": TIMEOUT.as_dict()},
        )
        try:
            return await _while_connected(request, self._forward(forwarded))
        except httpx.HTTPError as error:
            logger.warning("The front door of %s reached no API: %s", self._region, type(error).__name__)
            return _message(503, "Service Unavailable")

    async def _forward(self, forwarded: httpx.Request) -> Response:
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            return _message(429, "Too Many Requests")
        try:
            return await self._fetch(forwarded)
        finally:
            self._places.release()

    async def _fetch(self, forwarded: httpx.Request) -> Response:
        answer = await self._client.send(forwarded, stream=True)
        try:
            # Raw: what is compressed stays as it is.
            content = b"".join([part async for part in answer.aiter_raw()])
        finally:
            await answer.aclose()
        response = Response(content, answer.status_code)
        headers = _end_to_end(answer.headers.raw, but=())
        if not any(name.lower() == b"content-length" for name, _ in headers):
            headers += [(name, value) for name, value in response.raw_headers if name == b"content-length"]
        response.raw_headers = [(name.lower(), value) for name, value in headers]
        return response

    async def _api_of(self, host: str) -> str | None:
        """The API of this region that a host name stands for."""
        name = host.partition(":")[0].lower()
        match = self._api_name.fullmatch(name)
        api_id = match[1] if match else self._targets().get(name, {}).get(self._region)
        return api_id if api_id and await self._apis.has(api_id) else None


async def _while_connected(request: Request, answering: Coroutine[Any, Any, Response]) -> Response:
    """Its answer, which nobody waits for any more once the client has gone: clients that give up and ask again would
    otherwise leave ever more behind.

    Raises:
        ClientDisconnect: it has gone.
    """
    answer, gone = asyncio.ensure_future(answering), asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ClientDisconnect
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    """Return when the client of a request that was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *, but: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in pairs if name == b"connection" for part in value.split(b",")}
    dropped = HOP_BY_HOP | named | set(but)
    return [(name, value) for name, value in pairs if name not in dropped]


def _message(status: int, text: str) -> Response:
    return Response(json.dumps({"message": text}, separators=(",", ":")), status, media_type="application/json")
