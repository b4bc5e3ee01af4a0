"""One chart: a drawing area over the shared time axis, with the marks of what happened."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from healthcare_dr.ops.drill.report.markup import escaped, number
from healthcare_dr.ops.drill.report.series import Axis

WIDTH: Final = 800
LEFT: Final = 88
RIGHT: Final = 16
BOTTOM: Final = 34
LEVEL: Final = 22
APART: Final = 26


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line: something that happened at one moment."""

    at: float
    name: str
    kind: str
    """A class of the style: fault, undo, or good."""


def steps(highest: float, count: int) -> list[float]:
    """Round values from 0 up to `highest` or the next round one, about `count` of them."""
    if not 0 < highest < math.inf:
        return [0.0, 1.0]
    rough = highest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(highest / step - 1e-9) + 1)]


class Canvas:
    """Collects shapes; `height` is that of the drawing area, in units of which the chart is 800 wide."""

    def __init__(self, *, on: Axis, marks: Sequence[Mark], height: float) -> None:
        self._axis, self._marks, self.height = on, marks, height
        self._levels = self._level_of_each()
        self.top = 8 + LEVEL * (max(self._levels, default=-1) + 1)
        self._shapes: list[str] = []

    def x(self, at: float) -> float:
        """Return the position of a time; times beyond the axis are at its ends."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at / self._axis.end, 0.0), 1.0)

    def y(self, share: float) -> float:
        """Return the position of a share of the height: 0 at the bottom, 1 at the top."""
        return self.top + self.height * (1 - min(max(share, 0.0), 1.0))

    def box(self, start: float, end: float, low: float, high: float, style: str) -> None:
        """A rectangle between two moments and two shares of the height."""
        left, top = self.x(start), self.y(high)
        self._shapes.append(
            f'<rect class="mark {style}" x="{number(left)}" y="{number(top)}" '
            f'width="{number(self.x(end) - left)}" height="{number(self.y(low) - top)}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line through moments and shares of the height; a single point becomes a short stroke."""
        drawn = [(self.x(at), self.y(share)) for at, share in points]
        if len(drawn) == 1:
            x, y = drawn[0]
            drawn = [(max(LEFT, x - 2), y), (min(WIDTH - RIGHT, x + 2), y)]
        path = " ".join(f"{number(x)},{number(y)}" for x, y in drawn)
        self._shapes.append(f'<polyline class="mark {style}" points="{path}"/>')

    def tick(self, share: float, label: str) -> None:
        """A line across at a share of the height, and its label on the left."""
        y = number(self.y(share))
        self._shapes.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        self._shapes.append(f'<text x="{LEFT - 6}" y="{y}" dy=".35em" text-anchor="end">{escaped(label)}</text>')

    def label(self, share: float, text: str) -> None:
        """A text in the drawing area, from its left edge."""
        self._shapes.append(f'<text class="name" x="{LEFT + 2}" y="{number(self.y(share))}">{escaped(text)}</text>')

    def svg(self, *, name: str, title: str, desc: str) -> str:
        """The chart; `name` is unique on the page."""
        height = number(self.top + self.height + BOTTOM)
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-desc">'
            f'<title id="{name}-title">{escaped(title)}</title><desc id="{name}-desc">{escaped(desc)}</desc>'
            f"{''.join(self._shapes)}{self._times()}{''.join(self._lines())}</svg>"
        )

    def _times(self) -> str:
        base = self.top + self.height
        parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{number(base)}" y2="{number(base)}"/>']
        for at in steps(self._axis.end, 8):
            if at <= self._axis.end:
                x = number(self.x(at))
                last = ' text-anchor="end"' if self.x(at) > WIDTH - RIGHT - 20 else ' text-anchor="middle"'
                unit = " s" if at == 0 else ""
                parts.append(f'<text x="{x}" y="{number(base + 24)}"{last}>{number(at)}{unit}</text>')
        return "".join(parts)

    def _lines(self) -> list[str]:
        parts = []
        numbered = list(enumerate(zip(self._marks, self._levels, strict=True), start=1))
        # The highest first: its line passes behind the numbers below it.
        for index, (mark, level) in sorted(numbered, key=lambda numbered: -numbered[1][1]):
            x, y = number(self.x(mark.at)), self.top - 6 - LEVEL * level
            line = f'x1="{x}" x2="{x}" y1="{number(y + 3)}" y2="{number(self.top + self.height)}"'
            parts.append(
                f'<g class="when {escaped(mark.kind)}"><title>{escaped(f"{mark.name}, {mark.at:.1f} s")}</title>'
                f'<line class="halo" {line}/><line {line}/>'
                f'<text x="{x}" y="{number(y)}" text-anchor="middle">{index}</text></g>'
            )
        return parts

    def _level_of_each(self) -> list[int]:
        """From the bottom, so many levels that no number covers another."""
        last: list[float] = []
        found = []
        for mark in self._marks:
            x = self.x(mark.at)
            level = next((at for at, before in enumerate(last) if x - before >= APART), len(last))
            last[level : level + 1] = [x]
            found.append(level)
        return found
