"""The charts of a report, stacked over one time axis."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, zip_longest
from typing import Final

from healthcare_dr.ops.charts import Panel, Points, number, steps
from healthcare_dr.ops.drill.journal import Journal, Observation, Sample

SLOTS: Final = 300
"""The largest number of slots on the time axis."""
NOWHERE: Final = "none"
OUTCOMES: Final = ("succeeded", "refused", "failed")

WIDTH: Final = 800
LEFT: Final = 88
RIGHT: Final = 16
LEVEL: Final = 22
APART: Final = 26
"""The smallest distance between the numbers of two marks on one level."""
SHORTEST_LATENCY: Final = 1e-3
LATENESS: Final[Mapping[str, tuple[str, str]]] = {
    "services_seconds": ("worst", "AWS services, trivial request"),
    "edge_seconds": ("tail", "edge, trivial request"),
    "send_seconds": ("middle", "requests sent late"),
    "loop_seconds": ("other stroke", "clients woken late"),
}
"""The style and name of each field of a reading that is shown."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The time that all charts share: from 0 to `end` seconds, in slots of `slot` whole seconds."""

    end: float
    slot: int

    def index(self, at: float) -> int:
        """Return the slot that contains a time."""
        return int(min(max(at, 0.0), math.nextafter(self.end, 0.0)) // self.slot)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency of the requests of one slot, in seconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True)
class Band:
    """A time during which a health check kept its status."""

    start: float
    end: float
    healthy: bool


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line: an event at one time. `kind` is a class of the style: fault, undo, or good."""

    at: float
    name: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart. Without a panel, `desc` states why there is nothing to show."""

    title: str
    desc: str
    panel: Panel | None = None
    ticks: Sequence[tuple[float, str]] = ()
    """Horizontal lines: a value and its label."""
    lines: Sequence[tuple[Points, str]] = ()
    """Points and the style of each line."""
    boxes: Sequence[tuple[float, float, float, float, str]] = ()
    """Start, end, low and high value, and the style of each rectangle."""
    labels: Sequence[tuple[float, str]] = ()
    """Texts inside the panel, at a value."""
    legend: Sequence[tuple[str, str]] = ()
    """Styles and their meanings."""


def axis(journal: Journal) -> Axis:
    """Return an axis that covers the journal; slots are one second unless there would be too many."""
    times = [journal.seconds, 1.0]
    for part in (journal.samples, journal.observations, journal.readings, journal.events):
        times += [each.at for each in part]
    if (found := journal.milestones) is not None:
        times += [at for at in (found.fault, found.dns_changed, found.first_success, found.steady_success) if at]
    end = math.ceil(max(at for at in times if math.isfinite(at)))
    return Axis(end=float(end), slot=math.ceil(end / SLOTS))


def marks(journal: Journal) -> list[Mark]:
    """Return the events that every chart marks, in order of time."""
    found, way = [], journal.milestones
    if way is not None:
        good = {
            "DNS changed": way.dns_changed,
            "first success": way.first_success,
            "steady success": way.steady_success,
        }
        found = [Mark(at=way.fault, name="fault", kind="fault")]
        found += [Mark(at=at, name=name, kind="good") for name, at in good.items() if at is not None]
    for event in journal.events:
        if event.kind == "undo":
            found.append(Mark(at=event.at, name=f"undone: {event.text}", kind="undo"))
        elif event.kind == "fault" and (way is None or abs(event.at - way.fault) > 1):
            found.append(Mark(at=event.at, name=f"fault: {event.text}", kind="fault"))
    return sorted(found, key=lambda mark: mark.at)


def outcomes(samples: Iterable[Sample], on: Axis) -> dict[int, Counter[str]]:
    """Count by slot how requests due in it ended. A refused request counts as refused only."""

    def outcome(sample: Sample) -> str:
        return "refused" if sample.refused else "succeeded" if sample.succeeded else "failed"

    return _by_slot(on, ((sample.at, {outcome(sample): 1}) for sample in samples))


def latencies(samples: Iterable[Sample], on: Axis) -> dict[int, Latency]:
    """Return the latency of all requests due in each slot, whatever their outcome, by nearest rank."""
    by_slot: dict[int, list[float]] = {}
    for sample in samples:
        by_slot.setdefault(on.index(sample.at), []).append(sample.seconds)

    def latency(times: Sequence[float]) -> Latency:
        p50, p99 = (times[max(0, math.ceil(len(times) * percent / 100) - 1)] for percent in (50, 99))
        return Latency(p50=p50, p99=p99, max=times[-1])

    return {slot: latency(sorted(times)) for slot, times in by_slot.items()}


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


class Charts:
    """All charts of a journal, with the same time axis and the same marks."""

    width = WIDTH

    def __init__(self, journal: Journal) -> None:
        self._journal, self._axis, self.marks = journal, axis(journal), marks(journal)
        base = Panel(left=LEFT, top=0, width=WIDTH - LEFT - RIGHT, height=1, start=0, end=self._axis.end, low=0, high=1)
        self._levels = levels([base.x(mark.at) for mark in self.marks])
        self._panel = partial(replace, base, top=8 + LEVEL * (max(self._levels, default=-1) + 1))
        self._per = "second" if self._axis.slot == 1 else f"{self._axis.slot} seconds"

    def all(self) -> list[Chart]:
        """Return the charts in their order."""
        samples, observations, on = self._journal.samples, self._journal.observations, self._axis
        sent = outcomes(samples, on)
        totals = sum(sent.values(), Counter[str]())
        ended = ", ".join(f"{totals[name]} {name}" for name in OUTCOMES)
        served = _by_slot(
            on, ((seen.at, {seen.region or NOWHERE: 1}) for seen in samples if seen.succeeded and not seen.refused)
        )
        answers = _by_slot(
            on, ((seen.at, seen.dns if any(seen.dns.values()) else {NOWHERE: 1}) for seen in observations)
        )
        lags = _series((region, seen.at, lag) for seen in observations for region, lag in sorted(seen.lag.items()))
        late = _series((name, each.at, getattr(each, name)) for name in LATENESS for each in self._journal.readings)
        return [
            self._stack(
                "Requests per second by outcome",
                f"{ended}; each counts once, when it was due.",
                sent,
                {name: name for name in OUTCOMES},
                none="No requests were sent.",
            ),
            self._latency(),
            self._stack(
                "DNS answers by region",
                f"Share of the uncached answers of each {self._per}; none: no answer.",
                answers,
                self._region_styles(answers),
                none="No DNS answers were observed.",
                share=True,
            ),
            self._stack(
                "Requests served per second by region",
                "Successful requests only, by where they were answered.",
                served,
                self._region_styles(served),
                none="No request was served.",
            ),
            self._checks(),
            self._lines(
                "Replication lag by receiving region",
                "Seconds until a write acknowledged elsewhere is readable there, or the age of the one waited for.",
                dict(sorted(lags.items())),
                {name: (f"{self._region_style(name)} stroke", name) for name in lags},
                none="No replication lag was observed.",
            ),
            self._lines(
                "Lateness of the drill and of the machine",
                "Seconds, at worst in each reading; see Instrument health for what counts as late.",
                late,
                LATENESS,
                none="The drill did not measure itself.",
            ),
        ]

    def times(self) -> list[float]:
        """Return the ticks of the time axis."""
        return [at for at in steps(self._axis.end, 8) if at <= self._axis.end]

    def numbered(self) -> list[tuple[int, Mark, float]]:
        """Return each mark with its number and its height above the panel, the highest first.

        The line of a higher number passes behind the numbers below it.
        """
        found = zip(count(1), self.marks, self._levels, strict=False)
        return [(index, mark, 6 + LEVEL * level) for index, mark, level in sorted(found, key=lambda each: -each[2])]

    def _latency(self) -> Chart:
        title, slots = f"Latency per {self._per}", latencies(self._journal.samples, self._axis)
        if not slots:
            return Chart(title=title, desc="No requests were sent.")
        shown = [value for seen in slots.values() for value in (seen.p50, seen.max) if math.isfinite(value)]
        times = [max(SHORTEST_LATENCY, value) for value in shown] or [1.0]
        low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
        high = max(high, low + 1)
        styles = {"max": "worst", "p99": "tail", "p50": "middle"}
        width = self._axis.slot
        return Chart(
            title=title,
            desc=f"Of all requests due in each {self._per}, retries and waiting included; logarithmic scale.",
            panel=self._panel(height=130, low=10.0**low, high=10.0**high, log=True),
            ticks=[
                (10.0**power, f"{number(10.0**power)} s" if power >= 0 else f"{number(10.0 ** (power + 3))} ms")
                for power in range(low, high + 1)
            ],
            lines=[
                ([(at * width + width / 2, float(getattr(slots[at], name))) for at in run], style)
                for name, style in styles.items()
                for run in _runs(sorted(slots))
            ],
            legend=[(style, name) for name, style in reversed(styles.items())],
        )

    def _checks(self) -> Chart:
        title, rows = "Health checks", bands(self._journal.observations, self._axis)
        if not rows:
            return Chart(title=title, desc="No health checks were observed.")
        base = {name: float(len(rows) - row) for row, name in enumerate(rows, 1)}
        return Chart(
            title=title,
            desc="The status of each check by Route 53's health checkers; unhealthy bands are taller.",
            panel=self._panel(height=44 * len(rows), high=float(len(rows))),
            labels=[(at + 0.56, name) for name, at in base.items()],
            boxes=[
                (
                    band.start,
                    band.end,
                    base[name] + 0.08,
                    base[name] + (0.3 if band.healthy else 0.42),
                    "up" if band.healthy else "down",
                )
                for name, found in rows.items()
                for band in found
            ],
            legend=[("up", "healthy"), ("down", "unhealthy")],
        )

    def _lines(
        self, title: str, desc: str, rows: Mapping[str, Points], styles: Mapping[str, tuple[str, str]], *, none: str
    ) -> Chart:
        """Return a chart of seconds over time; `styles` are the style and the name of each row."""
        if not rows:
            return Chart(title=title, desc=none)
        ticks = steps(max(value for points in rows.values() for _, value in points), 4)
        return Chart(
            title=title,
            desc=desc,
            panel=self._panel(height=110, high=ticks[-1]),
            ticks=[(value, f"{number(value)} s") for value in ticks],
            lines=[(points, styles[name][0]) for name, points in rows.items()],
            legend=[(styles[name][0], styles[name][1]) for name in rows],
        )

    def _stack(
        self,
        title: str,
        desc: str,
        slots: Mapping[int, Counter[str]],
        styles: Mapping[str, str],
        *,
        none: str,
        share: bool = False,
    ) -> Chart:
        """Return a chart of stacked counts per second, or of shares of each slot."""
        if not slots:
            return Chart(title=title, desc=none)
        width, boxes = self._axis.slot, []
        ticks = [0, 0.5, 1] if share else steps(max(counts.total() for counts in slots.values()) / width, 4)
        for slot, counts in sorted(slots.items()):
            unit, low = counts.total() if share else width, 0.0
            for name, style in styles.items():
                if counts[name]:
                    high = low + counts[name] / unit
                    boxes.append((slot * width, (slot + 1) * width, low, high, style))
                    low = high
        return Chart(
            title=title,
            desc=desc,
            panel=self._panel(height=130, high=ticks[-1]),
            ticks=[(value, f"{value:.0%}" if share else number(value)) for value in ticks],
            boxes=boxes,
            legend=[(style, name) for name, style in styles.items()],
        )

    def _region_styles(self, slots: Mapping[int, Counter[str]]) -> dict[str, str]:
        """Return the styles of all regions that occur, the drill's own regions first."""
        seen, regions = {name for counts in slots.values() for name in counts}, self._journal.regions
        others = sorted(seen - {*regions, NOWHERE})
        ordered = [name for name in (*regions, *others, NOWHERE) if name in seen]
        return {name: self._region_style(name) for name in ordered}

    def _region_style(self, name: str) -> str:
        regions = self._journal.regions
        return f"region-{regions.index(name)}" if name in regions else "other"


def levels(positions: Iterable[float]) -> list[int]:
    """Return the level of each mark's number, from the bottom, so that no number covers another."""
    last: list[float] = []
    found = []
    for x in positions:
        level = next((at for at, before in enumerate(last) if x - before >= APART), len(last))
        last[level : level + 1] = [x]
        found.append(level)
    return found


def _by_slot(on: Axis, counts: Iterable[tuple[float, Mapping[str, int]]]) -> dict[int, Counter[str]]:
    found: dict[int, Counter[str]] = {}
    for at, counted in counts:
        found.setdefault(on.index(at), Counter()).update(counted)
    return found


def _series(values: Iterable[tuple[str, float, float | None]]) -> dict[str, list[tuple[float, float]]]:
    """Return times and values by name, in order of time, without values that are not numbers."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, at, value in values:
        if value is not None and math.isfinite(value):
            found.setdefault(name, []).append((at, float(value)))
    return {name: sorted(points) for name, points in found.items()}


def _runs(slots: Iterable[int]) -> list[list[int]]:
    """Return the slots in runs without a gap."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and runs[-1][-1] == slot - 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs
