"""Tests of the benchmark of the embedded AWS: its load client, the values from /proc, and the measurements."""

import asyncio
import os
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from bench import embedded
from bench.embedded import (
    LONGEST_SHARED,
    cpu_per_request,
    edge_target,
    rate_of,
    recovered_after,
    resident_bytes,
    wire_bytes,
)
from bench.processes.load import Load, Outcome, encode
from bench.processtree import ProcessTimes, cpu_seconds, memory_megabytes, parse_pss, parse_stat, ticks_by_role
from bench.running import BenchError

from healthcare_dr.emulator.patches import dynamodb

ROOTS = {"services": 10, "edge": 20}
NAME = "api.healthcare-dr-bench.com"


def step(memory: float, items: int) -> dict[str, Any]:
    return {
        "memory_mb": {"services": memory, "functions": 100.0},
        "items": items,
        "item_bytes": items * 200,
        "resident_item_bytes": items * 1000,
        "objects": 3,
        "object_bytes": 2_000_000,
    }


def found(**changes: Any) -> dict[str, Any]:
    """Return results of the form of `Measuring.all`."""
    kinds = ("reads", "writes", "health")
    cost = {"services": 5.0, "edge": 1.0, "functions": 2.0, "client": 0.5}
    return {
        "memory_mb": {"deployed": {"services": 200.0, "edge": 50.0}, "used": {"services": 500.0, "edge": 60.0}},
        "idle_percent": {"1": {"services": 1.0, "edge": 3.0}, "10": {"services": 6.0, "edge": 15.0}},
        "served": {kind: [130.0, 140.0, 150.0] for kind in kinds},
        "cpu_ms": {kind: [cost, cost] for kind in kinds},
        "boto3": {"reads": [280.0], "writes": [200.0]},
        "overload": {
            "capacity": 130.0,
            "offered": 390.0,
            "goodput": 104.0,
            "statuses": {"200": 10},
            "recovery_seconds": 2.5,
        },
        **changes,
    }


def test_rows_compare_measurements() -> None:
    rows = {row.name.removeprefix("embedded-"): row for row in embedded.measurements(found())}
    assert all(row.embedded for row in rows.values())
    assert (rows["reads"].ratio, rows["reads"].met) == (0.5, True)
    assert (rows["idle"].measured.median, rows["idle"].met) == (4, True)
    assert (rows["idle-fast"].measured.median, rows["idle-fast"].met) == (21, False)
    assert (rows["overload"].ratio, rows["overload"].met, rows["recovery"].met) == (0.8, True, True)
    assert (rows["memory"].measured.median, rows["memory"].reference.median, rows["memory"].met) == (560, 250, True)
    assert (rows["cpu-reads"].measured.median, rows["cpu-reads"].reference.median) == (8, 0.5)
    assert "services 5.00 ms, edge 1.00 ms" in rows["cpu-reads"].note
    assert "growth" not in rows


def test_platform_that_never_recovers_is_an_error() -> None:
    overload = found()["overload"] | {"recovery_seconds": None, "statuses": {"timeout": 9}}
    with pytest.raises(BenchError, match=r"did not recover from overload: \{'timeout': 9\}"):
        embedded.measurements(found(overload=overload))


@pytest.mark.parametrize(("memory", "met"), [(700.0, True), (800.0, False)])
def test_growth_is_of_memory_that_stored_items_do_not_explain(memory: float, met: bool) -> None:
    growth = embedded.measurements(found(long=[step(600, 100_000), step(memory, 200_000)]))[-1]
    assert (growth.name, growth.reference.median, growth.measured.median) == ("embedded-growth", 600, memory - 100)
    assert growth.met is met
    assert "200,000 items of 40 MB, which take 200 MB, and 3 objects of 2 MB" in growth.note


def test_rate_counts_successes_only() -> None:
    assert rate_of({"statuses": {"200": 90, "201": 10}, "seconds": 4.0}) == 25
    for statuses in ({"200": 9, "429": 1}, {}):
        with pytest.raises(BenchError, match="requests failed"):
            rate_of({"statuses": statuses, "seconds": 1.0})


def test_processor_time_is_divided_among_requests() -> None:
    assert cpu_per_request({"edge": 1.0}, {"edge": 1.5}, 100) == {"edge": 5}


@pytest.mark.parametrize(("last", "expected"), [(None, 0.0), (4.0, 4.0), (11.0, None)])
def test_recovery_needs_steady_success_after_the_last_failure(last: float | None, expected: float | None) -> None:
    assert recovered_after({"seconds": 15.0, "last_failure": last}) == expected


def test_edge_target_names_the_api() -> None:
    assert edge_target("a1", "us-east-1", "127.0.0.2", 4002) == {
        "address": "127.0.0.2",
        "port": 4002,
        "host": "a1.execute-api.us-east-1.amazonaws.com",
    }


