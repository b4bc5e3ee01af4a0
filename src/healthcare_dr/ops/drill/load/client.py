"""One simulated client: it resolves the shared name as clients do, and repeats failed requests."""

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from healthcare_dr.ops.drill.load.resolver import Answer, ResolutionError, Resolver

if TYPE_CHECKING:
    import httpx

IN_FLIGHT: Final = 64
PAUSE_SECONDS: Final = 0.2
REPEATED: Final = (429, 502, 503, 504)
ENDPOINT: Final = re.compile(r"[^.]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: to the shared name (`target` is a path), or to another address (`target` is a URL)."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a call: the result of its last attempt, and the number of attempts."""

    status: int | None
    error: str | None
    """The type of the last attempt's error; None when there was a response."""
    region: str | None
    """The region of the last attempt; None when no address was found, or the address is not that of an API."""
    attempts: int
    body: bytes = b""


def region_of(target: str) -> str | None:
    """Return the region in the host name of an API's endpoint; None for other names."""
    found = ENDPOINT.fullmatch(target)
    return None if found is None else found[1]


class Client:
    """A client with its own resolver and its own connections. To be used and closed in one event loop.

    The name is resolved before each attempt. `resolver` caches for this client, so a client keeps an address, and its
    open connections, exactly as long as the answer is valid. Connections are pooled by address, so a former address is
    not used again.
    """

    def __init__(
        self, *, name: str, resolver: Resolver, trust: ssl.SSLContext, retries: int, timeout_seconds: float
    ) -> None:
        import httpx

        self._name, self._resolver, self._retries = name, resolver, retries
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        self._http = httpx.AsyncClient(verify=trust, timeout=timeout_seconds, limits=limits, trust_env=False)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def in_flight(self) -> asyncio.Semaphore:
        """Return the semaphore that a request holds while it is in flight."""
        return self._in_flight

    async def send(self, call: Call) -> Result:
        """Send a request. Transport errors, 429, 502, 503 and 504 are repeated."""
        result = await self._attempt(call, 1)
        while result.attempts <= self._retries and (result.status is None or result.status in REPEATED):
            await asyncio.sleep(PAUSE_SECONDS)
            result = await self._attempt(call, result.attempts + 1)
        return result

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _attempt(self, call: Call, attempt: int) -> Result:
        import httpx

        region: str | None = None
        try:
            if call.target.startswith("/"):
                found = await self._resolver.resolve(self._name)
                region = region_of(found.target)
                answer = await self._http.send(self._request(call, found))
            else:
                answer = await self._http.request(
                    call.method, call.target, headers=call.headers, content=call.content or None
                )
        except (ResolutionError, httpx.HTTPError) as error:
            return Result(status=None, error=type(error).__name__, region=region, attempts=attempt)
        return Result(status=answer.status_code, error=None, region=region, attempts=attempt, body=answer.content)

    def _request(self, call: Call, found: Answer) -> "httpx.Request":
        return self._http.build_request(
            call.method,
            f"https://{found.address}:{found.port}{call.target}",
            headers={**call.headers, "Host": self._name},
            content=call.content or None,
            extensions={"sni_hostname": self._name},
        )
