"""A journal's samples and observations as series over time, one value for each slot of the time axis."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, Literal

from healthcare_dr.ops.drill.journal import Journal, Observation, Reading, Sample

SLOTS: Final = 300
NOWHERE: Final = "none"

Outcome = Literal["succeeded", "refused", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("succeeded", "refused", "failed")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The time that all charts share: from 0 to `end` seconds, in slots of `slot` whole seconds."""

    end: float
    slot: int

    def index(self, at: float) -> int:
        """The slot that a moment falls into."""
        return int(min(max(at, 0.0), math.nextafter(self.end, 0.0)) // self.slot)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds that the requests of one slot took."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True)
class Band:
    """A time during which a health check kept its status."""

    start: float
    end: float
    healthy: bool


def axis(journal: Journal) -> Axis:
    """Return an axis that covers the journal; slots are one second unless there would be too many."""
    moments = [journal.seconds, 1.0]
    moments += [sample.at for sample in journal.samples]
    moments += [observation.at for observation in journal.observations]
    moments += [reading.at for reading in journal.readings]
    moments += [event.at for event in journal.events]
    if (found := journal.milestones) is not None:
        moments += [at for at in (found.fault, found.dns_changed, found.first_success, found.steady_success) if at]
    end = math.ceil(max(at for at in moments if math.isfinite(at)))
    return Axis(end=float(end), slot=math.ceil(end / SLOTS))


def outcome(sample: Sample) -> Outcome:
    """Each sample is one of them only: who was refused also failed, and counts as refused."""
    if sample.refused:
        return "refused"
    return "succeeded" if sample.succeeded else "failed"


def outcomes(samples: Sequence[Sample], on: Axis) -> dict[int, Counter[str]]:
    """By slot: how many requests due in it ended in which way."""
    found: dict[int, Counter[str]] = {}
    for sample in samples:
        found.setdefault(on.index(sample.at), Counter())[outcome(sample)] += 1
    return found


def served(samples: Sequence[Sample], on: Axis) -> dict[int, Counter[str]]:
    """By slot: which region answered how many of the requests that succeeded."""
    found: dict[int, Counter[str]] = {}
    for sample in samples:
        if sample.succeeded and not sample.refused:
            found.setdefault(on.index(sample.at), Counter())[sample.region or NOWHERE] += 1
    return found


def answers(observations: Sequence[Observation], on: Axis) -> dict[int, Counter[str]]:
    """By slot: how many DNS answers named which region; `none` for a moment without an answer."""
    found: dict[int, Counter[str]] = {}
    for seen in observations:
        found.setdefault(on.index(seen.at), Counter()).update(seen.dns if any(seen.dns.values()) else {NOWHERE: 1})
    return found


def latencies(samples: Sequence[Sample], on: Axis) -> dict[int, Latency]:
    """By slot: of all requests due in it, whatever became of them."""
    by_slot: dict[int, list[float]] = {}
    for sample in samples:
        by_slot.setdefault(on.index(sample.at), []).append(sample.seconds)
    return {slot: _latency(sorted(times)) for slot, times in by_slot.items()}


def _latency(times: Sequence[float]) -> Latency:
    def rank(percent: int) -> float:
        return times[max(0, math.ceil(len(times) * percent / 100) - 1)]

    return Latency(p50=rank(50), p99=rank(99), max=times[-1])


def bands(observations: Sequence[Observation], on: Axis) -> dict[str, list[Band]]:
    """Return the bands by check. A status holds until the next observation; there is none where an observation lacks
    it.
    """
    found: dict[str, list[Band]] = {name: [] for seen in observations for name in seen.checks}
    looks = sorted(observations, key=lambda seen: seen.at)
    for seen, following in zip_longest(looks, looks[1:]):
        end = on.end if following is None else following.at
        if end <= seen.at:
            continue
        for name, healthy in seen.checks.items():
            row = found[name]
            if row and row[-1].end == seen.at and row[-1].healthy == healthy:
                row[-1] = Band(start=row[-1].start, end=end, healthy=healthy)
            else:
                row.append(Band(start=seen.at, end=end, healthy=healthy))
    return dict(sorted(found.items()))


def lags(observations: Sequence[Observation]) -> dict[str, list[tuple[float, float]]]:
    """By receiving region: moments, and seconds of lag."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seen in sorted(observations, key=lambda seen: seen.at):
        for region, lag in seen.lag.items():
            if math.isfinite(lag):
                found.setdefault(region, []).append((seen.at, lag))
    return dict(sorted(found.items()))


def lateness(readings: Sequence[Reading]) -> dict[str, list[tuple[float, float]]]:
    """By instrument: moments, and seconds it was late; without instruments that measured nothing."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name in ("services_seconds", "edge_seconds", "send_seconds", "loop_seconds"):
        values = [(reading.at, getattr(reading, name)) for reading in readings]
        points = [(at, float(value)) for at, value in values if value is not None and math.isfinite(value)]
        if points:
            found[name] = points
    return found


def names(by_slot: Mapping[int, Counter[str]], first: Sequence[str]) -> list[str]:
    """Return all names that occur: those of `first` in their order, then others."""
    seen = {name for counts in by_slot.values() for name in counts}
    others = sorted(seen - set(first) - {NOWHERE})
    return [name for name in first if name in seen] + others + ([NOWHERE] if NOWHERE in seen else [])
