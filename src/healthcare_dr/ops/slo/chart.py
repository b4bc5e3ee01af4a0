"""One panel of a figure: axes, lines and areas as SVG that stands alone and can be read on light and on dark ground."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from healthcare_dr.ops.drill.report.markup import escaped, number

# In the middle between white and black.
INK: Final = "#7d8590"

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The position of a panel, and the values at its edges. A `log` vertical axis starts above 0."""

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
        """A line through points."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        return f'<polyline points="{self._path(points)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def area(self, upper: Points, lower: Points, colour: str) -> str:
        """Return the area between two lines."""
        return f'<polygon points="{self._path([*upper, *reversed(lower)])}" fill="{colour}" fill-opacity=".75"/>'

    def dots(self, points: Points, colour: str) -> str:
        """A dot at each point."""
        return "".join(
            f'<circle cx="{number(self.x(x))}" cy="{number(self.y(y))}" r="4.5" fill="{colour}" stroke="#fff"/>'
            for x, y in points
        )

    def upright(self, at: float) -> str:
        """A line from bottom to top."""
        x, bottom = number(self.x(at)), number(self.top + self.height)
        return f'<line x1="{x}" x2="{x}" y1="{number(self.top)}" y2="{bottom}" stroke="{INK}" stroke-dasharray="2 3"/>'

    def axes(self, *, title: str, across: str, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Ticks, their labels and the names of the panel and of its level axis."""
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
    """Words whose anchor is at a point."""
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escaped(words)}</text>"
    )


def dashes(x: float, y: float, words: str) -> str:
    """Return the legend of a dashed line."""
    line = f'x1="{number(x)}" x2="{number(x + 12)}" y1="{number(y - 4)}" y2="{number(y - 4)}"'
    return f'<line {line} stroke="{INK}" stroke-width="2" stroke-dasharray="5 2"/>{text(x + 16, y, words)}'


def legend(left: float, top: float, entries: Sequence[tuple[str, str]]) -> str:
    """A line for each entry: its colour and its name."""
    return "".join(
        f'<rect x="{number(left)}" y="{number(top + 18 * row - 9)}" width="10" height="10" fill="{colour}"/>'
        + text(left + 16, top + 18 * row, name)
        for row, (colour, name) in enumerate(entries)
    )


def document(width: int, height: int, *, title: str, desc: str, shapes: Sequence[str]) -> str:
    """The whole figure; it refers to nothing outside itself."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<title id="title">{escaped(title)}</title>\n<desc id="desc">{escaped(desc)}</desc>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )
