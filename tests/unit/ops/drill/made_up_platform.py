"""A simulated platform to drill, on a clock that only `sleep` moves forward."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.faults import InjectedFault
from healthcare_dr.ops.drill.journal import Missing, Observation, Reading, Sample, Write
from healthcare_dr.ops.drill.load.calibration import Calibration, from_served
from healthcare_dr.ops.drill.load.ledger import OnAnswer, Unfinished
from healthcare_dr.ops.drill.progress import ProgressView
from healthcare_dr.ops.drill.run import Drill

EAST, WEST = "us-east-1", "us-west-2"
RATE = 4
BREAKING = ("refused", "blackhole", "drained")


@dataclass
class Platform:
    """Twenty seconds after the primary breaks, DNS leaves it; five after it heals, DNS is back."""

    now: float = 0.0
    detects: float = 20.0
    loses: bool = True
    """Whether requests to a broken region fail."""
    caches: bool = False
    """Whether clients keep the first DNS answer for ever."""
    broken: dict[str, tuple[InjectedFault, float]] = field(default_factory=dict)
    healed_at: float = -100.0
    samples: list[Sample] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    at: dict[float, Callable[[], None]] = field(default_factory=dict)
    lost_writes: set[int] = field(default_factory=set)
    arrive_after: float = 0.0
    running: int = 0
    hangs_since: float = 0.0
    hangs_until: float = 0.0
    finished: bool = False
    fails: float | None = None
    """When the clients cannot go on."""
    late: float = 0.0
    """How long the embedded AWS takes to answer a trivial request."""
    acknowledges: bool = True
    """Whether the primary region has acknowledged enough writes before the fault."""
    queue: "Queue | None" = None
    """What replication has delivered; None as on AWS."""
    calibrates_for: float = 0.0
    checks: dict[str, bool] = field(default_factory=dict)
    """Further health checks."""

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for due in [due for due in self.at if due <= self.now]:
            self.at.pop(due)()
        left = self._left()
        region = WEST if left and not self.caches else EAST
        failing = self.loses and any(
            entry.fault in BREAKING and (entry.region == region) for entry, _ in self.broken.values()
        )
        self.samples.append(
            Sample(
                at=self.now,
                seconds=0.01,
                kind="read",
                client=len(self.samples) % RATE,
                region=region,
                status=None if failing else 200,
                error="ConnectError" if failing else None,
                attempts=1,
            )
        )
        self.seen.append(
            Observation(
                at=self.now,
                checks={f"health {EAST}": not left, f"health {WEST}": True, **self.checks},
                dns={WEST: 8} if left else {EAST: 5, WEST: 3},
                lag={EAST: 0.5, WEST: 0.5},
            )
        )

    def _left(self) -> bool:
        since = [at for entry, at in self.broken.values() if entry.fault in BREAKING and entry.region == EAST]
        return (bool(since) and self.now >= min(since) + self.detects) or self.now < self.healed_at + 5

    # What the runner starts and stops.
    def start(self) -> None:
        self.running += 1

    def stop(self) -> None:
        self.running -= 1

    # The ledger.
    def writes(self) -> tuple[Write, ...]:
        count = 30 if self.acknowledges else 3
        return tuple(Write(number=n, kind="patient", id=f"p{n}", at=0.5, region=EAST) for n in range(count))

    def awaited(self) -> frozenset[str]:
        return frozenset()

    def missing(
        self,
        region: str,
        *,
        at: float,
        fault_at: float,
        numbers: Collection[int] | None = None,
        own: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Missing:
        assert own == self.finished, "a survivor is asked for its own writes only when nobody sends any more"
        if region == WEST and self.now >= self.healed_at + self.arrive_after > 0:
            self.lost_writes = {number for number in self.lost_writes if number < 0}
        numbers = tuple(sorted(self.lost_writes)) if region == WEST else ()
        return Missing(at=at, region=region, looked_for=9, numbers=numbers, seconds=1.5 if numbers else 0.0)

    def unfinished(
        self, region: str, *, numbers: Collection[int] | None = None, on_answer: OnAnswer | None = None
    ) -> Unfinished:
        return Unfinished(numbers=())

    # The faults.
    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        region = EAST if step.region == "primary" else None
        entry = InjectedFault(fault=step.fault, region=region)
        self.broken[str(entry)] = (entry, self.now)
        return (entry,)

    def undo(self, entries: tuple[InjectedFault, ...]) -> None:
        for entry in entries:
            _, since = self.broken[str(entry)]
            if entry.fault in BREAKING and self.now >= since + self.detects:
                self.healed_at = self.now
            del self.broken[str(entry)]

    def undo_all(self) -> tuple[str, ...]:
        left = [entry for entry, _ in self.broken.values()]
        self.undo(tuple(left))
        return tuple(map(str, left))

    def left(self) -> tuple[str, ...]:
        return tuple(self.broken)


class Queue:
    """A replication queue that has delivered everything, but for what the test says."""

    def __init__(self, platform: Platform, *, delivered: Callable[[float], float] = lambda now: now) -> None:
        self._platform, self._delivered = platform, delivered

    def delivered_until(self) -> float:
        return self._delivered(self._platform.now)

    def pending(self) -> int | None:
        return 0 if self.delivered_until() >= self._platform.now else 7

    def held_back(self) -> bool:
        return any(entry.fault.startswith("replication") for entry, _ in self._platform.broken.values())


class Monitor:
    """Readings of an otherwise idle machine, one a second."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def readings(self) -> tuple[Reading, ...]:
        late = self._platform.late
        return tuple(
            Reading(at=float(at), send_seconds=0.01, services_seconds=late) for at in range(int(self._platform.now))
        )


