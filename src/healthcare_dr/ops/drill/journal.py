"""The journal of a drill: everything it did and observed, and its verdict.

All times are seconds since the drill began. The fields are those of `journal.json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["read", "write", "document", "update"]
Written = Literal["patient", "document", "update"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request of a client, its retries included.

    `at` is when it was due, not when it could be sent: a client that waits for an earlier answer is slow as well.
    """

    at: float
    seconds: float
    kind: Kind
    client: int
    region: str | None
    """Where it was answered, or sent last; None when no address could be found."""
    status: int | None
    """The HTTP status of the last answer; None without one."""
    error: str | None
    """The type of the transport's last error; None when there was an answer."""
    attempts: int

    @property
    def succeeded(self) -> bool:
        """Return whether the request succeeded."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Return whether the last attempt was rejected: connection refused, 429 or 503."""
        return self.error == "ConnectError" or self.status in (429, 503)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The monitors' readings at one time."""

    at: float
    checks: dict[str, bool]
    """By the name of each health check (`endpoint us-east-1`, `health us-east-1`): whether it is healthy."""
    dns: dict[str, int]
    """By region: how many of this moment's uncached DNS answers named it; empty when there was no answer."""
    lag: dict[str, float]
    """By receiving region: how many seconds its peer's acknowledged writes need to become readable; while none does,
    the age of the oldest one that is waited for. Absent while nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The lateness of the drill's own clients and of the machine since the previous reading; once a second."""

    at: float
    send_seconds: float | None = None
    """The longest time from when a request was due to when its client began to work on it; None when none was due."""
    loop_seconds: float | None = None
    """By how much the event loop of the drill's clients woke up too late, at worst; None while it does not run."""
    services_seconds: float | None = None
    """How long the AWS services of the embedded AWS took to answer a request that needs no work, at worst, or how long
    it has been waiting; None when nothing was probed or nothing listens."""
    edge_seconds: float | None = None
    """The same of the token issuer, which runs beside the front doors and DNS, past every front door and its faults."""
    busy_percent: float | None = None
    """Processor time in use, of all processors; None where the machine does not report it."""
    stolen_percent: float | None = None
    """Processor time that the hypervisor gave to other machines; None where the machine does not report it."""
    load: float | None = None
    """Processes that run or wait for a processor, averaged over a minute."""


@dataclass(frozen=True, kw_only=True)
class InstrumentHealth:
    """Whether the machine carried the measurement, from the readings since calibration."""

    sufficient: bool
    """False when an outcome other than passed shows nothing of the platform."""
    readings: int
    """How many readings were judged."""
    late: int
    """How many of them were beyond a threshold."""
    worst: dict[str, float]
    """By the name of the field: the highest value of each instrument."""
    reason: str
    """In one line, what was late, how often, and by how much; empty when sufficient."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened once."""

    at: float
    kind: Literal["phase", "fault", "undo", "check", "dns", "milestone", "note"]
    text: str
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Write:
    """One acknowledged write: a line of the ledger."""

    number: int
    kind: Written
    id: str
    """The id of its resource; of an update, that of the patient."""
    at: float
    """When it was acknowledged."""
    region: str
    version: str | None = None
    """The version that an update made; None for what was created."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Acknowledged writes that could not be read in one region, at one moment."""

    at: float
    region: str
    """Where they were looked for."""
    looked_for: int
    numbers: tuple[int, ...]
    """Those that the region answered it does not have, by their number in the ledger."""
    seconds: float
    """How far back the oldest of them reaches before the fault: the recovery point; 0 when none is missing."""
    unanswered: tuple[int, ...] = ()
    """Those that the region neither had nor denied: it was busy for as long as it was asked. Nothing is known of
    them."""
    undelivered: tuple[int, ...] = ()
    """Those in `numbers` that replication had not delivered yet: it stood still."""


@dataclass(frozen=True, kw_only=True)
class Milestones:
    """The way from the fault to recovery; None for what did not happen."""

    fault: float
    first_failure: float | None = None
    checks: dict[str, float] = field(default_factory=dict)
    """When each health check changed its verdict for the first time after the fault."""
    dns_changed: float | None = None
    """When no answer named a lost region any more."""
    first_success: float | None = None
    """When a client that had failed succeeded again."""
    steady_success: float | None = None
    """From when on every request succeeded, within the time that a client waits for one answer, for as long as the
    window asks."""

    @property
    def rto_seconds(self) -> float | None:
        """From the fault to steady success, as clients see it; 0 when no request failed."""
        return None if self.steady_success is None else max(0.0, self.steady_success - self.fault)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One line of the verdict: what was promised, what was measured, and whether it was kept."""

    name: str
    limit: str
    measured: str
    kept: bool | None
    """None when it was not judged: the measurement does not show it."""
    binding: bool = True
    """False for an aim: it is shown, but does not decide the verdict."""


SCHEMA: Final = 2

Outcome = Literal["passed", "failed", "not started", "inconclusive", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of the steady state: expectation, result and observed value."""

    name: str
    held: bool
    seen: str


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Outcomes of the requests from the fault until steady success, or until the end."""

    total: int
    failed: int
    refused: int
    """Of those that failed: rejected with 429 or 503, or the connection was refused."""
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
    """The share of the 30-day error budget that the drill used."""

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