def test_items_are_sized_on_the_wire_and_in_memory() -> None:
    item = {"pk": {"S": "four"}, "list": {"L": [{"N": "12"}, {"S": "abc"}]}, "map": {"M": {"a": {"B": b"xy"}}}}
    assert wire_bytes(item) == len("pkfour") + len("list12abc") + len("mapaxy")
    assert resident_bytes({"a": ["b"]}) == sum(map(sys.getsizeof, ({"a": None}, "a", ["b"], "b")))
    assert LONGEST_SHARED == dynamodb.LONGEST_SHARED
    long = "x" * (LONGEST_SHARED + 1)
    once = [{"a": {"S": "b"}, "c": {"S": long}, "n": {"N": "1"}}]
    again = sum(map(sys.getsizeof, (once[0], {"S": long}, long, {"N": "1"})))
    # The list of two is one pointer larger than that of one.
    assert resident_bytes(once * 2) == resident_bytes(once) + again + sys.getsizeof([1, 1]) - sys.getsizeof([1])


def test_stat_is_parsed_with_any_command_name() -> None:
    fields = ["S", "10", *["0"] * 9, "7", "3", "20", "5", *["0"] * 30]
    assert parse_stat(f"42 (a) b (c) {' '.join(fields)}") == ProcessTimes(pid=42, parent=10, own=10, reaped=25)


def test_processor_time_is_split_by_role() -> None:
    processes = [
        ProcessTimes(pid=1, parent=0, own=1000, reaped=1000),
        ProcessTimes(pid=10, parent=1, own=100, reaped=5),
        ProcessTimes(pid=20, parent=10, own=40, reaped=0),
        ProcessTimes(pid=30, parent=10, own=7, reaped=2),
        ProcessTimes(pid=31, parent=30, own=1, reaped=0),
        ProcessTimes(pid=99, parent=1, own=500, reaped=0),
    ]
    assert ticks_by_role(processes, ROOTS) == {"services": 100, "edge": 40, "functions": 5 + 7 + 2 + 1}


def test_memory_is_the_proportional_set_size() -> None:
    assert (
        parse_pss("55e0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  1234 kB\nPss_Dirty: 1 kB\n") == 1234
    )


def test_own_process_has_memory_and_processor_time() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        roots = {"tests": os.getpid()}
        before = cpu_seconds(roots)
        spent = time.process_time()
        while time.process_time() - spent < 0.1:
            pass
        assert cpu_seconds(roots)["tests"] - before["tests"] >= 0.08
        assert memory_megabytes(roots)["tests"] > 10
        assert memory_megabytes(roots)["functions"] > 0
    finally:
        child.kill()
        child.wait()


def order(tmp_path: Path, port: int, **changes: Any) -> dict[str, Any]:
    target = {"address": "127.0.0.1", "port": port, "host": NAME}
    return {
        "targets": [target, target],
        "ca": str(tmp_path / "authority.pem"),
        "requests": [{"method": "GET", "path": "/fhir/metadata"}],
        "connections": 4,
        "timeout": 20,
        **changes,
    }


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[int]:
    """Run a TLS server that responds to every request with 200, and write `authority.pem`; return its port."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    listener = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def test_load_client_counts_responses(tmp_path: Path) -> None:
    async def run() -> None:
        async with server(tmp_path) as port:
            outcome = await Load(order(tmp_path, port, count=50)).run()
            assert outcome["statuses"] == {"200": 50}
            assert outcome["last_failure"] is None
            at_rate = await Load(order(tmp_path, port, seconds=1.0, rate=20.0)).run()
            assert at_rate["statuses"].keys() == {"200"}
            assert at_rate["statuses"]["200"] <= 20
        refused = await Load(order(tmp_path, port, count=3)).run()
        assert refused["statuses"] == {"refused": 3}
        assert refused["last_failure"] is not None

    asyncio.run(run())


def test_request_is_encoded_for_an_open_connection() -> None:
    target = {"host": "a.example"}
    request = {"method": "POST", "path": "/y", "headers": {"A": "b"}, "body": "ü"}
    assert (
        encode(target, request) == b"POST /y HTTP/1.1\r\nHost: a.example\r\nA: b\r\nContent-Length: 2\r\n\r\n\xc3\xbc"
    )


def test_outcome_keeps_the_time_of_the_last_failure() -> None:
    outcome = Outcome()
    for ended, status in ((3.2, "503"), (1.5, "timeout"), (2.5, "201")):
        outcome.add(ended, status)
    assert outcome.last_failure == 3.2
    assert outcome.statuses == {"503": 1, "timeout": 1, "201": 1}
