"""What a benchmark reports, and how it becomes JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

SCHEMA = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Series:
    """One side of a comparison: what was measured, and every sample."""

    what: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return median(self.samples)

    @property
    def min(self) -> float:
        """The sample that noise has hit least."""
        return min(self.samples)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what,
            "median": _rounded(self.median),
            "min": _rounded(self.min),
            "samples": len(self.samples),
        }


@dataclass(frozen=True)
class Aim:
    """A bound on the median: of the ratio, or of what is measured, in the measurement's unit."""

    of: Literal["ratio", "measured"]
    at: Literal["most", "least"]
    bound: float


@dataclass(frozen=True)
class Measurement:
    """A comparison; its ratio is `measured` over `reference`. `embedded`: the numbers come from the embedded AWS."""

    name: str
    unit: Literal["s", "ms", "MB", "units", "per s", "%"]
    measured: Series
    reference: Series
    note: str
    aim: Aim | None = None
    embedded: bool = False

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.measured.median / self.reference.median

    @property
    def ratio_of_min(self) -> float:
        """Of the smallest samples."""
        return self.measured.min / self.reference.min

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim."""
        if self.aim is None:
            return None
        value = self.ratio if self.aim.of == "ratio" else self.measured.median
        return value <= self.aim.bound if self.aim.at == "most" else value >= self.aim.bound

    def document(self) -> dict[str, Any]:
        """As JSON."""
        aim = {"of": self.aim.of, "at": self.aim.at, "bound": self.aim.bound, "met": self.met} if self.aim else None
        return {
            "name": self.name,
            "label": "embedded" if self.embedded else None,
            "unit": self.unit,
            "measured": self.measured.document(),
            "reference": self.reference.document(),
            "ratio": {"median": _rounded(self.ratio), "min": _rounded(self.ratio_of_min)},
            "aim": aim,
            "note": self.note,
        }


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")
