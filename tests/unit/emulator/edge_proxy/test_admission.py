"""Tests of an edge listener and the services under overload: they serve what they can and reject the rest."""

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


def forwarding_to(services: Services) -> Forwarding:
    return Forwarding(
        region=REGION,
        services=services,
        apis=Apis(lambda: ()),
        targets=lambda: {NAME: {REGION: "known"}},
        fault=lambda _: OPEN,
    )


async def until(services: Services, *, received: int) -> None:
    async with asyncio.timeout(15):
        while services.received < received:
            await asyncio.sleep(0)


def test_request_that_waits_too_long_returns_429_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "WAIT_SECONDS", 0.05)

    async def crowd() -> tuple[int | None, set[int | None]]:
        services = Services()
        forwarding_app = forwarding_to(services)
        served = [Client(forwarding_app) for _ in range(MOST_AT_ONCE)]
        await until(services, received=MOST_AT_ONCE)
        late = Client(forwarding_app)
        await late.done
        services.open.set()
        for client in served:
            await client.done
        return late.status, {client.status for client in served}

    assert asyncio.run(crowd()) == (429, {200})


def test_full_queue_returns_429_at_once_and_serves_health_checkers() -> None:
    async def crowd() -> tuple[set[int | None], int | None, set[int | None]]:
        services = Services()
        forwarding_app = forwarding_to(services)
        admitted = [Client(forwarding_app) for _ in range(MOST_AT_ONCE + MOST_WAITING)]
        await until(services, received=MOST_AT_ONCE)
        beyond = [Client(forwarding_app) for _ in range(10)]
        async with asyncio.timeout(forwarding.WAIT_SECONDS):
            for client in beyond:
                await client.done
        checker = Client(forwarding_app, address=EDGE_ADDRESS)
        await until(services, received=MOST_AT_ONCE + 1)
        services.open.set()
        for client in (checker, *admitted):
            await client.done
        return {client.status for client in beyond}, checker.status, {client.status for client in admitted}

    assert asyncio.run(crowd()) == ({429}, 200, {200})


def test_request_of_disconnected_client_is_cancelled_and_releases_its_slot() -> None:
    async def leaving() -> tuple[int, int | None]:
        services = Services()
        forwarding_app = forwarding_to(services)
        clients = [Client(forwarding_app) for _ in range(MOST_AT_ONCE)]
        await until(services, received=MOST_AT_ONCE)
        async with asyncio.timeout(15):
            for client in clients:
                client.leave()
                await client.done
        services.open.set()
        next_one = Client(forwarding_app)
        await next_one.done
        return services.cancelled, next_one.status

    assert asyncio.run(leaving()) == (MOST_AT_ONCE, 200)


def test_body_beyond_the_limit_returns_413() -> None:
    async def sending(size: int) -> int | None:
        services = Services()
        services.open.set()
        client = Client(forwarding_to(services), body=b"x" * size)
        await client.done
        return client.status

    assert asyncio.run(sending(MOST_BODY_BYTES)) == 200
    assert asyncio.run(sending(MOST_BODY_BYTES + 1)) == 413


def test_services_reject_excess_api_requests_before_reading_them() -> None:
    async def crowd() -> tuple[int | None, set[int | None], int]:
        services = Services()

        async def application(scope: Any, _: Any, send: Any) -> None:
            answer = await services(Forwarded(scope["method"], scope["path"], [], b""))
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})

        admission = Admission(application)
        served = [Client(admission) for _ in range(MOST_ADMITTED)]
        await until(services, received=MOST_ADMITTED)
        shed = Client(admission)
        await shed.done
        assert not shed.sent
        from_the_edge = Client(admission, address=None)
        await until(services, received=MOST_ADMITTED + 1)
        services.open.set()
        for client in (from_the_edge, *served):
            await client.done
        after = Client(admission)
        await after.done
        return shed.status, {client.status for client in (*served, from_the_edge, after)}, services.received

    assert asyncio.run(crowd()) == (429, {200}, MOST_ADMITTED + 2)
