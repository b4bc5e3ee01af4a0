"""One simulated client: it resolves the shared name as clients do, and repeats failed requests."""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Operation, OperationKind
from healthcare_dr.ops.drill.load.history import OperationHistory
from healthcare_dr.ops.drill.load.ledger import is_not_yet_here
from healthcare_dr.ops.drill.load.resolver import Answer, ResolutionError, Resolver
from healthcare_dr.ops.seed.people import Resource
from patient_api.contract.headers import MINIMUM_VERSION

if TYPE_CHECKING:
    import httpx

IN_FLIGHT: Final = 64
PAUSE_SECONDS: Final = 0.2
REPEATED: Final = (429, 502, 503, 504)
APPENDED: Final = "urn:healthcare-dr:drill-update"
"""The URL of the extensions of a patient that are its list."""
ENDPOINT: Final = re.compile(r"[^.]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the history contains of a request about a patient; see `journal.Operation`."""

    kind: OperationKind
    record: str = ""
    """The id of the patient; empty for a creation."""
    named: str | None = None
    value: str | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: to the shared name (`target` is a path), or to another address (`target` is a URL)."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes = b""
    recorded: Recorded | None = None
    """None for a request that is not in the history."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a call: the result of its last attempt, and the number of attempts."""

    status: int | None
    error: str | None
    """The type of the last attempt's error; None when there was a response."""
    region: str | None
    """The region of the last attempt; None when no address was found, or the address is not that of an API."""
    attempts: int
    longest_wait: float
    """The longest time that an attempt took, in seconds."""
    body: bytes = b""
    not_yet: bool = False
    """Whether the region answered that it has not received a version that the call names."""

    def after(self, earlier: "Result") -> "Result":
        """Return this result with the longest wait of both."""
        return replace(self, longest_wait=max(earlier.longest_wait, self.longest_wait))


def patient_in(body: bytes) -> tuple[Resource, str]:
    """Return the patient in a response, and its version. Raises DeploymentError when it has none."""
    try:
        resource = json.loads(body)
        version = resource["meta"]["versionId"]
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, str):
        raise DeploymentError("the API answered with a patient that has no version; is it the platform's?")
    return resource, version


def appended(resource: Resource) -> tuple[str, ...]:
    """Return the list of a patient: the values that updates of the drill have appended."""
    return tuple(str(found["valueString"]) for found in resource.get("extension", ()) if found.get("url") == APPENDED)


def with_appended(resource: Resource, *values: str) -> Resource:
    """Return the patient with these values at the end of its list."""
    added = [{"url": APPENDED, "valueString": value} for value in values]
    return {**resource, "extension": [*resource.get("extension", ()), *added]}


def region_of(target: str) -> str | None:
    """Return the region in the host name of an API's endpoint; None for other names."""
    found = ENDPOINT.fullmatch(target)
    return None if found is None else found[1]


class Client:
    """A client with its own resolver, connections and session. To be used and closed in one event loop.

    The name is resolved before each attempt. `resolver` caches for this client, so a client keeps an address, and its
    open connections, exactly as long as the answer is valid. Connections are pooled by address, so a former address is
    not used again.

    A session is the newest version of each patient that the client has written, or read with `Minimum-Version`. It is
    the `Minimum-Version` of later reads. A region that does not have it yet answers 503. The client
    then prefers an older version to none, and reads once more without the header. Every attempt is in `history`.
    """

    def __init__(
        self,
        *,
        number: int,
        name: str,
        resolver: Resolver,
        trust: ssl.SSLContext,
        retries: int,
        timeout_seconds: float,
        history: OperationHistory,
    ) -> None:
        import httpx

        self._number, self._name, self._resolver, self._retries = number, name, resolver, retries
        self._history = history
        self._session: dict[str, str] = {}
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        self._http = httpx.AsyncClient(verify=trust, timeout=timeout_seconds, limits=limits, trust_env=False)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @property
    def in_flight(self) -> asyncio.Semaphore:
        """Return the semaphore that a request holds while it is in flight."""
        return self._in_flight

    async def send(self, call: Call) -> Result:
        """Send a request. Transport errors, 429, 502, 503 and 504 are repeated."""
        repeated, result = 0, await self._attempt(call, 1)
        while True:
            if result.not_yet and MINIMUM_VERSION in call.headers:
                call = _without_minimum(call)
            elif repeated < self._retries and (result.status is None or result.status in REPEATED):
                repeated += 1
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return result
            result = (await self._attempt(call, result.attempts + 1)).after(result)

    async def read(self, patient: str, headers: dict[str, str]) -> Result:
        """Read a patient: the version that this client knows, or a later one, if the region has it."""
        known = self._session.get(patient)
        least = {} if known is None else {MINIMUM_VERSION: f'W/"{known}"'}
        return await self.send(
            Call(
                method="GET",
                target=f"/fhir/Patient/{patient}",
                headers={**headers, **least},
                recorded=Recorded(kind="read", record=patient, named=known),
            )
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _attempt(self, call: Call, attempt: int) -> Result:
        began, result = self._history.clock(), None
        try:
            result = await self._exchange(call, attempt, began)
        finally:
            # An attempt that is cancelled may have arrived.
            if call.recorded is not None:
                self._record(call.recorded, began, result)
        return result

    def _record(self, asked: Recorded, began: float, result: Result | None) -> None:
        """Add an attempt to the history, and its version to the session. Raises DeploymentError as `patient_in`."""
        record, version, values = asked.record, None, tuple[str, ...]()
        if result is not None and result.status in (200, 201):
            patient, version = patient_in(result.body)
            record, values = record or str(patient["id"]), appended(patient)
            # A read without the header may return an older version than the session's.
            if asked.kind != "read" or asked.named is not None or record not in self._session:
                self._session[record] = max(version, self._session.get(record, ""))
        # A creation without a response names no record, and no other client can know it.
        if record:
            self._history.add(
                Operation(
                    client=self._number,
                    region=None if result is None else result.region,
                    record=record,
                    kind=asked.kind,
                    began=began,
                    ended=self._history.clock(),
                    named=asked.named,
                    value=asked.value,
                    status=None if result is None else result.status,
                    version=version,
                    values=values,
                )
            )

    async def _exchange(self, call: Call, attempt: int, began: float) -> Result:
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
            waited = self._history.clock() - began
            return Result(status=None, error=type(error).__name__, region=region, attempts=attempt, longest_wait=waited)
        return Result(
            status=answer.status_code,
            error=None,
            region=region,
            attempts=attempt,
            longest_wait=self._history.clock() - began,
            body=answer.content,
            not_yet=is_not_yet_here(answer),
        )

    def _request(self, call: Call, found: Answer) -> "httpx.Request":
        return self._http.build_request(
            call.method,
            f"https://{found.address}:{found.port}{call.target}",
            headers={**call.headers, "Host": self._name},
            content=call.content or None,
            extensions={"sni_hostname": self._name},
        )


def _without_minimum(call: Call) -> Call:
    """Return a read that accepts any version."""
    headers = {name: value for name, value in call.headers.items() if name != MINIMUM_VERSION}
    recorded = None if call.recorded is None else replace(call.recorded, named=None)
    return replace(call, headers=headers, recorded=recorded)
