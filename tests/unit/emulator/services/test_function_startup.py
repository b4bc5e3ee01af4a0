"""Tests of the processes of functions: API names lead to the edge listeners, and the clock of caches is scaled."""

import json
import re
import socket
import time
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import patient_api
from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.fault_state import EdgeFault, read, set_clock_ahead
from healthcare_dr.emulator.services import function_startup
from healthcare_dr.emulator.services.function_startup import NOTICE_SECONDS, SCALED_MODULES, ScaledClock
from healthcare_dr.errors import EmulatorError
from unit.emulator.aws import EAST, REGIONS, WEST, Aws, eventually
from unit.emulator.edge import EdgeApis

REQUESTS = """
import http.client

def handler(event, context):
    print("called")
    connection = http.client.HTTPSConnection(event["host"], event.get("port", 443), timeout=event.get("timeout", 20))
    try:
        connection.request("GET", "/echo")
        return connection.getresponse().status
    except OSError as error:
        return type(error).__name__
"""


@pytest.fixture(scope="module")
def requested(patched: Aws) -> Callable[..., object]:
    """Return a function that sends a request from a Lambda function and returns the status or the error."""
    arn = patched.function(uuid.uuid4().hex, REQUESTS)
    return lambda host, **event: patched.invoke(arn, {"host": host, **event})


def test_function_reaches_the_api_of_each_region(edge: EdgeApis, requested: Callable[..., object]) -> None:
    for region in REGIONS:
        assert requested(edge.name(region)) == 200


def test_faults_of_the_edge_listener_apply_to_functions(edge: EdgeApis, requested: Callable[..., object]) -> None:
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="refused"))
    assert eventually(lambda: requested(edge.name(WEST)) == "ConnectionRefusedError")
    assert requested(edge.name(EAST)) == 200
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="blackhole"))
    assert eventually(lambda: requested(edge.name(WEST), timeout=1) == "TimeoutError")
    edge.emulator.set_edge_fault(WEST, EdgeFault(mode="responds"))
    assert eventually(lambda: requested(edge.name(WEST)) == 503)


def test_api_of_another_region_or_port_does_not_resolve(edge: EdgeApis, requested: Callable[..., object]) -> None:
    assert requested("abc.execute-api.eu-west-1.amazonaws.com") == "gaierror"
    assert requested(edge.name(EAST), port=80) == "gaierror"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Record the calls of the inner resolver."""
    calls: list[tuple[object, object]] = []

    def inner(host: object, service: object, *_: object, **__: object) -> list[object]:
        calls.append((host, service))
        return []

    monkeypatch.setattr(socket, "getaddrinfo", inner)
    function_startup.install_resolution({EAST: "127.0.0.2"}, 4568)
    return calls


def test_other_names_resolve_normally(installed: list[tuple[object, object]]) -> None:
    names = (
        "localhost",
        "127.0.0.1",
        "s3.us-east-1.amazonaws.com",
        "execute-api.us-east-1.amazonaws.com.example",
        None,
    )
    for name in names:
        socket.getaddrinfo(name, 443)
    assert installed == [(name, 443) for name in names]


@pytest.mark.parametrize("service", [443, "443", "https"])
def test_api_name_resolves_to_the_edge_listener(installed: list[tuple[object, object]], service: int | str) -> None:
    socket.getaddrinfo(f"AbC.execute-api.{EAST}.amazonaws.com", service)
    socket.getaddrinfo(f"abc.execute-api.{EAST}.amazonaws.com.", port=service)
    assert installed == [("127.0.0.2", 4568)] * 2


def test_name_of_another_region_with_final_dot_does_not_resolve(installed: list[tuple[object, object]]) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(f"abc.execute-api.{WEST}.amazonaws.com.", 443)
    assert installed == []


MEASURES = """
import time
import types

cached = types.ModuleType("patient_api.ttl_cache")
exec("import time\\ndef now():\\n    return time.monotonic()", cached.__dict__)

