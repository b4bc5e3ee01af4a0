"""Measurements: two series of samples, their ratio, and an aim."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

SCHEMA = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Series:
    """One side of a comparison: its description and all samples."""

    what: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def min(self) -> float:
        """The sample with the least noise."""
        return min(self.samples)

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "what": self.what,
            "median": _rounded(self.median),
            "min": _rounded(self.min),
            "samples": len(self.samples),
        }


@dataclass(frozen=True)
class Aim:
    """A bound on the median of the ratio, or of the measured side in the measurement's unit."""

    of: Literal["ratio", "measured"]
    at: Literal["most", "least"]
    bound: float


@dataclass(frozen=True)
class Measurement:
    """A comparison: the ratio of `measured` to `reference`. `embedded` marks numbers of the embedded AWS."""

    name: str
    unit: Literal["s", "ms", "MB", "units", "per s", "%"]
    measured: Series
    reference: Series
    note: str
    aim: Aim | None = None
    embedded: bool = False

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self.measured.median / self.reference.median

    @property
    def ratio_of_min(self) -> float:
        """The ratio of the smallest samples."""
        return self.measured.min / self.reference.min

    @property
    def met(self) -> bool | None:
        """Return whether the aim is met; None without an aim."""
        if self.aim is None:
            return None
        value = self.ratio if self.aim.of == "ratio" else self.measured.median
        return value <= self.aim.bound if self.aim.at == "most" else value >= self.aim.bound

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
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
