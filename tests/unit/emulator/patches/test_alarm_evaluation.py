"""Tests of the evaluation of an alarm by the data of its metric."""

from collections.abc import Sequence
from typing import Any

import pytest

from healthcare_dr.emulator.patches.cloudwatch import AlarmState, Point, next_state, range_seconds

# Half a minute after the beginning of a period.
NOW = 1_800_000_000 // 60 * 60 + 30.0


def alarm(**options: Any) -> dict[str, Any]:
    return {
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 60.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "breaching",
    } | options


def maximum(points: Sequence[Point]) -> float | None:
    return max(float(point["Value"]) for point in points)


def state(values: str, **options: Any) -> str | None:
    """Return the state for the data of each minute, the present one last: `x` breaching, `o` not, `-` none."""
    points = [
        {"Timestamp": NOW - 60 * age, "Value": 100.0 if what == "x" else 0.0}
        for age, what in enumerate(reversed(values))
        if what != "-"
    ]
    found = next_state(alarm(**options), points, statistic=maximum, now=NOW)
    return found.state if found else None


@pytest.mark.parametrize(
    ("values", "periods", "expected"),
    [
        ("x", 1, "ALARM"),
        ("xo", 1, "OK"),
        ("ox", 1, "ALARM"),
        ("ox", 2, "OK"),
        ("oxx", 2, "ALARM"),
        # A datum per minute may arrive a little late.
        ("o-", 1, "OK"),
        ("x--", 1, "ALARM"),
        ("o--", 1, "OK"),
        ("xx-", 2, "ALARM"),
        ("xo-", 2, "OK"),
    ],
)
def test_newest_periods_with_data_decide(values: str, periods: int, expected: str) -> None:
    for treatment in ("breaching", "notBreaching", "missing"):
        assert state(values, EvaluationPeriods=periods, TreatMissingData=treatment) == expected


@pytest.mark.parametrize(
    ("values", "treatment", "expected"),
    [
        ("---", "breaching", "ALARM"),
        ("---", "notBreaching", "OK"),
        ("---", "missing", "INSUFFICIENT_DATA"),
        ("---", "ignore", None),
        ("x---", "notBreaching", "OK"),
    ],
)
def test_missing_data_are_treated_as_configured(values: str, treatment: str, expected: str | None) -> None:
    assert state(values, TreatMissingData=treatment) == expected


@pytest.mark.parametrize(
    ("values", "treatment", "expected"),
    [
        ("x---", "breaching", "ALARM"),
        ("x---", "notBreaching", "OK"),
        ("x---", "missing", "ALARM"),
        ("x---", "ignore", None),
        ("o---", "breaching", "OK"),
        ("o---", "ignore", "OK"),
    ],
)
def test_missing_periods_count_as_configured(values: str, treatment: str, expected: str | None) -> None:
    assert state(values, EvaluationPeriods=2, TreatMissingData=treatment) == expected


def test_datapoints_to_alarm_can_be_fewer_than_the_periods() -> None:
    assert state("xox", EvaluationPeriods=3, DatapointsToAlarm=2) == "ALARM"
    assert state("xoo", EvaluationPeriods=3, DatapointsToAlarm=2) == "OK"


def test_data_of_a_period_form_one_value() -> None:
    points = [{"Timestamp": NOW - age, "Value": value} for age, value in ((1, 0.0), (2, 100.0))]
    found = next_state(alarm(), points, statistic=maximum, now=NOW)
    assert found == AlarmState("ALARM", "Threshold Crossed: 100.0 GreaterThanThreshold 60.0, 0 missing")


@pytest.mark.parametrize(
    ("comparison", "at_threshold"),
    [
        ("GreaterThanThreshold", "OK"),
        ("GreaterThanOrEqualToThreshold", "ALARM"),
        ("LessThanThreshold", "OK"),
        ("LessThanOrEqualToThreshold", "ALARM"),
    ],
)
def test_comparison_operator_is_applied(comparison: str, at_threshold: str) -> None:
    points = [{"Timestamp": NOW, "Value": 60.0}]
    found = next_state(alarm(ComparisonOperator=comparison), points, statistic=maximum, now=NOW)
    assert found is not None
    assert found.state == at_threshold


def test_evaluation_range_has_spare_periods() -> None:
    assert range_seconds(alarm()) == 180
    assert range_seconds(alarm(EvaluationPeriods=5, Period=10)) == 70


@pytest.mark.parametrize(("scale", "expected"), [(1.0, "OK"), (10.0, "ALARM")])
def test_time_scale_shortens_periods(scale: float, expected: str) -> None:
    # The breaching datum is in the present 6 s only, in a minute whose average does not breach.
    points = [{"Timestamp": NOW - age, "Value": 100.0 if age < 6 else 0.0} for age in range(30)]

    def average(found: Sequence[Point]) -> float | None:
        return sum(float(point["Value"]) for point in found) / len(found)

    # A period of 6 s begins at NOW: half a second before, one ends.
    found = next_state(alarm(), points, statistic=average, now=NOW - 0.5, scale=scale)
    assert found is not None
    assert found.state == expected


def test_time_scale_shortens_the_wait_for_missing_data() -> None:
    assert range_seconds(alarm(EvaluationPeriods=2)) == 240
    assert range_seconds(alarm(EvaluationPeriods=2), scale=10.0) == 24
    points = [{"Timestamp": NOW - 60, "Value": 0.0}]
    states = [next_state(alarm(), points, statistic=maximum, now=NOW, scale=scale) for scale in (1.0, 10.0)]
    assert [found.state for found in states if found] == ["OK", "ALARM"]