def handler(event, context):
    print("called")
    began = cached.now(), time.monotonic()
    time.sleep(0.5)
    return [cached.now() - began[0], time.monotonic() - began[1]]
"""


def test_clock_follows_the_time_scale_and_never_runs_backwards(tmp_path: Path) -> None:
    real = [100.0]
    path = tmp_path / "conditions.json"
    clock = ScaledClock(str(path), lambda: real[0])
    seen = [clock.now()]

    def after(seconds: float) -> float:
        real[0] += seconds
        seen.append(clock.now())
        return seen[-1] - seen[-2]

    assert after(1) == pytest.approx(1)
    path.write_text(json.dumps({"time_scale": 10}))
    # The change applies from the end of this second on.
    assert after(1) == pytest.approx(1)
    assert after(1) == pytest.approx(10)
    assert after(NOTICE_SECONDS / 2) == pytest.approx(10 * NOTICE_SECONDS / 2)
    path.write_text("{")
    assert after(1) == pytest.approx(10)
    assert after(1) == pytest.approx(1)
    assert seen == sorted(seen)


READS_TIME = """
import time

def handler(event, context):
    print("called")
    return time.time()
"""


def test_clock_of_a_function_is_set_ahead_and_back(emulator: Emulator, patched: Aws) -> None:
    names = [uuid.uuid4().hex, uuid.uuid4().hex]
    wrong, right = (patched.function(name, READS_TIME) for name in names)

    def ahead(arn: str) -> float:
        return float(patched.invoke(arn)) - time.time()

    assert ahead(wrong) == pytest.approx(0, abs=5)
    emulator.set_clock_ahead(EAST, 120, functions=names[:1])
    try:
        assert eventually(lambda: ahead(wrong) == pytest.approx(120, abs=5))
        assert ahead(right) == pytest.approx(0, abs=5)
    finally:
        emulator.set_clock_ahead(EAST, 0, functions=names[:1])
    assert eventually(lambda: ahead(wrong) == pytest.approx(0, abs=5))


@pytest.mark.parametrize("seconds", [241, -241, float("nan"), "x"])
def test_clock_cannot_be_further_ahead_than_aws_accepts(tmp_path: Path, seconds: Any) -> None:
    with pytest.raises(EmulatorError, match=r"a clock is .* s ahead: it can be by up to 240 s, or behind"):
        set_clock_ahead(tmp_path / "conditions.json", EAST, seconds, functions=["patient-api"])


def test_errors_of_clocks_are_kept_by_region_and_function(tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    set_clock_ahead(path, EAST, 120, functions=["one", "two"])
    set_clock_ahead(path, WEST, -30, functions=["one"])
    set_clock_ahead(path, EAST, 0, functions=["two"])
    assert read(path).clocks_ahead == {EAST: {"one": 120}, WEST: {"one": -30}}


def test_functions_read_the_time_of_day_only_where_it_can_be_shifted() -> None:
    root = Path(patient_api.__file__).parent
    readers = re.compile(r"\b(?:datetime\.(?:now|today|utcnow)|date\.today|time\.time_ns|gmtime|localtime)\(")
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if readers.search(path.read_text())}
    # The century of a date with a year of two digits.
    assert found == {"http/preconditions.py"}


def test_only_scaled_modules_get_the_scaled_clock(emulator: Emulator, patched: Aws) -> None:
    assert all(find_spec(module) for module in SCALED_MODULES)
    arn = patched.function(uuid.uuid4().hex, MEASURES)

    def ratio() -> float:
        cached, other = patched.invoke(arn)
        return float(cached / other)

    assert ratio() == pytest.approx(1, rel=0.01)
    emulator.set_time_scale(4)
    try:
        assert eventually(lambda: ratio() == pytest.approx(4, rel=0.01))
    finally:
        emulator.set_time_scale(1)
    assert eventually(lambda: ratio() == pytest.approx(1, rel=0.01))
