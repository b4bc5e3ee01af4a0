"""Tests of the HTTP server of the embedded AWS on one connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn.server import ServerState

from healthcare_dr.emulator.http_server import http_config, protocol_factory

HEAD = b"HTTP/1.1 "


class Written:
    """A transport that records each write."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None:
        pass

    resume_reading = set_protocol = pause_reading


def responses_to(request: bytes, application: Callable[..., Awaitable[None]]) -> Written:
    """Return the writes of the server for the bytes of a client."""

    async def run() -> Written:
        state, written = ServerState(), Written()
        protocol = protocol_factory(http_config(application, lifespan="off", date_header=False), state)()
        protocol.connection_made(written)  # type: ignore[arg-type] # as much of a transport as is used
        protocol.data_received(request)
        while state.tasks:
            await asyncio.gather(*state.tasks)
        protocol.connection_lost(None)
        return written

    return asyncio.run(run())


def answer(*parts: bytes, status: int = 200, **headers: str) -> Callable[..., Awaitable[None]]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        for part in parts[:-1]:
            # Let other tasks run.
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": parts[-1]})

    return application


def test_head_and_body_are_sent_in_one_write() -> None:
    (piece,) = responses_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer(b"body", content_length="4")).pieces
    assert piece.startswith(HEAD + b"200 ")
    assert piece.endswith(b"\r\n\r\nbody")


def test_body_parts_are_sent_as_they_arrive() -> None:
    first, second = responses_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer(b"one", b"two")).pieces
    assert first.endswith(b"\r\n\r\n3\r\none\r\n")
    assert second == b"3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_head_without_body_is_sent(method: bytes, status: int) -> None:
    (piece,) = responses_to(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n", answer(b"", status=status)).pieces[:1]
    assert piece.startswith(HEAD + str(status).encode())
    assert piece.endswith(b"\r\n\r\n")


def test_pipelined_requests_each_get_a_response() -> None:
    pieces = responses_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2, answer(b"body", content_length="4")).pieces
    assert [piece.startswith(HEAD) and piece.endswith(b"body") for piece in pieces] == [True, True]


def test_expect_header_gets_100_continue() -> None:
    request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"
    interim, piece = responses_to(request, answer(b"body", content_length="4")).pieces
    assert interim.startswith(HEAD + b"100 ")
    assert piece.endswith(b"body")


def test_connection_is_closed_after_the_whole_response() -> None:
    written = responses_to(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", answer(b"body", content_length="4")
    )
    assert written.closed
    assert written.pieces[0].endswith(b"body")


def test_connection_is_closed_after_a_head_without_body() -> None:
    written = responses_to(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", answer(b""))
    assert written.closed
    assert written.pieces[0].startswith(HEAD)
