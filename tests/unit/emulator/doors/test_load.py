"""A front door under more load than the machine carries: it serves what it can, and says so to the others."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from healthcare_dr.emulator.conditions import OPEN
from healthcare_dr.emulator.doors import forwarding
from healthcare_dr.emulator.doors.forwarding import AT_ONCE, Forwarding

NAME = "api.healthcare-dr.example"
REGION = "us-east-1"


class Behind:
    """The API behind the door: it answers when it is let to."""

    def __init__(self) -> None:
        self.asked = self.left = 0
        self.open = asyncio.Event()

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))


class Apis:
    async def has(self, api_id: str) -> bool:
        return api_id == "known"


class Client:
    """One request through a door, and what came back."""

    def __init__(self, door: Forwarding) -> None:
        self.status: int | None = None
        self._gone = asyncio.Event()
        self._sent = False
        self.done = asyncio.create_task(door(self._scope(), self._receive, self._send))

    def leave(self) -> None:
        self._gone.set()

    def _scope(self) -> dict[str, Any]:
        headers = [(b"host", NAME.encode())]
        return {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}

    async def _receive(self) -> dict[str, Any]:
        if self._sent:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


def door_to(behind: Behind) -> Forwarding:
    return Forwarding(
        region=REGION,
        endpoint="https://127.0.0.1:4566",
        client=httpx.AsyncClient(transport=httpx.MockTransport(behind)),
        apis=Apis(),
        targets=lambda: {NAME: {REGION: "known"}},
        fault=lambda: OPEN,
    )


async def until(behind: Behind, *, asked: int) -> None:
    async with asyncio.timeout(15):
        while behind.asked < asked:
            await asyncio.sleep(0)


def test_who_finds_no_place_in_time_is_throttled_and_the_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "PLACE_SECONDS", 0.05)

    async def crowd() -> tuple[int | None, set[int | None]]:
        behind = Behind()
        door = door_to(behind)
        served = [Client(door) for _ in range(AT_ONCE)]
        await until(behind, asked=AT_ONCE)
        late = Client(door)
        await late.done
        behind.open.set()
        for client in served:
            await client.done
        return late.status, {client.status for client in served}

    assert asyncio.run(crowd()) == (429, {200})


def test_what_a_client_that_left_had_asked_for_is_given_up() -> None:
    async def leaving() -> tuple[int, int | None]:
        behind = Behind()
        door = door_to(behind)
        clients = [Client(door) for _ in range(AT_ONCE)]
        await until(behind, asked=AT_ONCE)
        async with asyncio.timeout(15):
            for client in clients:
                client.leave()
                await client.done
        behind.open.set()
        next_one = Client(door)
        await next_one.done
        return behind.left, next_one.status

    assert asyncio.run(leaving()) == (AT_ONCE, 200)
