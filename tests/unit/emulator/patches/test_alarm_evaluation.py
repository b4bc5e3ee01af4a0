"""When an alarm moves, by the data of its metric alone."""

from collections.abc import Sequence
from typing import Any

import pytest

from healthcare_dr.emulator.patches.cloudwatch import AlarmState, Point, range_seconds, verdict

# Half a minute into a period.
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
    """The state by what each minute had, the running one last: `x` too much, `o` not, `-` nothing."""
    points = [
        {"Timestamp": NOW - 60 * age, "Value": 100.0 if what == "x" else 0.0}
        for age, what in enumerate(reversed(values))
        if what != "-"
    ]
    found = verdict(alarm(**options), points, statistic=maximum, now=NOW)
    return found.state if found else None


@pytest.mark.parametrize(
    ("values", "periods", "expected"),
    [
        ("x", 1, "ALARM"),
        ("xo", 1, "OK"),
        ("ox", 1, "ALARM"),
        ("ox", 2, "OK"),
        ("oxx", 2, "ALARM"),
        # What comes once a minute may come a little late.
        ("o-", 1, "OK"),
        ("x--", 1, "ALARM"),
        ("o--", 1, "OK"),
        ("xx-", 2, "ALARM"),
        ("xo-", 2, "OK"),
    ],
)
def test_the_newest_periods_with_data_decide(values: str, periods: int, expected: str) -> None:
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
def test_silence_means_what_the_alarm_says(values: str, treatment: str, expected: str | None) -> None:
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
def test_what_is_missing_stands_in_for_data(values: str, treatment: str, expected: str | None) -> None:
    assert state(values, EvaluationPeriods=2, TreatMissingData=treatment) == expected


def test_some_of_the_periods_may_be_enough() -> None:
    assert state("xox", EvaluationPeriods=3, DatapointsToAlarm=2) == "ALARM"
    assert state("xoo", EvaluationPeriods=3, DatapointsToAlarm=2) == "OK"


def test_data_of_a_period_are_one_value() -> None:
    points = [{"Timestamp": NOW - age, "Value": value} for age, value in ((1, 0.0), (2, 100.0))]
    found = verdict(alarm(), points, statistic=maximum, now=NOW)
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
def test_the_comparison_is_the_alarms(comparison: str, at_threshold: str) -> None:
    points = [{"Timestamp": NOW, "Value": 60.0}]
    found = verdict(alarm(ComparisonOperator=comparison), points, statistic=maximum, now=NOW)
    assert found is not None
    assert found.state == at_threshold


def test_an_evaluation_looks_back_further_than_it_has_to() -> None:
    assert range_seconds(alarm()) == 180
    assert range_seconds(alarm(EvaluationPeriods=5, Period=10)) == 70


@pytest.mark.parametrize(("scale", "expected"), [(1.0, "OK"), (10.0, "ALARM")])
def test_periods_are_as_much_shorter_as_the_run_is_faster(scale: float, expected: str) -> None:
    # What is too much lies in the running 6 s alone, of a minute whose average is not too much.
    points = [{"Timestamp": NOW - age, "Value": 100.0 if age < 6 else 0.0} for age in range(30)]

    def average(found: Sequence[Point]) -> float | None:
        return sum(float(point["Value"]) for point in found) / len(found)

    # NOW begins a period of 6 s: half a second before, one ends.
    found = verdict(alarm(), points, statistic=average, now=NOW - 0.5, scale=scale)
    assert found is not None
    assert found.state == expected


def test_silence_counts_as_much_sooner_as_the_run_is_faster() -> None:
    assert range_seconds(alarm(EvaluationPeriods=2)) == 240
    assert range_seconds(alarm(EvaluationPeriods=2), scale=10.0) == 24
    points = [{"Timestamp": NOW - 60, "Value": 0.0}]
    states = [verdict(alarm(), points, statistic=maximum, now=NOW, scale=scale) for scale in (1.0, 10.0)]
    assert [found.state for found in states if found] == ["OK", "ALARM"]
