"""How much faster than in real time the services' own clocks run: alarm periods and schedules.

Timestamps stay those of the machine. What is sped up is how long an alarm's period lasts and how often a schedule
fires, so that a test waits for neither longer than it has to.
"""

from collections.abc import Callable

from ministack.services import eventbridge, scheduler

REAL_TIME = 1.0
# How late a schedule may be; looking costs some microseconds.
TICK_SECONDS = 1.0

_time_scale: Callable[[], float] = lambda: REAL_TIME  # noqa: E731 - has to be a variable


def use_time_scale(scale: Callable[[], float]) -> None:
    """Ask `scale` from now on: 1 is real time, 10 ten times as fast. Any thread may call it."""
    global _time_scale
    _time_scale = scale


def time_scale() -> float:
    """The scale now; at least 1."""
    return max(REAL_TIME, _time_scale())


def fire_schedules_on_the_services_clock() -> None:
    """A schedule kept to real time however fast the run was, and was up to 10 s late."""
    inner = eventbridge._parse_rate_seconds

    def interval(expression: str) -> float | None:
        seconds: int | None = inner(expression)
        return None if seconds is None else seconds / time_scale()

    eventbridge._parse_rate_seconds = interval
    eventbridge._SCHEDULER_TICK_INTERVAL = scheduler._SCHEDULE_TICK_INTERVAL = TICK_SECONDS


def seconds_between(real_seconds: float, shortest: float) -> float:
    """An interval of the services' clock in seconds of the machine's, but no shorter than `shortest`."""
    return max(shortest, real_seconds / time_scale())
