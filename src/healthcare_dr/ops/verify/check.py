"""Checks, the registry in which they register, and their findings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from healthcare_dr.ops.verify.live_target import LiveTarget

Severity = Literal["failure", "unknown", "draining", "note"]
"""`failure`: recovery would not work, or lose data. `unknown`: it could not be asked. `draining`: the region is out of
service because an operator wants it so. `note`: worth knowing, and no obstacle."""


@dataclass(frozen=True)
class Problem:
    """A problem that a check yields with more than its text."""

    text: str
    severity: Severity = "failure"


Examine = Callable[["LiveTarget", str], Iterable[str | Problem]]
"""Given a region, yields what is wrong there, one line each; raises UnansweredError. A check of the whole platform is
called once, with the primary region."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        asks: the condition that has to hold.
        numbers: requirements (`R1.4`) and traps (`trap 4`).
        serves: whether it concerns a region's data and service, so that `hdr restore` makes it too.
        between: whether it concerns what one region may lack of the other, so that it is always made for both.
    """

    name: str
    asks: str
    why: str
    numbers: tuple[str, ...]
    mend: str
    each_region: bool
    serves: bool
    between: bool = False
    examine: Examine


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem with recovery or, as a note, information for operators."""

    check: str
    severity: Severity
    region: str | None
    """None for what concerns the platform as a whole."""
    problem: str
    why: str
    numbers: tuple[str, ...]
    mend: str
    service: str | None = None
    """Of what is unknown, the AWS service that did not answer."""

    def __str__(self) -> str:
        where = f"{self.region}: " if self.region else ""
        return f"{where}{self.problem} [{self.check}; {', '.join(self.numbers)}]"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a run. `asked` are the names of the checks, `seconds` is the duration."""

    target: str
    suffix: str
    asked: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def ready(self) -> bool:
        """Return whether recovery would work: there are no findings but notes."""
        return all(finding.severity == "note" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ready": self.ready,
            "target": self.target,
            "suffix": self.suffix,
            "seconds": self.seconds,
            "checks": list(self.asked),
            "findings": [_fields(finding) for finding in self.findings],
        }


def _fields(finding: Finding) -> Mapping[str, Any]:
    return {
        "check": finding.check,
        "severity": finding.severity,
        "region": finding.region,
        "problem": finding.problem,
        "why": finding.why,
        "numbers": list(finding.numbers),
        "mend": finding.mend,
    }


class CheckRegistry:
    """The checks of one topic, in the order in which they are declared."""

    def __init__(self) -> None:
        self.declared: list[Check] = []

    def each_region(
        self, name: str, *numbers: str, asks: str, why: str, mend: str, serves: bool = False, between: bool = False
    ) -> Callable[[Examine], Examine]:
        """Declare a question that is put for each region."""
        return self._declare(name, numbers, asks, why, mend, serves=serves, each_region=True, between=between)

    def platform(
        self, name: str, *numbers: str, asks: str, why: str, mend: str, serves: bool = False
    ) -> Callable[[Examine], Examine]:
        """Declare a question that is put once."""
        return self._declare(name, numbers, asks, why, mend, serves=serves, each_region=False)

    def _declare(
        self, name: str, numbers: tuple[str, ...], asks: str, why: str, mend: str, **scope: bool
    ) -> Callable[[Examine], Examine]:
        def declare(examine: Examine) -> Examine:
            self.declared.append(
                Check(name=name, asks=asks, why=why, numbers=numbers, mend=mend, examine=examine, **scope)
            )
            return examine

        return declare
