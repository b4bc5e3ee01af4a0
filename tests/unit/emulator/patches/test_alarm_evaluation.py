"""Tests of the state of an alarm by the data of its metric, and of when alarms are evaluated."""

from collections.abc import Sequence
from typing import Any

import pytest

from healthcare_dr.emulator.patches.cloudwatch import AlarmState, Point, Schedule, next_state, range_seconds

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


START = 1_800_000_000.0


def scheduled(**options: Any) -> dict[str, Any]:
    return alarm(Namespace="n", MetricName="m", AlarmConfigurationUpdatedTimestamp=START) | options


def test_alarm_is_due_with_new_data_and_at_each_period() -> None:
    key = ("account", "region", "name")
    alarms = {key: scheduled()}
    schedule = Schedule(started=START)

    def due(seconds: float, scale: float = 1.0) -> bool:
        return bool(schedule.due(alarms, now=START + seconds, scale=scale))

    assert due(1)
    assert not due(2)
    schedule.note(("account", "region", "n", "m", ""))
    # Data arrive continuously: not due each time.
    assert [due(3), due(5.9), due(6), due(7)] == [False, False, True, False]
    schedule.note(("account", "region", "n", "other", ""))
    assert not due(20)
    assert [due(60), due(61), due(120)] == [True, False, True]
    assert due(121, scale=10)
    assert [due(125, scale=10), due(126, scale=10)] == [False, True]
    alarms[key] = scheduled(Threshold=2)
    assert due(127)
    alarms.clear()
    assert not due(128)


def test_alarm_is_due_when_missing_data_start_to_count() -> None:
    alarms = {("account", "region", "name"): scheduled(AlarmConfigurationUpdatedTimestamp=START + 30)}
    schedule = Schedule(started=START)
    found = [second for second in range(31, 240) if schedule.due(alarms, now=START + second, scale=1.0)]
    # The evaluation range is three periods.
    assert found == [31, 60, 120, 180, 210]


def test_data_of_another_region_make_no_alarm_due() -> None:
    alarms = {("account", region, "name"): scheduled() for region in ("here", "there")}
    schedule = Schedule(started=START)
    for region in ("here", "there"):
        schedule.note(("account", region, "n", "m", ""))
    assert schedule.changed_in(alarms, "account", "here", now=START) == [("account", "here", "name")]
    assert schedule.changed_in(alarms, "account", "here", now=START) == []
    assert schedule.changed_in(alarms, "account", "there", now=START) == [("account", "there", "name")]
