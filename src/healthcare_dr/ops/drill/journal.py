"""The journal of a drill: its events, observations and verdict.

All times are seconds since the drill began. The fields are those of `journal.json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["read", "write", "document", "update"]
Written = Literal["patient", "document", "update"]
OperationKind = Literal["create", "read", "append"]
"""What a client asks for; an append is an update."""
Check = Literal["register", "append", "session"]
"""A check of histories; see `consistency`."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request of a client, its retries included. An update and a document consist of several exchanges.

    `at` is when it was due, not when it was sent: the time that a client waits for an earlier response counts too.
    """

    at: float
    seconds: float
    longest_wait: float
    """The longest time that the client waited for one response, in seconds, plus the time from `at` until it sent."""
    kind: Kind
    client: int
    region: str | None
    """The region of the last attempt; None when no address was found."""
    status: int | None
    """The HTTP status of the last response; None without one."""
    error: str | None
    """The type of the last transport error; None when there was a response."""
    attempts: int

    @property
    def succeeded(self) -> bool:
        """Return whether the request succeeded."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Return whether the last attempt was rejected: connection refused, 429 or 503."""
        return self.error == "ConnectError" or self.status in (429, 503)

    def described(self, since: float) -> str:
        """Return in a few words what became of the request; `since` is the time from which its seconds count."""
        ended = f"response after {self.longest_wait:.1f} s" if self.succeeded else f"{self.error or self.status}"
        attempts = "" if self.attempts == 1 else f", {self.attempts} attempts"
        return f"{self.kind} at {self.at - since:.1f} s: {ended} from {self.region or 'no region'}{attempts}"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The monitors' readings at one time."""

    at: float
    checks: dict[str, bool]
    """Whether each health check is healthy, by its name, such as `endpoint us-east-1` or `health us-east-1`."""
    dns: dict[str, int]
    """How many of the uncached DNS answers named each region; empty when there was no answer."""
    lag: dict[str, float]
    """By receiving region, how many seconds the acknowledged writes of its peer need to become readable, or the age of
    the oldest one that has not arrived. Absent while it is unknown."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The lateness of the drill's own clients and of the machine since the previous reading; once a second."""

    at: float
    send_seconds: float | None = None
    """The longest time from when a request was due until its client started it; None when none was due."""
    loop_seconds: float | None = None
    """The worst lateness of the event loop of the drill's clients; None while it does not run."""
    services_seconds: float | None = None
    """The longest latency of a trivial request to the services of the embedded AWS, or the time that it has been
    waiting; None when nothing was probed or nothing listens."""
    edge_seconds: float | None = None
    """The same of the token issuer, which runs in the process of the edge proxies, and which no fault affects."""
    busy_percent: float | None = None
    """Processor time in use, of all processors; None where the machine does not report it."""
    stolen_percent: float | None = None
    """Processor time that the hypervisor gave to other machines; None where the machine does not report it."""
    load: float | None = None
    """The number of processes that run or wait for a processor, averaged over a minute."""


