"""Tests of probes of real servers, and of the checkers."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from healthcare_dr.emulator.route53.check_status import ProbeResults
from healthcare_dr.emulator.route53.health_checkers import Checkers, Outcome, connect_timeout, loopback_only, probe
from healthcare_dr.emulator.route53.model import LEAST_CHECKERS, CheckConfig, Observation, checker_regions
from unit.emulator.loops import in_event_loop, until

FAST = 100.0
NOWHERE = loopback_only({}, 1)


class Endpoint:
    """Sends the configured response; nothing when it is None. A number among several parts is a pause in seconds."""

    def __init__(self) -> None:
        self.answer: bytes | tuple[bytes | float, ...] | None = ok()
        self.request = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.request = await reader.readuntil(b"\r\n\r\n")
            if self.answer is None:
                await reader.read()
            else:
                for part in self.answer if isinstance(self.answer, tuple) else (self.answer,):
                    if isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
                    else:
                        await asyncio.sleep(part)
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()


def ok(body: bytes = b"", status: str = "200 OK", header: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}Connection: close\r\n\r\n".encode() + body


def server_tls() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("another.example").configure_cert(tls)
    return tls


@asynccontextmanager
async def serving(*, tls: ssl.SSLContext | None = None) -> Any:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=tls)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()


def config(port: int, **other: Any) -> CheckConfig:
    return CheckConfig(**{"id": "a", "type": "HTTP", "host": "127.0.0.1", "port": port, **other})


async def probed(
    answer: bytes | tuple[bytes | float, ...] | None,
    *,
    tls: ssl.SSLContext | None = None,
    scale: float = FAST,
    **other: Any,
) -> Outcome:
    async with serving(tls=tls) as endpoint:
        endpoint.answer = answer
        return await probe(config(endpoint.port, **other), NOWHERE, scale)


@asynccontextmanager
async def following(checks: dict[str, CheckConfig]) -> AsyncIterator[ProbeResults]:
    """Probe these checks, with a time scale that makes each probe wait for a tenth of a second."""
    results = ProbeResults(lambda: checker_regions(FAST))
    checkers = Checkers(results=results, connect=NOWHERE, time_scale=lambda: FAST)
    checkers.follow(checks)
    try:
        yield results
    finally:
        await checkers.stop()


@pytest.mark.parametrize(
    ("status", "healthy"),
    [("200 OK", True), ("302 Found", True), ("404 Not Found", False), ("503 Service Unavailable", False)],
)
@in_event_loop
async def test_2xx_and_3xx_are_healthy(status: str, healthy: bool) -> None:
    assert (await probed(ok(status=status))).success is healthy


@pytest.mark.parametrize("sni", [True, False])
@in_event_loop
async def test_certificates_are_not_validated(sni: bool) -> None:
    tls = server_tls()
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    found = await probed(ok(), tls=tls, type="HTTPS", host="api.example", ip="127.0.0.1", sni=sni)
    assert found.success
    assert names == ["api.example" if sni else None]


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (ok(b"all is well"), True),
        (ok(b"x" * 5116 + b"well"), True),
        (ok(b"x" * 5117 + b"well"), False),
        (ok(b"all is bad"), False),
        (ok(b"2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n", header="Transfer-Encoding: chunked\r\n"), True),
    ],
)
@in_event_loop
async def test_string_is_searched_in_the_first_5120_bytes(answer: bytes, healthy: bool) -> None:
    assert (await probed(answer, type="HTTP_STR_MATCH", search="well")).success is healthy


@pytest.mark.parametrize(
    ("kind", "port", "expected"),
    [
        ("HTTP", 80, "api"),
        ("HTTP", 443, "api:443"),
        ("HTTPS", 443, "api"),
        ("HTTPS", 80, "api:80"),
        ("HTTP", 1, "api:1"),
    ],
)
@in_event_loop
async def test_host_header_contains_name_and_unusual_port(kind: str, port: int, expected: str) -> None:
    async with serving(tls=server_tls() if kind == "HTTPS" else None) as endpoint:
        await probe(config(port, type=kind, host="api"), lambda *_: ("127.0.0.1", endpoint.port), FAST)
        assert f"\r\nHost: {expected}\r\n".encode() in endpoint.request


@in_event_loop
async def test_search_ends_after_5120_bytes() -> None:
    begun = ok(b"fffff\r\nall is well" + b"x" * 5120, header="Transfer-Encoding: chunked\r\n")
    assert (await probed((begun, 60.0), type="HTTP_STR_MATCH", search="well")).success


def test_time_to_connect_is_that_of_route_53() -> None:
    assert connect_timeout("HTTPS", 1) == connect_timeout("HTTP_STR_MATCH", 1) == 4
    assert [connect_timeout("TCP", scale) for scale in (1, 4, FAST)] == [10, 2.5, 2]
    assert connect_timeout("HTTPS", FAST) == 2


@in_event_loop
async def test_probe_applies_the_timeouts() -> None:
    searching: dict[str, Any] = {"type": "HTTP_STR_MATCH", "search": "well", "scale": 1}
    outcomes = await asyncio.gather(
        probed((1.2, ok())),
        probed((2.5, ok())),
        probed((1.2, ok(), 1.2, b"well"), **searching),
        probed((ok(), 2.5, b"well"), **searching),
    )
    assert [outcome.success for outcome in outcomes] == [True, False, True, False]


@in_event_loop
async def test_unestablished_connection_times_out() -> None:
    began = time.monotonic()
    # The server does not use TLS: it waits for the rest of a request.
    outcome = await probed(ok(), type="HTTPS", scale=2)
    assert outcome == Outcome(False, "Failure: Connection timed out.")
    assert time.monotonic() - began > 1.9


@pytest.mark.parametrize("answer", [None, b"hello\r\n\r\n", b""])
@in_event_loop
async def test_invalid_http_response_is_unhealthy(answer: bytes | None) -> None:
    assert not (await probed(answer)).success


@pytest.mark.parametrize("host", ["192.0.2.1", "clinic.example", "abc.execute-api.us-east-1.amazonaws.com"])
@in_event_loop
async def test_only_edge_listeners_and_loopback_are_contacted(host: str) -> None:
    assert NOWHERE(host, 443) is None
    assert not (await probe(config(443, host=host), NOWHERE, FAST)).success


def test_endpoint_is_reached_at_its_regions_edge_listener() -> None:
    connect = loopback_only({"us-east-1": "127.0.0.2"}, 4567)
    assert connect("abc.execute-api.us-east-1.amazonaws.com", 443) == ("127.0.0.2", 4567)
    assert connect("abc.execute-api.us-east-1.amazonaws.com", 80) is None
    assert connect("abc.execute-api.us-west-2.amazonaws.com", 443) is None


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize("inverted", [False, True])
@in_event_loop
async def test_check_follows_its_endpoint(inverted: bool) -> None:
    async with serving() as endpoint:
        checks = {"a": config(endpoint.port, interval=10, threshold=2, inverted=inverted)}
        async with following(checks) as results:

            def state() -> tuple[bool, int]:
                status = results.statuses(checks)["a"]
                return status.healthy != inverted, len(status.observations)

            await until(lambda: state() == (True, LEAST_CHECKERS))
            endpoint.answer = ok(status="500 Internal Server Error")
            await until(lambda: not state()[0])
            endpoint.answer = ok()
            await until(lambda: state()[0])


@in_event_loop
async def test_endpoint_that_cannot_be_probed_is_unhealthy() -> None:
    checks = {"a": config(99999, interval=10, threshold=2)}
    async with following(checks) as results:
        await until(lambda: not results.statuses(checks)["a"].healthy)
        status = results.statuses(checks)["a"].observations[0].status
    assert status == "Failure: The endpoint cannot be probed (OverflowError)."


@pytest.mark.parametrize("kind", ["CLOUDWATCH_METRIC", "RECOVERY_CONTROL"])
def test_unsupported_check_is_logged_once(caplog: pytest.LogCaptureFixture, kind: str) -> None:
    plain, inverted = CheckConfig(id="alarmed", type=kind), CheckConfig(id="turned", type=kind, inverted=True)
    checks = {"alarmed": plain, "sum": CheckConfig(id="sum", type="CALCULATED", children=("alarmed",))}
    checkers = Checkers(results=ProbeResults(), connect=NOWHERE, time_scale=lambda: FAST)
    for following in (checks, checks, {**checks, "turned": inverted}):
        checkers.follow(following)
    line = "The health check {} has the type {}, which is not supported: it is always {}"
    assert caplog.messages == [line.format("alarmed", kind, "healthy"), line.format("turned", kind, "unhealthy")]
    assert ProbeResults().health({"alarmed": plain, "turned": inverted}) == {"alarmed": True, "turned": False}


@in_event_loop
async def test_refused_connection_is_unhealthy() -> None:
    async with serving() as endpoint:
        port = endpoint.port
    assert not (await probe(config(port), NOWHERE, FAST)).success


@pytest.mark.parametrize(("scale", "count"), [(1, 8), (2, 4), (2.5, 4), (3, 3), (10, 3), (20, 3)])
def test_time_scale_reduces_checkers_to_three_at_least(scale: float, count: int) -> None:
    assert len(checker_regions(scale)) == count


def test_new_checker_starts_with_the_result_of_the_others() -> None:
    regions = [checker_regions(10)]
    results, check = ProbeResults(lambda: regions[0]), config(1, threshold=1)

    def note(region: str, *, success: bool) -> None:
        results.record(check, Observation(region, "127.0.0.1", "", 0.0), success=success)

    for region in regions[0]:
        note(region, success=False)
    assert results.statuses({"a": check})["a"].share == 0
    regions[0] = checker_regions(1)
    assert results.statuses({"a": check})["a"].share == 0
    note(regions[0][-1], success=True)
    assert results.statuses({"a": check})["a"].share == 1 / 8


def test_only_active_checkers_count() -> None:
    regions = [checker_regions(1)]
    results, check = ProbeResults(lambda: regions[0]), config(1, threshold=1)
    for region in regions[0]:
        results.record(check, Observation(region, "127.0.0.1", "", 0.0), success=region in checker_regions(10))
    assert results.statuses({"a": check})["a"].share == 3 / 8
    regions[0] = checker_regions(10)
    status = results.statuses({"a": check})["a"]
    assert status.share == 1
    assert {observation.region for observation in status.observations} == set(regions[0])
