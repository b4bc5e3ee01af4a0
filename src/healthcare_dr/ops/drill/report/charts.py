"""The charts of a report, stacked over one time axis."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from healthcare_dr.ops.charts import Canvas, Mark, escaped, number, steps
from healthcare_dr.ops.drill.journal import Journal
from healthcare_dr.ops.drill.report import series

Legend = Sequence[tuple[str, str]]
"""Styles and what they stand for."""
LATENESS: Final[Mapping[str, tuple[str, str]]] = {
    "services_seconds": ("worst", "AWS services, trivial request"),
    "edge_seconds": ("tail", "edge, trivial request"),
    "send_seconds": ("middle", "requests sent late"),
    "loop_seconds": ("other stroke", "clients woken late"),
}
"""By the field of a reading: its style and its name."""


def marks(journal: Journal) -> list[Mark]:
    """Return the events that every chart marks, in order of time."""
    found, way = [], journal.milestones
    if way is not None:
        found.append(Mark(at=way.fault, name="fault", kind="fault"))
        for at, name in (
            (way.dns_changed, "DNS changed"),
            (way.first_success, "first success"),
            (way.steady_success, "steady success"),
        ):
            if at is not None:
                found.append(Mark(at=at, name=name, kind="good"))
    for event in journal.events:
        if event.kind == "undo":
            found.append(Mark(at=event.at, name=f"undone: {event.text}", kind="undo"))
        elif event.kind == "fault" and (way is None or abs(event.at - way.fault) > 1):
            found.append(Mark(at=event.at, name=f"fault: {event.text}", kind="fault"))
    return sorted(found, key=lambda mark: mark.at)


class Charts:
    """Draws all charts of a journal, with the same time axis and the same marks."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._axis, self.marks = journal, series.axis(journal), marks(journal)
        self._names = (f"chart-{index}" for index in count(1))
        self._per = "second" if self._axis.slot == 1 else f"{self._axis.slot} seconds"

    def html(self) -> str:
        """All charts; a sentence in place of one that has nothing to show."""
        return "".join(
            (
                self._outcomes(),
                self._latency(),
                self._answers(),
                self._served(),
                self._checks(),
                self._lag(),
                self._lateness(),
            )
        )

    def _outcomes(self) -> str:
        slots = series.outcomes(self._journal.samples, self._axis)
        title, totals = "Requests per second by outcome", Counter[str]()
        for counts in slots.values():
            totals.update(counts)
        desc = ", ".join(f"{totals[name]} {name}" for name in series.OUTCOMES) + "; each counts once, when it was due."
        styles: dict[str, str] = {name: name for name in series.OUTCOMES}
        return self._stack(title, desc, slots, styles, share=False, none="No requests were sent.")

    def _served(self) -> str:
        slots = series.served(self._journal.samples, self._axis)
        title, desc = "Requests served per second by region", "Successful requests only, by where they were answered."
        return self._stack(title, desc, slots, self._styles(slots), share=False, none="No request was served.")

    def _answers(self) -> str:
        slots = series.answers(self._journal.observations, self._axis)
        title, desc = "DNS answers by region", f"Share of the uncached answers of each {self._per}; none: no answer."
        return self._stack(title, desc, slots, self._styles(slots), share=True, none="No DNS answers were observed.")

    def _latency(self) -> str:
        title, slots = f"Latency per {self._per}", series.latencies(self._journal.samples, self._axis)
        if not slots:
            return _nothing(title, "No requests were sent.")
        times = [max(1e-3, value) for seen in slots.values() for value in (seen.p50, seen.max) if math.isfinite(value)]
        low, high = math.floor(math.log10(min(times, default=1))), math.ceil(math.log10(max(times, default=1)))
        high = max(high, low + 1)
        canvas = Canvas(end=self._axis.end, marks=self.marks, height=130)
        for power in range(low, high + 1):
            canvas.tick((power - low) / (high - low), _duration(power))
        styles = (("max", "worst"), ("p99", "tail"), ("p50", "middle"))
        for name, style in styles:
            for run in _runs(sorted(slots)):
                values = [(at, max(1e-3, float(getattr(slots[at], name)))) for at in run]
                middle = self._axis.slot / 2
                canvas.line(
                    [(at * self._axis.slot + middle, (math.log10(v) - low) / (high - low)) for at, v in values], style
                )
        desc = f"Of all requests due in each {self._per}, retries and waiting included; logarithmic scale."
        return self._figure(canvas, title, desc, [(style, name) for name, style in reversed(styles)])

    def _checks(self) -> str:
        title, rows = "Health checks", series.bands(self._journal.observations, self._axis)
        if not rows:
            return _nothing(title, "No health checks were observed.")
        canvas = Canvas(end=self._axis.end, marks=self.marks, height=44 * len(rows))
        for row, (name, bands) in enumerate(rows.items()):
            base = 1 - (row + 1) / len(rows)
            canvas.label(base + 0.56 / len(rows), name)
            for band in bands:
                high = base + (0.3 if band.healthy else 0.42) / len(rows)
                canvas.box(band.start, band.end, base + 0.08 / len(rows), high, "up" if band.healthy else "down")
        desc = "The status of each check by Route 53's health checkers; unhealthy bands are taller."
        return self._figure(canvas, title, desc, [("up", "healthy"), ("down", "unhealthy")])

    def _lag(self) -> str:
        title, rows = "Replication lag by receiving region", series.lags(self._journal.observations)
        if not rows:
            return _nothing(title, "No replication lag was observed.")
        ticks = steps(max(lag for points in rows.values() for _, lag in points), 4)
        canvas = Canvas(end=self._axis.end, marks=self.marks, height=110)
        for value in ticks:
            canvas.tick(value / ticks[-1], f"{number(value)} s")
        styles = self._region_styles(list(rows))
        for region, points in rows.items():
            canvas.line([(at, lag / ticks[-1]) for at, lag in points], f"{styles[region]} stroke")
        desc = "Seconds until a write acknowledged elsewhere is readable there, or the age of the one waited for."
        return self._figure(canvas, title, desc, [(styles[region], region) for region in rows])

    def _lateness(self) -> str:
        title, rows = "Lateness of the drill and of the machine", series.lateness(self._journal.readings)
        if not rows:
            return _nothing(title, "The drill did not measure itself.")
        ticks = steps(max(value for points in rows.values() for _, value in points), 4)
        canvas = Canvas(end=self._axis.end, marks=self.marks, height=110)
        for value in ticks:
            canvas.tick(value / ticks[-1], f"{number(value)} s")
        for name, points in rows.items():
            canvas.line([(at, value / ticks[-1]) for at, value in points], LATENESS[name][0])
        desc = "Seconds, at worst in each reading; see Instrument health for what counts as late."
        return self._figure(canvas, title, desc, [LATENESS[name] for name in rows])

    def _styles(self, slots: Mapping[int, Counter[str]]) -> dict[str, str]:
        return self._region_styles(series.names(slots, self._journal.regions))

    def _region_styles(self, names: Sequence[str]) -> dict[str, str]:
        own = {region: f"region-{index}" for index, region in enumerate(self._journal.regions)}
        return {name: own.get(name, "other") for name in names}

    def _stack(
        self,
        title: str,
        desc: str,
        slots: Mapping[int, Counter[str]],
        styles: Mapping[str, str],
        *,
        share: bool,
        none: str,
    ) -> str:
        if not slots:
            return _nothing(title, none)
        width = self._axis.slot
        ticks = [0, 0.5, 1] if share else steps(max(counts.total() for counts in slots.values()) / width, 4)
        canvas = Canvas(end=self._axis.end, marks=self.marks, height=130)
        for value in ticks:
            canvas.tick(value / ticks[-1], f"{value:.0%}" if share else number(value))
        for slot, counts in sorted(slots.items()):
            whole, low = counts.total() if share else ticks[-1] * width, 0.0
            for name, style in styles.items():
                if counts[name]:
                    high = low + counts[name] / whole
                    canvas.box(slot * width, (slot + 1) * width, low, high, style)
                    low = high
        return self._figure(canvas, title, desc, [(style, name) for name, style in styles.items()])

    def _figure(self, canvas: Canvas, title: str, desc: str, legend: Legend) -> str:
        keys = "".join(f'<li><i class="key {style}"></i>{escaped(name)}</li>' for style, name in legend)
        return (
            f"<figure><figcaption><h3>{escaped(title)}</h3><p>{escaped(desc)}</p>"
            f'<ul class="legend">{keys}</ul></figcaption>'
            f"{canvas.svg(name=next(self._names), title=title, desc=desc)}</figure>"
        )


def _nothing(title: str, sentence: str) -> str:
    return f"<figure><figcaption><h3>{escaped(title)}</h3><p>{escaped(sentence)}</p></figcaption></figure>"


def _duration(power: int) -> str:
    return f"{number(10.0**power)} s" if power >= 0 else f"{number(10.0 ** (power + 3))} ms"


def _runs(slots: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for slot in slots:
        if runs and runs[-1][-1] == slot - 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs
