"""Scale the clocks of the services: alarm periods and schedules.

Timestamps stay real. Only the length of an alarm's period and the interval of a schedule are divided by the time scale.
"""

from collections.abc import Callable

from ministack.services import eventbridge, scheduler

REAL_TIME = 1.0
# The longest delay of a schedule; a check costs some microseconds.
TICK_SECONDS = 1.0

_time_scale: Callable[[], float] = lambda: REAL_TIME  # noqa: E731 - has to be a variable


def set_time_scale_source(scale: Callable[[], float]) -> None:
    """Set the function that returns the time scale, such as 10 for ten times as fast. Any thread may call it."""
    global _time_scale
    _time_scale = scale


def time_scale() -> float:
    """Return the present time scale, at least 1."""
    return max(REAL_TIME, _time_scale())


def scale_schedules() -> None:
    """Schedules ignored the time scale, and ran up to 10 s late."""
    inner = eventbridge._parse_rate_seconds

    def interval(expression: str) -> float | None:
        seconds: int | None = inner(expression)
        return None if seconds is None else seconds / time_scale()

    eventbridge._parse_rate_seconds = interval
    eventbridge._SCHEDULER_TICK_INTERVAL = scheduler._SCHEDULE_TICK_INTERVAL = TICK_SECONDS


def scaled_interval(real_seconds: float, shortest: float) -> float:
    """Return an interval divided by the time scale, in seconds, but no shorter than `shortest`."""
    return max(shortest, real_seconds / time_scale())
