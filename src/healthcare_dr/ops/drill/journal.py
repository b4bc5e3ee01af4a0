"""The journal: all that a drill did and saw, and the verdict. `journal.json` is this, field by field."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from healthcare_dr.ops.drill.model import (
    Event,
    InstrumentHealth,
    Milestones,
    Missing,
    Observation,
    Promise,
    Reading,
    Sample,
    Write,
)

SCHEMA: Final = 2

Outcome = Literal["passed", "failed", "not started", "inconclusive", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of the steady state: what was asked, whether it held, and what was seen."""

    name: str
    held: bool
    seen: str


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What became of the requests sent from the fault on, until steady success or the end of watching."""

    total: int
    failed: int
    refused: int
    """Of those that failed: turned away, or nobody listened."""
    slow: int
    """Of those that succeeded: slower than the limit."""
    by_region: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Conflicts:
    """Records that clients changed in both regions at once: both versions are kept, until a client merges them."""

    found: int
    merged: int
    """By the drill, as a client does."""
    left: int
    """Still open."""
    unanswered: int = 0
    """Records of which nothing is known: the region was busy for as long as it was asked."""


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """What the drill cost of the unavailability that an availability allows in 30 days."""

    availability_percent: float
    budget_seconds: float
    spent_seconds: float
    """Seconds since the fault, each weighted by the share of requests that failed in it; scaled up to real time."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """One drill. All times are seconds on its clock, which began with it at `started`."""

    schema: int = SCHEMA
    label: Literal["embedded", "aws"]
    outcome: Outcome
    reason: str
    """In one line, why the outcome is what it is."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    experiment: dict[str, Any]
    """The experiment as it was played, defaults filled in."""
    settings: dict[str, Any]
    """What the times depend on: regions, weights, ttl_seconds, health_check_interval_seconds, failure_threshold,
    time_scale, checker_regions, replication_lag_seconds, and the load (rate and the reason for it, what this machine
    served in the calibration, clients, timeouts, retries, ignore_ttl)."""
    regions: tuple[str, str]
    lost: tuple[str, ...]
    """The regions that the method takes away."""
    floor_seconds: float
    """What the settings alone make of a failover: threshold x interval + TTL, at the drill's time scale."""
    events: tuple[Event, ...]
    samples: tuple[Sample, ...]
    observations: tuple[Observation, ...]
    writes: tuple[Write, ...]
    readings: tuple[Reading, ...] = ()
    """How late the drill itself and the machine were, once a second."""
    instrument_health: InstrumentHealth | None = None
    """What the readings mean for the outcome; null when the drill ended before it was judged."""
    steady_state: dict[str, tuple[Condition, ...]] = field(default_factory=dict)
    """`before` and `after`."""
    milestones: Milestones | None = None
    healed: float | None = None
    """When healing began: from then on no fault took a region away, and service that comes back is no failover."""
    requests: Requests | None = None
    missing: tuple[Missing, ...] = ()
    """At steady success, and after healing."""
    unfinished: tuple[int, ...] = ()
    """Documents that were not final in both regions after healing, by their numbers."""
    conflicts: Conflicts | None = None
    """What both regions changed at once, found after healing."""
    error_budget: ErrorBudget | None = None
    promises: tuple[Promise, ...] = ()
    rolled_back: tuple[str, ...] = ()
    """The faults that were undone."""

    def document(self) -> dict[str, Any]:
        """As JSON values; samples, observations and writes as plain objects."""
        document = asdict(self)
        if self.milestones is not None:
            document["milestones"]["rto_seconds"] = self.milestones.rto_seconds
        return document

    def write(self, folder: Path) -> Path:
        """Write `journal.json` into `folder`; gives its path."""
        path = folder / "journal.json"
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        return path
