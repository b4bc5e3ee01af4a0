"""Charts as SVG: `Canvas` for charts over time inside a page, `Frame` for the panels of a figure that stands alone."""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


WIDTH: Final = 800
LEFT: Final = 88
RIGHT: Final = 16
BOTTOM: Final = 34
LEVEL: Final = 22
APART: Final = 26
INK: Final = "#7d8590"
"""A grey that is readable on white and on black."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line: something that happened at one moment."""

    at: float
    name: str
    kind: str
    """A class of the style: fault, undo, or good."""


class Canvas:
    """A chart over a time axis from 0 to `end` seconds, styled by the classes of the page that contains it.

    `height` is that of the drawing area, in units of which the chart is 800 wide. `marks` are drawn as vertical lines.
    """

    def __init__(self, *, end: float, marks: Sequence[Mark], height: float) -> None:
        self._end, self._marks, self.height = end, marks, height
        self._levels = self._level_of_each()
        self.top = 8 + LEVEL * (max(self._levels, default=-1) + 1)
        self._shapes: list[str] = []

    def x(self, at: float) -> float:
        """Return the position of a time; times beyond the axis are at its ends."""
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at / self._end, 0.0), 1.0)

    def y(self, share: float) -> float:
        """Return the position of a share of the height: 0 at the bottom, 1 at the top."""
        return self.top + self.height * (1 - min(max(share, 0.0), 1.0))

    def box(self, start: float, end: float, low: float, high: float, style: str) -> None:
        """Draw a rectangle between two moments and two shares of the height."""
        left, top = self.x(start), self.y(high)
        self._shapes.append(
            f'<rect class="mark {style}" x="{number(left)}" y="{number(top)}" '
            f'width="{number(self.x(end) - left)}" height="{number(self.y(low) - top)}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Draw a line through moments and shares of the height; a single point becomes a short stroke."""
        drawn = [(self.x(at), self.y(share)) for at, share in points]
        if len(drawn) == 1:
            x, y = drawn[0]
            drawn = [(max(LEFT, x - 2), y), (min(WIDTH - RIGHT, x + 2), y)]
        path = " ".join(f"{number(x)},{number(y)}" for x, y in drawn)
        self._shapes.append(f'<polyline class="mark {style}" points="{path}"/>')

    def tick(self, share: float, label: str) -> None:
        """Draw a horizontal line at a share of the height, with its label on the left."""
        y = number(self.y(share))
        self._shapes.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        self._shapes.append(f'<text x="{LEFT - 6}" y="{y}" dy=".35em" text-anchor="end">{escaped(label)}</text>')

    def label(self, share: float, text: str) -> None:
        """Write a text at the left edge of the drawing area."""
        self._shapes.append(f'<text class="name" x="{LEFT + 2}" y="{number(self.y(share))}">{escaped(text)}</text>')

    def svg(self, *, name: str, title: str, desc: str) -> str:
        """Return the chart; `name` must be unique on the page."""
        height = number(self.top + self.height + BOTTOM)
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-desc">'
            f'<title id="{name}-title">{escaped(title)}</title><desc id="{name}-desc">{escaped(desc)}</desc>'
            f"{''.join(self._shapes)}{self._times()}{''.join(self._lines())}</svg>"
        )

    def _times(self) -> str:
        base = self.top + self.height
        parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{number(base)}" y2="{number(base)}"/>']
        for at in steps(self._end, 8):
            if at <= self._end:
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
        """Return the level of each mark's number, from the bottom, so that no number covers another."""
        last: list[float] = []
        found = []
        for mark in self._marks:
            x = self.x(mark.at)
            level = next((at for at, before in enumerate(last) if x - before >= APART), len(last))
            last[level : level + 1] = [x]
            found.append(level)
        return found


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A panel of a figure, styled by attributes: its position, and the values at its edges.

    A `log` vertical axis starts above 0.
    """

    left: float
    top: float
    width: float
    height: float
    start: float
    end: float
    low: float
    high: float
    log: bool = False

    def x(self, value: float) -> float:
        """Return the position of a value of the horizontal axis."""
        return self.left + self.width * (value - self.start) / (self.end - self.start)

    def y(self, value: float) -> float:
        """Return the position of a value of the vertical axis; values beyond it are at its ends."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.top + self.height * (1 - min(max((at - low) / (high - low), 0.0), 1.0))

    def _path(self, points: Points) -> str:
        return " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)

    def line(self, points: Points, colour: str, *, dashed: bool = False) -> str:
        """Return a line through points."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        return f'<polyline points="{self._path(points)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def area(self, upper: Points, lower: Points, colour: str) -> str:
        """Return the area between two lines."""
        return f'<polygon points="{self._path([*upper, *reversed(lower)])}" fill="{colour}" fill-opacity=".75"/>'

    def dots(self, points: Points, colour: str) -> str:
        """Return a dot at each point."""
        return "".join(
            f'<circle cx="{number(self.x(x))}" cy="{number(self.y(y))}" r="4.5" fill="{colour}" stroke="#fff"/>'
            for x, y in points
        )

    def upright(self, at: float) -> str:
        """Return a vertical line from bottom to top."""
        x, bottom = number(self.x(at)), number(self.top + self.height)
        return f'<line x1="{x}" x2="{x}" y1="{number(self.top)}" y2="{bottom}" stroke="{INK}" stroke-dasharray="2 3"/>'

    def axes(self, *, title: str, across: str, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Return ticks, their labels, the title, and the name of the horizontal axis."""
        bottom, right = self.top + self.height, self.left + self.width
        parts = [text(self.left, self.top - 14, title, weight="600")]
        for value in ys:
            y = self.y(value)
            parts.append(
                f'<line x1="{number(self.left)}" x2="{number(right)}" y1="{number(y)}" y2="{number(y)}" '
                f'stroke="{INK}" stroke-opacity=".25"/>'
            )
            parts.append(text(self.left - 6, y + 4, f"{value:,.0f}", anchor="end"))
        parts += [text(self.x(value), bottom + 18, f"{value:.0f}", anchor="middle") for value in xs]
        parts.append(text((self.left + right) / 2, bottom + 38, across, anchor="middle"))
        return "".join(parts)


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "400", colour: str = INK) -> str:
    """Return a text whose anchor is at a point."""
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escaped(words)}</text>"
    )


