"""Tests of the time scale of schedules."""

import pytest
from ministack.services import eventbridge, scheduler

from healthcare_dr.emulator.patches import clock


@pytest.mark.usefixtures("restored")
def test_schedules_follow_the_time_scale() -> None:
    clock.scale_schedules()
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 60
    clock.set_time_scale_source(lambda: 10.0)
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 6
    assert eventbridge._parse_rate_seconds("cron(0 12 * * ? *)") is None
    assert scheduler._SCHEDULE_TICK_INTERVAL <= 1
    clock.set_time_scale_source(lambda: 0.1)
    assert eventbridge._parse_rate_seconds("rate(1 minute)") == 60
