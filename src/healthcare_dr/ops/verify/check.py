"""Checks, the decorators that register them, and their findings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from healthcare_dr.ops.verify.live_target import LiveTarget

Severity = Literal["failure", "unknown", "draining", "note"]
"""`failure`: recovery would not work, or would lose data. `unknown`: the check could not be made. `draining`: an
operator has taken the region out of service. `note`: information that does not prevent recovery."""

REDEPLOY: Final = "run `hdr deploy`, which restores it"
"""The fix of problems that a deployment corrects."""


@dataclass(frozen=True)
class Problem:
    """A problem that a check yields with more than its text."""

    text: str
    severity: Severity = "failure"
    fix: str | None = None
    """The action that corrects this problem, if it is not that of the check."""


Examine = Callable[["LiveTarget", str], Iterable[str | Problem]]
"""Yields the problems of a region, one line each; raises RequestFailedError. A check of the whole platform is called
once, with the primary region."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        expects: the condition that has to hold.
        why: the reason why recovery needs it.
        numbers: requirements (`R1.4`) and traps (`trap 4`).
        fix: the action that corrects a problem.
        each_region: whether it is made for each region, or once for the platform.
        gates_restore: whether it concerns a region's data and service, so that `hdr restore` makes it too.
        both_regions: whether it compares the regions' data, so that it is made for both even if one is selected.
    """

    name: str
    expects: str
    why: str
    numbers: tuple[str, ...]
    fix: str
    each_region: bool
    gates_restore: bool
    both_regions: bool = False
    examine: Examine


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem with recovery or, as a note, information for operators."""

    check: str
    severity: Severity
    region: str | None
    """None if the finding concerns the whole platform."""
    problem: str
    why: str
    numbers: tuple[str, ...]
    fix: str
    service: str | None = None
    """The AWS service that did not respond, if the severity is `unknown`."""

    def document(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "check": self.check,
            "severity": self.severity,
            "region": self.region,
            "problem": self.problem,
            "why": self.why,
            "numbers": list(self.numbers),
            # Scripts read this key; it keeps the name that it was published with.
            "mend": self.fix,
        }

    def __str__(self) -> str:
        where = f"{self.region}: " if self.region else ""
        return f"{where}{self.problem} [{self.check}; {', '.join(self.numbers)}]"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a run. `checks` are the names of the checks made, `seconds` is the duration."""

    target: str
    suffix: str
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def ready(self) -> bool:
        """Return whether recovery would work: there are no findings but notes."""
        return all(finding.severity == "note" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "ready": self.ready,
            "target": self.target,
            "suffix": self.suffix,
            "seconds": self.seconds,
            "checks": list(self.checks),
            "findings": [finding.document() for finding in self.findings],
        }


CHECKS: Final[dict[str, Check]] = {}
"""The registered checks by name. The package `checks` imports the modules that register them."""


def _register(
    name: str,
    *numbers: str,
    expects: str,
    why: str,
    fix: str,
    each_region: bool,
    gates_restore: bool = False,
    both_regions: bool = False,
) -> Callable[[Examine], Examine]:
    def register(examine: Examine) -> Examine:
        if name in CHECKS:
            raise ValueError(f"two checks are named {name}")
        CHECKS[name] = Check(
            name=name, expects=expects, why=why, numbers=numbers, fix=fix, each_region=each_region,
            gates_restore=gates_restore, both_regions=both_regions, examine=examine,
        )  # fmt: skip
        return examine

    return register


each_region = partial(_register, each_region=True)
"""Register a function as a check that is made for each region."""
platform = partial(_register, each_region=False)
"""Register a function as a check that is made once."""
