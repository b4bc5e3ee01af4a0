"""Whether the machine carried a drill's measurement, by readings of its own lateness."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.ops.drill.journal import Reading
from healthcare_dr.ops.drill.self_monitor import (
    LATE_READINGS,
    STALL_FACTOR,
    THRESHOLDS,
    instrument_health,
    late_instruments,
)

LIMITS = {threshold.field: threshold.limit for threshold in THRESHOLDS}


def readings(count: int, *, late: int = 0, **values: float) -> list[Reading]:
    """`count` readings, one a second from 1 on, of which the first `late` have these values."""
    idle: dict[str, Any] = {"send_seconds": 0.01, "loop_seconds": 0.01, "services_seconds": 0.02, "edge_seconds": 0.01}
    return [Reading(at=float(n), **(idle | (values if n <= late else {}))) for n in range(1, count + 1)]


def test_idle_machine_carries_the_measurement() -> None:
    found = instrument_health(readings(100))
    assert (found.sufficient, found.readings, found.late, found.reason) == (True, 100, 0, "")
    assert found.worst["services_seconds"] == 0.02


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.field)
def test_each_instrument_counts_when_it_is_late_in_one_reading_of_twenty(threshold: Any) -> None:
    beyond = {threshold.field: threshold.limit * 1.01}
    assert instrument_health(readings(100, late=4, **beyond)).sufficient
    found = instrument_health(readings(100, late=5, **beyond))
    assert (found.sufficient, found.late) == (False, 5)
    assert found.reason.startswith(f"{threshold.what} (up to {threshold.limit * 1.01:.1f} {threshold.unit}, limit")
    assert found.reason.endswith("in 5 of 100 readings")
    assert "\n" not in found.reason


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.field)
def test_one_long_stall_is_enough(threshold: Any) -> None:
    stalled = {threshold.field: min(100.0, threshold.limit * STALL_FACTOR * 1.01)}
    assert instrument_health(readings(1000, late=1, **stalled)).sufficient is not threshold.stalls


def test_two_late_readings_of_a_short_drill_are_chance() -> None:
    assert instrument_health(readings(10, late=LATE_READINGS - 1, services_seconds=1.5)).sufficient
    assert not instrument_health(readings(10, late=LATE_READINGS, services_seconds=1.5)).sufficient


def test_calibration_that_saturates_the_machine_on_purpose_is_not_judged() -> None:
    found = instrument_health(readings(100, late=10, services_seconds=9.0), since=10.0)
    assert (found.sufficient, found.readings) == (True, 90)


def test_saturated_processors_alone_are_no_lateness_and_explain_it() -> None:
    assert instrument_health(readings(100, late=100, busy_percent=100.0)).sufficient
    found = instrument_health(readings(100, late=50, busy_percent=96.0, send_seconds=0.7))
    assert found.reason.endswith("in 50 of 100 readings, while the processors were 96 % busy")


def test_what_was_not_measured_is_not_late() -> None:
    assert late_instruments(Reading(at=1.0)) == ()
    found = instrument_health([Reading(at=1.0)])
    assert (found.sufficient, found.worst) == (True, {})
    assert instrument_health([]).sufficient


@given(st.lists(st.dictionaries(st.sampled_from(sorted(LIMITS)), st.floats(0, 100)), max_size=40))
def test_reason_is_given_exactly_when_the_machine_did_not_carry_it(values: list[dict[str, float]]) -> None:
    found = instrument_health(Reading(at=float(n), **each) for n, each in enumerate(values, 1))
    assert found.sufficient is (found.reason == "")
    assert found.late == sum(any(value > LIMITS[name] for name, value in each.items()) for each in values)
