"""What charts need: positions of values in a panel, ticks, and a template environment that escapes every value."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import jinja2
from markupsafe import Markup

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A drawing area: its position, and the values at its edges. A `log` vertical axis starts above 0.

    Values beyond an axis are drawn at its end.
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

    @property
    def right(self) -> float:
        """Return the position of the right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Return the position of the lower edge."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """Return the position of a value of the horizontal axis."""
        return self.left + self.width * min(max((value - self.start) / (self.end - self.start), 0.0), 1.0)

    def y(self, value: float) -> float:
        """Return the position of a value of the vertical axis."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.top + self.height * (1 - min(max((at - low) / (high - low), 0.0), 1.0))

    def path(self, points: Points) -> str:
        """Return the positions of points, as an SVG attribute `points`. A single point becomes a stroke."""
        drawn = [(self.x(x), self.y(y)) for x, y in points]
        if len(drawn) == 1:
            x, y = drawn[0]
            drawn = [(max(self.left, x - 2), y), (min(self.right, x + 2), y)]
        return " ".join(f"{number(x)},{number(y)}" for x, y in drawn)


def environment(package: str) -> jinja2.Environment:
    """Return an environment of the templates beside a package's modules.

    It escapes every value for HTML and SVG, and replaces control characters, which XML does not allow.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else CONTROL.sub("\ufffd", str(value)),
    )
    made.filters["number"] = number
    return made


def steps(highest: float, count: int) -> list[float]:
    """Return round values from 0 up to `highest` or the next round one, about `count` of them."""
    if not 0 < highest < math.inf:
        return [0.0, 1.0]
    rough = highest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * index for index in range(math.ceil(highest / step - 1e-9) + 1)]


def number(value: float) -> str:
    """Return a coordinate or a tick with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