def dashes(x: float, y: float, words: str) -> str:
    """Return the legend of a dashed line."""
    line = f'x1="{number(x)}" x2="{number(x + 12)}" y1="{number(y - 4)}" y2="{number(y - 4)}"'
    return f'<line {line} stroke="{INK}" stroke-width="2" stroke-dasharray="5 2"/>{text(x + 16, y, words)}'


def legend(left: float, top: float, entries: Sequence[tuple[str, str]]) -> str:
    """Return a line for each entry: its color and its name."""
    return "".join(
        f'<rect x="{number(left)}" y="{number(top + 18 * row - 9)}" width="10" height="10" fill="{colour}"/>'
        + text(left + 16, top + 18 * row, name)
        for row, (colour, name) in enumerate(entries)
    )


def document(width: int, height: int, *, title: str, desc: str, shapes: Sequence[str]) -> str:
    """Return the figure as a document that refers to nothing outside itself."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<title id="title">{escaped(title)}</title>\n<desc id="desc">{escaped(desc)}</desc>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def steps(highest: float, count: int) -> list[float]:
    """Round values from 0 up to `highest` or the next round one, about `count` of them."""
    if not 0 < highest < math.inf:
        return [0.0, 1.0]
    rough = highest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(highest / step - 1e-9) + 1)]


def number(value: float) -> str:
    """A coordinate or a tick: as short as it can be."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def escaped(value: object) -> str:
    """Safe in HTML and SVG, in text and in attributes; control characters become U+FFFD."""
    return html.escape(CONTROL.sub("\ufffd", str(value)))
