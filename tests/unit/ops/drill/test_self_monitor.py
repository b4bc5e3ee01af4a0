"""The lateness of a drill and of the machine, and whether it makes the measurement unreliable."""

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.ops.drill.journal import Reading
from healthcare_dr.ops.drill.load.client import IN_FLIGHT
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.self_monitor import (
    LATE_READINGS,
    STALL_FACTOR,
    THRESHOLDS,
    Lateness,
    Probe,
    Processors,
    SelfMonitor,
    instrument_health,
    late_instruments,
)
from unit.ops.drill.fakes import ADDRESSES, EAST, FakeResolver, Region, until

BEFORE = "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n"


def test_processor_time_is_counted_since_the_previous_reading(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(BEFORE, encoding="ascii")
    processors = Processors(stat)
    # user +20, system +10, idle +40, iowait +10, steal +20; the guest's 5 are part of user.
    stat.write_text("cpu  120 0 110 840 10 0 0 20 5 0\n", encoding="ascii")
    assert processors.percentages() == (30.0, 20.0)
    assert processors.percentages() == (None, None), "no time has passed"


def test_machine_without_proc_reports_nothing(tmp_path: Path) -> None:
    assert Processors(tmp_path / "missing").percentages() == (None, None)
    (tmp_path / "odd").write_text("cpu 1 2\n", encoding="ascii")
    assert Processors(tmp_path / "odd").percentages() == (None, None)


def probe_of(port: int, trust: ssl.SSLContext, clock: Callable[[], float] = time.monotonic) -> Probe:
    return Probe(url=f"https://{ADDRESSES[EAST]}:{port}/health", trust=trust, clock=clock)


@pytest.fixture
def probe(regions: dict[str, Region], trust: ssl.SSLContext) -> Iterator[Probe]:
    made = probe_of(regions[EAST].port, trust)
    made.start()
    yield made
    made.stop()


def test_probe_measures_the_latency_of_a_trivial_request(probe: Probe) -> None:
    until(lambda: (seconds := probe.worst()) is not None and 0.0 <= seconds < 5.0)


def test_probe_measures_a_request_in_flight(regions: dict[str, Region], probe: Probe) -> None:
    regions[EAST].hang = True
    until(lambda: (probe.worst() or 0.0) > 0.5)
    regions[EAST].hang = False
    until(lambda: (probe.worst() or 1.0) < 0.5)


def test_probe_of_a_closed_port_measures_no_lateness(trust: ssl.SSLContext) -> None:
    readings: list[float] = []

    def clock() -> float:
        readings.append(time.monotonic())
        return readings[-1]

    made = probe_of(1, trust, clock)
    made.start()
    until(lambda: len(readings) >= 2)
    made.stop()
    assert made.worst() is None


def test_reading_contains_every_instrument(regions: dict[str, Region], trust: ssl.SSLContext, tmp_path: Path) -> None:
    began = time.monotonic()
    stat = tmp_path / "stat"
    stat.write_text(BEFORE, encoding="ascii")
    processors = Processors(stat)
    stat.write_text("cpu  200 0 100 800 0 0 0 0 0 0\n", encoding="ascii")
    monitor = SelfMonitor(
        lateness=lambda: Lateness(send=0.7, loop=0.2),
        probes={"edge_seconds": probe_of(regions[EAST].port, trust)},
        clock=lambda: time.monotonic() - began,
        processors=processors,
    )
    monitor.start()
    until(lambda: any(reading.edge_seconds is not None for reading in monitor.readings()))
    monitor.stop()
    first = monitor.readings()[0]
    assert (first.send_seconds, first.loop_seconds, first.busy_percent, first.stolen_percent) == (0.7, 0.2, 100.0, 0.0)
    assert first.services_seconds is None
    assert [reading.at for reading in monitor.readings()] == sorted(reading.at for reading in monitor.readings())


def test_request_to_a_hanging_region_is_no_lateness_of_its_client(
    regions: dict[str, Region], generator: Callable[..., LoadGenerator]
) -> None:
    regions[EAST].hang = True
    # More requests are due than one client may have in flight. The others wait because of the region.
    load = generator(rate=50, clients=1, timeout_seconds=600)
    load.start()
    until(lambda: len(regions[EAST].seen) >= IN_FLIGHT)
    load.lateness()
    until(lambda: (since := load.waiting_since()) is not None and time.monotonic() - since > 4.0)
    late = load.lateness()
    load.stop()
    assert late.send is not None, "a request that waits for another one counts as started"
    assert late.send < 2.0
    assert load.lateness().send is None, "lateness is that since the previous call"


def test_blocked_event_loop_is_late_while_it_is_blocked(
    regions: dict[str, Region], generator: Callable[..., LoadGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked: list[float] = []
    resolver = FakeResolver(regions, EAST, 0)
    load = generator(resolver)

    async def block(_: str) -> object:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            time.sleep(0.02)
            blocked.append(load.lateness().loop or 0.0)
        raise OSError("enough")

    monkeypatch.setattr(resolver, "resolve", block)
    load.start()
    until(lambda: bool(blocked) and max(blocked) > 0.5)
    with contextlib.suppress(OSError):
        load.stop()


LIMITS = {threshold.field: threshold.limit for threshold in THRESHOLDS}


def readings(count: int, *, late: int = 0, **values: float) -> list[Reading]:
    """Return `count` readings, one a second, of which the first `late` have these values."""
    idle: dict[str, Any] = {"send_seconds": 0.01, "loop_seconds": 0.01, "services_seconds": 0.02, "edge_seconds": 0.01}
    return [Reading(at=float(n), **(idle | (values if n <= late else {}))) for n in range(1, count + 1)]


def test_measurement_on_an_idle_machine_is_reliable() -> None:
    found = instrument_health(readings(100))
    assert (found.sufficient, found.readings, found.late, found.reason) == (True, 100, 0, "")
    assert found.worst["services_seconds"] == 0.02


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.field)
def test_instrument_that_is_late_in_one_of_twenty_readings_makes_it_unreliable(threshold: Any) -> None:
    beyond = {threshold.field: threshold.limit * 1.01}
    assert instrument_health(readings(100, late=4, **beyond)).sufficient
    found = instrument_health(readings(100, late=5, **beyond))
    assert (found.sufficient, found.late) == (False, 5)
    assert found.reason.startswith(f"{threshold.what} (up to {threshold.limit * 1.01:.1f} {threshold.unit}, limit")
    assert found.reason.endswith("in 5 of 100 readings")
    assert "\n" not in found.reason


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.field)
def test_one_long_stall_makes_it_unreliable(threshold: Any) -> None:
    stalled = {threshold.field: min(100.0, threshold.limit * STALL_FACTOR * 1.01)}
    assert instrument_health(readings(1000, late=1, **stalled)).sufficient is not threshold.stalls


def test_two_late_readings_of_a_short_drill_do_not_count() -> None:
    assert instrument_health(readings(10, late=LATE_READINGS - 1, services_seconds=1.5)).sufficient
    assert not instrument_health(readings(10, late=LATE_READINGS, services_seconds=1.5)).sufficient


def test_readings_during_the_calibration_do_not_count() -> None:
    found = instrument_health(readings(100, late=10, services_seconds=9.0), since=10.0)
    assert (found.sufficient, found.readings) == (True, 90)


def test_busy_processors_are_no_lateness_but_are_in_the_reason() -> None:
    assert instrument_health(readings(100, late=100, busy_percent=100.0)).sufficient
    found = instrument_health(readings(100, late=50, busy_percent=96.0, send_seconds=0.7))
    assert found.reason.endswith("in 50 of 100 readings, while the processors were 96 % busy")


def test_missing_values_are_not_late() -> None:
    assert late_instruments(Reading(at=1.0)) == ()
    found = instrument_health([Reading(at=1.0)])
    assert (found.sufficient, found.worst) == (True, {})
    assert instrument_health([]).sufficient


@given(st.lists(st.dictionaries(st.sampled_from(sorted(LIMITS)), st.floats(0, 100)), max_size=40))
def test_reason_is_given_exactly_when_the_measurement_is_unreliable(values: list[dict[str, float]]) -> None:
    found = instrument_health(Reading(at=float(n), **each) for n, each in enumerate(values, 1))
    assert found.sufficient is (found.reason == "")
    assert found.late == sum(any(value > LIMITS[name] for name, value in each.items()) for each in values)
