"""What a drill sees, on one clock: seconds since its beginning."""

from dataclasses import dataclass, field
from typing import Literal

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
        """Whether the client got what it asked for."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the last attempt found nobody who listens, or was turned away: 429, 503."""
        return self.error == "ConnectError" or self.status in (429, 503)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What instruments showed at one moment."""

    at: float
    checks: dict[str, bool]
    """By the name of each health check (`endpoint us-east-1`, `health us-east-1`): whether it is healthy."""
    dns: dict[str, int]
    """By region: how many of this moment's uncached DNS answers named it; empty when there was no answer."""
    lag: dict[str, float]
    """By receiving region: how many seconds its peer's acknowledged writes need to become readable; while none does,
    the age of the oldest one that is waited for. Absent while nothing is known."""


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
    """Acknowledged writes that could not be read somewhere, at one moment."""

    at: float
    region: str
    """Where they were looked for."""
    looked_for: int
    numbers: tuple[int, ...]
    """Those that were missing, by their number in the ledger."""
    seconds: float
    """How far back the oldest of them reaches before the fault: the recovery point; 0 when none is missing."""


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
    kept: bool
    binding: bool = True
    """False for an aim: it is shown, but does not decide the verdict."""