class Instruments:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def observations(self) -> tuple[Observation, ...]:
        return tuple(self._platform.seen)


class Prober(Instruments):
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self._platform.samples)

    def calibration(self) -> Calibration | None:
        return from_served(30.0) if self._platform.now >= self._platform.calibrates_for else None

    def finish(self) -> None:
        self._platform.finished = True
        self._platform.now = max(self._platform.now, self._platform.hangs_until)

    def check(self) -> None:
        if self._platform.fails is not None and self._platform.now >= self._platform.fails:
            raise DeploymentError("the API answered with a patient that has no version; is it the platform's?")

    def keep_records(self) -> None:
        """It reads no records."""

    def waiting_since(self) -> float | None:
        return self._platform.hangs_since if self._platform.now < self._platform.hangs_until else None


@dataclass(frozen=True)
class Merged:
    found: int = 0
    settled: int = 0
    left: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


class Merging:
    def run(self) -> Merged:
        return Merged()


class Progress:
    """Remembers what was told."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def say(self, text: str) -> None:
        self.told.append(text)

    def begin(self, stack: str, phase: str) -> None:
        self.told.append(f"begin {phase}")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        self.told.append(f"{done}/{total} {current}")

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None: ...

    def end(self, stack: str, result: str) -> None:
        self.told.append(f"end {result}")


def experiment(**changed: Any) -> Experiment:
    given: dict[str, Any] = {
        "title": "t",
        "description": "d",
        "expect": "failover",
        "method": [{"fault": "refused", "region": "primary"}],
    }
    return Experiment.model_validate(given | changed)


def drill(platform: Platform, played: Experiment, *, time_scale: float = 1.0) -> Drill:
    return Drill(
        experiment=played,
        label="embedded",
        regions=(EAST, WEST),
        time_scale=time_scale,
        floor_seconds=40.0,
        ttl_seconds=10.0,
        settings={},
        prober=Prober(platform),
        ledger=platform,
        instruments=Instruments(platform),
        faults=platform,
        monitor=Monitor(platform),
        merging=Merging(),
        delivery=platform.queue,
        clock=platform.clock,
        sleep=platform.sleep,
        view=ProgressView(progress=Progress(platform.told)),
    )
