"""Judge whether the machine carried a drill's measurement. Pure.

A drill blames the platform for what its clients and instruments saw. When the clients themselves send late, or the
embedded AWS answers a request that needs no work late, they saw the machine and not the platform.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from healthcare_dr.ops.drill.model import InstrumentHealth, Reading

LATE_SHARE: Final = 0.05
"""The share of late readings from which on a measurement does not count: one second in twenty may be blurred."""
LATE_READINGS: Final = 3
"""So many late readings at least make that share: in a short drill, one or two are chance."""
STALL_FACTOR: Final = 4.0
"""A single reading of so many times its threshold is enough. For the clients that is 2 s, the time in which a health
checker has to get an answer (Route 53, "How Route 53 determines whether a health check is healthy"); for the services
4 s, of the 5 s that a client waits."""
ADVICE: Final = (
    "close other programs, send less (`--rate 5`) or speed up less (a smaller `--time-scale`), and run it again"
)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The limit of one instrument."""

    field: str
    """The field of `Reading`."""
    limit: float
    unit: str
    what: str
    """What the instrument shows, as the subject of a sentence."""
    reason: str
    """Why the limit is what it is."""
    stalls: bool = True
    """Whether a single reading of `STALL_FACTOR` times the limit is enough."""


THRESHOLDS: Final[tuple[Threshold, ...]] = (
    Threshold(
        field="send_seconds",
        limit=0.5,
        unit="s",
        what="the drill's clients sent late",
        reason="a tenth of the 5 s that a client waits for an answer: more of a request's time is the client's own",
    ),
    Threshold(
        field="loop_seconds",
        limit=0.5,
        unit="s",
        what="the drill's clients were not given the processor",
        reason="as above; it also covers the time between two requests",
    ),
    Threshold(
        field="services_seconds",
        limit=1.0,
        unit="s",
        what="the AWS services took long to answer a request that needs no work",
        reason="a real request is served about ten times as slowly, and a health checker waits 2 s for an answer",
    ),
    Threshold(
        field="edge_seconds",
        limit=0.5,
        unit="s",
        what="the embedded edge took long to answer a request that needs no work",
        reason="front doors, DNS and health checkers run there: a DNS client waits 1 s, a health checker 2 s",
    ),
    Threshold(
        field="stolen_percent",
        limit=20.0,
        unit="%",
        what="the hypervisor gave processor time to other machines",
        reason="with a fifth of the processors gone, two processors cannot serve one client and the platform at once",
        stalls=False,
    ),
)


def late_instruments(reading: Reading) -> tuple[Threshold, ...]:
    """Return the thresholds that a reading exceeds."""
    return tuple(each for each in THRESHOLDS if (value := _value(reading, each)) is not None and value > each.limit)


def instrument_health(readings: Iterable[Reading], *, since: float = 0.0) -> InstrumentHealth:
    """Judge the readings taken after `since`: before it, the calibration saturates the machine on purpose."""
    judged = [reading for reading in readings if reading.at > since]
    late = [reading for reading in judged if late_instruments(reading)]
    worst = {
        each.field: max(values)
        for each in THRESHOLDS
        if (values := [value for reading in judged if (value := _value(reading, each)) is not None])
    }
    stalled = any(each.stalls and worst.get(each.field, 0.0) > STALL_FACTOR * each.limit for each in THRESHOLDS)
    often = len(late) >= max(LATE_READINGS, LATE_SHARE * len(judged))
    sufficient = not (stalled or often)
    return InstrumentHealth(
        sufficient=sufficient,
        readings=len(judged),
        late=len(late),
        worst=worst,
        reason="" if sufficient else _reason(judged, late, worst),
    )


def _reason(judged: Sequence[Reading], late: Sequence[Reading], worst: dict[str, float]) -> str:
    exceeded = [each for each in THRESHOLDS if worst.get(each.field, 0.0) > each.limit]
    parts = [f"{each.what} (up to {worst[each.field]:.1f} {each.unit}, limit {each.limit:g})" for each in exceeded]
    busy = [reading.busy_percent for reading in late if reading.busy_percent is not None]
    text = f"{', '.join(parts)} in {len(late)} of {len(judged)} readings"
    return f"{text}, while the processors were {sum(busy) / len(busy):.0f} % busy" if busy else text


def _value(reading: Reading, threshold: Threshold) -> float | None:
    value: float | None = getattr(reading, threshold.field)
    return value