@dataclass(frozen=True, kw_only=True)
class InstrumentHealth:
    """Whether the machine was fast enough for the measurement, from the readings since the calibration."""

    sufficient: bool
    """False when an outcome other than passed shows nothing about the platform."""
    readings: int
    """The number of readings that were judged."""
    late: int
    """The number of readings beyond a threshold."""
    worst: dict[str, float]
    """The highest value of each instrument, by the name of its field."""
    reason: str
    """In one line, what was late, how often and by how much; empty when sufficient."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event."""

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
    """The id of the resource; for an update, that of the patient."""
    at: float
    """When it was acknowledged."""
    region: str
    version: str | None = None
    """The version that an update created; None for a created resource."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One attempt of a client to create, read or append to a patient: its invocation and its response.

    The list of a patient consists of the values of its extension `urn:healthcare-dr:drill-update`, each appended by one
    update.
    """

    client: int
    """The number of the client, from 0; negative in the calibration."""
    region: str | None
    """The region to which it was sent; None when no address was found."""
    record: str
    """The id of the patient."""
    kind: OperationKind
    """What the client asked for; an append is an update."""
    began: float
    """When the client sent it, before it resolved the name, in seconds on the drill's clock."""
    ended: float
    """When the response arrived, or when the client gave up, in seconds on the drill's clock."""
    named: str | None = None
    """The version that the client named: in `If-Match` of an append, in `Minimum-Version` of a read."""
    value: str | None = None
    """The value that was appended, which no other update appends."""
    status: int | None = None
    """The HTTP status; None without a response."""
    version: str | None = None
    """The version that was returned; None unless the operation succeeded."""
    values: tuple[str, ...] = ()
    """The list in the response."""

    @property
    def done(self) -> bool:
        """Return whether the operation took effect."""
        return self.version is not None

    @property
    def refused(self) -> bool:
        """Return whether the operation certainly had no effect: a response that names an error of the client."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 408

    @property
    def indeterminate(self) -> bool:
        """Return whether the operation may have had an effect: no response, or a server error."""
        return not self.done and not self.refused


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """A property that a history contradicts, and the fewest operations that show it."""

    check: Check
    """The check that found it."""
    name: str
    """The name of the anomaly, such as `lost update`; see *Histories*."""
    record: str
    """The id of the patient."""
    region: str | None
    """The region, for an anomaly of one region."""
    explanation: str
    """In one line, what contradicts what."""
    operations: tuple[Operation, ...]
    """The operations that show it, in the order of their beginning."""


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """The result of checking the history of a drill."""

    operations: int
    """The number of recorded operations."""
    indeterminate: int
    """The number of those that may have had an effect."""
    records: int
    """The number of patients of which a read or an update shows a version that can be compared."""
    appends: int
    """The number of acknowledged appends."""
    session_reads: int
    """The number of reads that named a version in `Minimum-Version` and returned one."""
    found: dict[str, int]
    """The number of anomalies by check: `register`, `append`, `session`."""
    anomalies: tuple[Anomaly, ...]
    """The first anomalies of each name and check."""
    unanswered: tuple[str, ...] = ()
    """The ids of the patients whose versions a region did not show, because it was busy."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """The acknowledged writes that one region lacked at one time."""

    at: float
    region: str
    """The region that was checked."""
    looked_for: int
    numbers: tuple[int, ...]
    """The numbers in the ledger of the writes that the region reported as absent."""
    seconds: float
    """The age of the oldest of them at the fault: the recovery point; 0 when none is missing."""
    unanswered: tuple[int, ...] = ()
    """The writes whose state is unknown, because the region was busy."""
    undelivered: tuple[int, ...] = ()
    """Those in `numbers` that replication had not delivered, because it had stalled."""


@dataclass(frozen=True, kw_only=True)
class Milestones:
    """The milestones from the fault to recovery; None for those that were not reached."""

    fault: float
    first_failure: float | None = None
    checks: dict[str, float] = field(default_factory=dict)
    """When each health check changed its status for the first time after the fault."""
    dns_changed: float | None = None
    """When DNS answers stopped naming a lost region."""
    first_success: float | None = None
    """When a client whose request had failed succeeded again."""
    steady_success: float | None = None
    """From this time on, every request of a whole window succeeded, each response within the timeout of a client."""
    last_failures: tuple[str, ...] = ()
    """The last requests that failed, at most three, each described in a few words: they explain a late recovery."""

    @property
    def rto_seconds(self) -> float | None:
        """The seconds from the fault to steady success, as clients see it; 0 when no request failed."""
        return None if self.steady_success is None else max(0.0, self.steady_success - self.fault)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One line of the verdict: a promise, the measured value, and whether the promise was kept."""

    name: str
    limit: str
    measured: str
    kept: bool | None
    """None when it was not judged, because the measurement does not show it."""
    binding: bool = True
    """False for an aim, which is shown but does not decide the outcome."""


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
    """Records that clients changed in both regions concurrently. Both versions are kept until a client merges them."""

    found: int
    merged: int
    """The number that the drill merged, as a client does."""
    left: int
    """The number that is still open."""
    unanswered: int = 0
    """The number of records whose state is unknown, because the region was busy."""


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """The share of the 30-day error budget that the drill used."""

    availability_percent: float
    budget_seconds: float
    spent_seconds: float
    """The seconds since the fault, each weighted by its share of failed requests, in real time."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """One drill. All times are seconds since `started`."""

    schema: int = SCHEMA
    label: Literal["embedded", "aws"]
    outcome: Outcome
    reason: str
    """In one line, the reason of the outcome."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    experiment: dict[str, Any]
    """The experiment, including defaults."""
    settings: dict[str, Any]
    """The settings that determine the times: regions, weights, ttl_seconds, health_check_interval_seconds,
    failure_threshold, time_scale, checker_regions, replication_lag_seconds, and the load (rate, its reason, what
    this machine served in the calibration, clients, timeouts, retries, ignore_ttl)."""
    regions: tuple[str, str]
    lost: tuple[str, ...]
    """The regions that the method takes away."""
    floor_seconds: float
    """The shortest failover that the settings allow: threshold x interval + TTL, at the drill's time scale."""
    events: tuple[Event, ...]
    samples: tuple[Sample, ...]
    observations: tuple[Observation, ...]
    writes: tuple[Write, ...]
    readings: tuple[Reading, ...] = ()
    """The lateness of the drill itself and of the machine, once a second."""
    instrument_health: InstrumentHealth | None = None
    """Whether the readings make the outcome reliable; null when the drill ended before it was judged."""
    steady_state: dict[str, tuple[Condition, ...]] = field(default_factory=dict)
    """`before` and `after`."""
    milestones: Milestones | None = None
    healed: float | None = None
    """When healing began: from then on no fault took a region away, and service that returns is no failover."""
    requests: Requests | None = None
    missing: tuple[Missing, ...] = ()
    """The missing writes at steady success, and after healing."""
    unfinished: tuple[int, ...] = ()
    """The numbers of the documents that were not final in both regions after healing."""
    conflicts: Conflicts | None = None
    """The conflicts that were found after healing."""
    consistency: Consistency | None = None
    """The result of checking the histories; null when the drill ended before."""
    error_budget: ErrorBudget | None = None
    promises: tuple[Promise, ...] = ()
    rolled_back: tuple[str, ...] = ()
    """The faults that were undone."""

    def document(self) -> dict[str, Any]:
        """Return the journal as JSON values."""
        document = asdict(self)
        if self.milestones is not None:
            document["milestones"]["rto_seconds"] = self.milestones.rto_seconds
        return document

    def write(self, folder: Path) -> Path:
        """Write `journal.json` into `folder`, and return its path."""
        path = folder / "journal.json"
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        return path
