"""Tests of admission control in the edge proxy and in the services."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from healthcare_dr.emulator.edge_proxy import forwarding
from healthcare_dr.emulator.edge_proxy.forwarding import (
    MOST_AT_ONCE,
    MOST_BODY_BYTES,
    MOST_WAITING,
    ApiDirectory,
    Forwarded,
    ForwardedResponse,
    Forwarding,
)
from healthcare_dr.emulator.fault_state import OPEN
from healthcare_dr.emulator.services.middleware import MOST_AT_ONCE as MOST_ADMITTED
from healthcare_dr.emulator.services.middleware import Admission
from unit.emulator.loops import in_event_loop, until

NAME = "api.healthcare-dr.example"
REGION = "us-east-1"
EDGE_ADDRESS = "127.0.0.2"


class Services:
    """Responds once `open` is set."""

    def __init__(self) -> None:
        self.received = self.cancelled = 0
        self.open = asyncio.Event()

    async def __call__(self, _: Forwarded) -> ForwardedResponse:
        self.received += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ForwardedResponse(200, [(b"content-length", b"2")], b"{}")


class Apis(ApiDirectory):
    async def has(self, api_id: str) -> bool:
        return api_id == "known"


class Client:
    """Send one request and return the status of its response."""

    def __init__(self, application: Any, *, address: str | None = "127.0.0.1", body: bytes = b"") -> None:
        self.status: int | None = None
        self._address, self._body = address, body
        self._gone = asyncio.Event()
        self.sent = False
        self.done = asyncio.create_task(application(self._scope(), self._receive, self._send))

    def leave(self) -> None:
        self._gone.set()

    def _scope(self) -> dict[str, Any]:
        headers = [(b"host", NAME.encode())]
        client = (self._address, 40000) if self._address else None
        path = "/_aws/execute-api/known/"
        return {
            **{"type": "http", "method": "GET", "path": path, "raw_path": path.encode()},
            **{"query_string": b"", "headers": headers, "client": client, "server": (EDGE_ADDRESS, 4568)},
        }

    async def _receive(self) -> dict[str, Any]:
        if self.sent:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self.sent = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


@pytest.fixture
def services() -> Services:
    return Services()


def forwarding_to(services: Services) -> Forwarding:
    return Forwarding(
        region=REGION,
        services=services,
        apis=Apis(lambda: ()),
        targets=lambda: {NAME: {REGION: "known"}},
        fault=lambda _: OPEN,
    )


async def served(*clients: Client) -> list[int | None]:
    """Wait for the responses to these clients, and return their statuses."""
    for client in clients:
        await client.done
    return [client.status for client in clients]


@in_event_loop
async def test_request_that_waits_too_long_returns_429_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    monkeypatch.setattr(forwarding, "WAIT_SECONDS", 0.05)
    application = forwarding_to(services)
    admitted = [Client(application) for _ in range(MOST_AT_ONCE)]
    await until(lambda: services.received == MOST_AT_ONCE)
    assert await served(Client(application)) == [429]
    services.open.set()
    assert set(await served(*admitted)) == {200}


@in_event_loop
async def test_full_queue_returns_429_at_once_and_serves_health_checkers(services: Services) -> None:
    application = forwarding_to(services)
    admitted = [Client(application) for _ in range(MOST_AT_ONCE + MOST_WAITING)]
    await until(lambda: services.received == MOST_AT_ONCE)
    async with asyncio.timeout(forwarding.WAIT_SECONDS):
        assert set(await served(*[Client(application) for _ in range(10)])) == {429}
    checker = Client(application, address=EDGE_ADDRESS)
    await until(lambda: services.received == MOST_AT_ONCE + 1)
    services.open.set()
    assert set(await served(checker, *admitted)) == {200}


@in_event_loop
async def test_request_of_disconnected_client_is_cancelled_and_releases_its_slot(services: Services) -> None:
    application = forwarding_to(services)
    clients = [Client(application) for _ in range(MOST_AT_ONCE)]
    await until(lambda: services.received == MOST_AT_ONCE)
    for client in clients:
        client.leave()
    await served(*clients)
    assert services.cancelled == MOST_AT_ONCE
    services.open.set()
    assert await served(Client(application)) == [200]


@pytest.mark.parametrize(
    ("size", "status"), [(MOST_BODY_BYTES, 200), (MOST_BODY_BYTES + 1, 413)], ids=["fits", "larger"]
)
@in_event_loop
async def test_body_beyond_the_limit_returns_413(services: Services, size: int, status: int) -> None:
    services.open.set()
    assert await served(Client(forwarding_to(services), body=b"x" * size)) == [status]


@in_event_loop
async def test_services_reject_excess_api_requests_before_reading_them(services: Services) -> None:
    async def application(scope: Any, _: Any, send: Any) -> None:
        answer = await services(Forwarded(scope["method"], scope["path"], [], b""))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})

    admission = Admission(application)
    admitted = [Client(admission) for _ in range(MOST_ADMITTED)]
    await until(lambda: services.received == MOST_ADMITTED)
    rejected = Client(admission)
    assert (await served(rejected), rejected.sent) == ([429], False)
    from_the_edge = Client(admission, address=None)
    await until(lambda: services.received == MOST_ADMITTED + 1)
    services.open.set()
    assert set(await served(from_the_edge, *admitted, Client(admission))) == {200}
