"""One run of a seed: a plan of steps and faults, the run itself, and its checks.

The plan derives from the seed alone. So does everything that happens, given the plan: steps, containers and services
have dice of their own, so that leaving out a step changes little else. This makes a failing plan small.
"""

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from random import Random
from typing import Any, TypeVar

from patient_api.contract.keys import DOCUMENT, VERSION_PREFIX
from patient_api.store.model import RecordKey, head_sk
from simulation.checks import Checks
from simulation.clients import Client, Ledger, Operation, Violation
from simulation.platform import EAST, REGIONS, Platform
from simulation.scheduler import dice_of
from unit.patient_api.fakes.s3 import sha256

TENANTS = ("north-clinic", "south-clinic")
STEPS = {
    "create": 3, "create once": 3, "create unless it exists": 3, "update": 8, "patch": 6, "delete": 1, "merge": 4,
    "patch by criteria": 1, "read": 6, "history": 1, "search": 1, "drain flag": 1, "document": 4,
}  # fmt: skip
FAULTS = {
    "lose": 2, "pause records": 4, "pause objects": 3, "slow records": 3, "slow objects": 2, "crash": 4, "skew": 3,
    "throttle": 2, "no key": 1, "lost responses": 4, "contention": 2, "drain": 2, "lost events": 1, "wrong clock": 1,
}  # fmt: skip
SETTLE_SECONDS = 150.0
SWEEP_SECONDS = 70.0
LONGEST_SETTLE = 1200.0
CHECK_MINUTES = 20
"""As many minutes after its announcement, a document whose event was lost has been confirmed."""
K = TypeVar("K")
SHA256 = "urn:healthcare-dr:sha256"
"""The extension of an attachment with the hash of its bytes."""
PART = 16
"""The size of a part of an upload in a run, so that documents of a few bytes are uploaded in parts."""
YEAR = 365 * 86400.0
MOST_AHEAD_MS = 15_000
"""By how much a new version may be ahead of the time: the bound on clocks, and the duration of the slowest request."""


@dataclass(frozen=True)
class Fault:
    """A fault, from a time on and for some seconds. `amount` is its strength, where it has one."""

    number: int
    at: float
    kind: str
    region: str
    seconds: float
    amount: float = 0.0

    def __str__(self) -> str:
        what = f"{self.kind}, {self.region}, {self.seconds:.1f} s, {self.amount:.3g}"
        return f"fault {self.number} at {self.at:.1f} s: {what}"


@dataclass(frozen=True)
class Plan:
    """What a run of a seed contains."""

    seed: int
    clients: int
    tenants: int
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """Return the plan of a seed."""
        dice = dice_of(f"{seed}/plan")
        clients = dice.randint(2, 4)
        at, operations = 0.0, []
        pace = dice.choice([0.1, 0.5, 2.0])
        for number in range(dice.randint(30, 70)):
            kinds = dict(STEPS) if number > 3 else {"create": 1, "create once": 1, "create unless it exists": 1}
            kind = dice.choices(list(kinds), list(kinds.values()))[0]
            at += dice.expovariate(1 / pace)
            operations.append(Operation(number, dice.randrange(clients), at, kind))
        faults = []
        for number in range(dice.choice([0, 1, 1, 2, 2, 3, 4])):
            kind = dice.choices(list(FAULTS), list(FAULTS.values()))[0]
            seconds = dice.choice([dice.uniform(0.5, 5), dice.uniform(5, 60)])
            faults.append(Fault(number, dice.uniform(0, at), kind, dice.choice(REGIONS), seconds, _amount(kind, dice)))
        return cls(seed, clients, dice.choice([1, 1, 2]), tuple(operations), tuple(faults))

    def __len__(self) -> int:
        return len(self.operations) + len(self.faults)


def _amount(kind: str, dice: Random) -> float:
    match kind:
        case "skew":
            return dice.choice([-1, 1]) * dice.choice([0.5, 20.0, 50.0])
        case "wrong clock":
            return dice.choice([120.0, 3600.0, YEAR])
        case "slow records":
            return dice.uniform(5, 40)
        case "slow objects":
            return dice.uniform(3, 10)
        case "crash":
            return dice.choice([0.005, 0.03])
        case "throttle":
            return dice.uniform(0.1, 0.9)
        case "lost responses":
            return dice.uniform(0.02, 0.3)
        case "contention":
            return dice.uniform(0.05, 0.5)
    return 0.0


@dataclass(frozen=True)
class Outcome:
    """The result of a run. `digest` identifies everything that happened."""

    plan: Plan
    violations: tuple[Violation, ...]
    digest: str
    events: int
    trace: str = ""


def run(plan: Plan, *, traced: bool = False) -> Outcome:
    """Run a plan."""
    with deterministic(plan.seed):
        simulation = Simulation(plan)
        try:
            violations = tuple(simulation.run())
            trace = simulation.platform.trace
            return Outcome(plan, violations, trace.digest(), len(trace.lines), trace.text() if traced else "")
        finally:
            simulation.platform.close()


def shortened(outcome: Outcome) -> Outcome:
    """Return the outcome of the smallest plan found that fails in the same way (delta debugging).

    Steps and faults are left out in ever smaller groups, as long as one of the checks that failed still fails.
    """
    checks = {one.check for one in outcome.violations}
    parts: list[Operation | Fault] = [*outcome.plan.faults, *outcome.plan.operations]
    size = len(parts) // 2
    while size:
        first = 0
        while first < len(parts):
            kept = parts[:first] + parts[first + size :]
            plan = replace(
                outcome.plan,
                operations=tuple(part for part in kept if isinstance(part, Operation)),
                faults=tuple(part for part in kept if isinstance(part, Fault)),
            )
            tried = run(plan)
            if checks & {one.check for one in tried.violations}:
                parts, outcome = kept, tried
            else:
                first += size
        size //= 2
    return outcome


class Simulation:
    """A run in progress."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.platform = Platform(str(plan.seed))
        self.ledger = Ledger()
        self.platform.changed = self._changed
        self.drained: dict[str, float] = {}
        self.clients = [
            Client(
                self.platform, self.ledger, tenant=TENANTS[number % plan.tenants], number=number, drained=self.drained
            )
            for number in range(plan.clients)
        ]

    def run(self) -> list[Violation]:
        """Run all steps, let everything heal and settle, and return what did not hold."""
        scheduler = self.platform.scheduler
        for number, client in enumerate(self.clients):
            steps = [operation for operation in self.plan.operations if operation.client == number]
            scheduler.spawn(client.name, partial(self._perform, client, steps))
        for fault in self.plan.faults:
            scheduler.at(fault.at, partial(self._begin, fault))
        while self.ledger.ended < len(self.plan.operations):
            scheduler.run(10.0)
        last = max((fault.at + fault.seconds for fault in self.plan.faults), default=0.0)
        scheduler.run(max(0.0, last - scheduler.seconds) + 1.0)
        self.platform.restore()
        self.settle()
        return Checks(self.platform, self.ledger).run()

    def settle(self) -> None:
        """Run until replication, streams and documents have nothing left to do."""
        scheduler = self.platform.scheduler
        end = scheduler.seconds + LONGEST_SETTLE
        # After the last change, documents wait for the next sweep; meanwhile heartbeats replicate.
        for seconds in (SETTLE_SECONDS, SWEEP_SECONDS):
            scheduler.run(seconds)
            while not self.platform.quiet():
                if scheduler.seconds > end:
                    self.ledger.violated("everything settles", "replication, streams or functions are still busy")
                    return
                scheduler.run(1.0)

        for _ in range(CHECK_MINUTES):
            if not any(self._waiting(upload.key) for upload in (*self.ledger.uploads, *self.ledger.rejected)):
                return
            scheduler.run(60.0)

    def _waiting(self, key: RecordKey) -> bool:
        head = self.platform.tables[EAST].records.get((key.partition, head_sk(EAST)), {})
        return '"preliminary"' in head.get("resource", {"S": ""})["S"]

    def _changed(self, region: str, change: Mapping[str, Any]) -> None:
        """Check a version when it is written: its stamp, and the bytes of a document that becomes final."""
        key, image = change["dynamodb"]["Keys"], change["dynamodb"].get("NewImage", {})
        pk, sk = key["pk"]["S"], key["sk"]["S"]
        if not sk.startswith(VERSION_PREFIX) or not sk.endswith(region):
            return
        self._stamped(region, f"{pk} {sk}", image)
        if f"#{DOCUMENT}#" not in pk:
            return
        resource = json.loads(image["resource"]["S"])
        if resource["docStatus"] != "final":
            return
        (declared,) = [
            extension["valueBase64Binary"]
            for extension in resource["content"][0]["attachment"]["extension"]
            if extension["url"] == SHA256
        ]
        tenant, _, id = pk.split("#")
        for place in REGIONS:
            objects = self.platform.buckets[place].objects.get(f"documents/{tenant}/{id}", ())
            if declared not in (sha256(stored.content) for stored in objects):
                self.ledger.violated("both regions hold a final document", f"{pk} {sk}: its bytes are not in {place}")

    def _stamped(self, region: str, what: str, image: Mapping[str, Any]) -> None:
        """Check that the stamp of a new version is the time, unless the version follows one from the future."""
        now_ms = self.platform.wall(region) * 1000
        follows = [image[name]["S"] for name in ("replaces",) if name in image]
        follows += [member["S"] for member in image.get("merges", {"L": []})["L"]]
        millis = {stamp: int(stamp.partition("-")[0]) for stamp in (image["version"]["S"], *follows)}
        stamp = millis.pop(image["version"]["S"])
        if stamp - now_ms > MOST_AHEAD_MS and stamp > max(millis.values(), default=0) + 1:
            self.ledger.violated("no version is stamped by a wrong clock", f"{what}: {stamp - now_ms:.0f} ms")

    def _perform(self, client: Client, steps: Sequence[Operation]) -> None:
        scheduler = self.platform.scheduler
        for operation in steps:
            if operation.at > scheduler.seconds:
                scheduler.sleep(operation.at - scheduler.seconds)
            client.perform(operation)

    def _begin(self, fault: Fault) -> None:
        self.platform.trace("faults", fault)
        self._switch(fault, on=True)
        self.platform.scheduler.at(fault.seconds, lambda: self._end(fault))

    def _end(self, fault: Fault) -> None:
        self.platform.trace("faults", f"end of fault {fault.number}")
        self._switch(fault, on=False)
        self.platform.released()

    def _switch(self, fault: Fault, *, on: bool) -> None:
        """Begin or end a fault."""
        faults, region = self.platform.faults, fault.region
        what, _, subject = fault.kind.partition(" ")
        match what:
            case "lose" if on and not faults.lost:
                self.platform.lose(region)
            case "lose":
                faults.lost -= set() if on else {region}
            case "pause":
                _set(faults.paused, (subject, region), on=on)
            case "slow":
                _assign(faults.slow, (subject, region), fault.amount, on=on)
            case "crash":
                _assign(faults.crashing, region, fault.amount, on=on)
            case "skew" | "wrong":
                _assign(faults.skews, region, fault.amount, on=on)
            case "throttle":
                _assign(faults.throttled, region, fault.amount, on=on)
            case "no":
                _set(faults.no_key, region, on=on)
            case "lost" if subject == "events":
                _set(faults.lost_events, region, on=on)
            case "lost":
                faults.lost_responses = fault.amount if on else 0.0
            case "contention":
                faults.contention = fault.amount if on else 0.0
            case "drain":
                self._drain(region, drained=on)
            case _:
                raise ValueError(fault.kind)

    def _drain(self, region: str, *, drained: bool) -> None:
        self.drained.pop(region, None)
        if drained:
            self.drained[region] = self.platform.scheduler.seconds
        self.platform.drain(region, drained=drained)


def _set(members: set[K], member: K, *, on: bool) -> None:
    if on:
        members.add(member)
    else:
        members.discard(member)


def _assign(amounts: dict[K, float], key: K, amount: float, *, on: bool) -> None:
    if on:
        amounts[key] = amount
    else:
        amounts.pop(key, None)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed the dice of the standard library, which spread retries, and let parts of uploads be short."""
    before = random.getstate()
    random.seed(seed)
    try:
        with limit("PART_SIZE", PART):
            yield
    finally:
        random.setstate(before)


@contextmanager
def limit(name: str, value: int) -> Iterator[None]:
    """Change a constant in all modules of documents that have it, so that a run reaches the limit with little data."""
    modules = [module for path, module in sorted(sys.modules.items()) if path.startswith("patient_api.documents")]
    before = {module: getattr(module, name) for module in modules if hasattr(module, name)}
    for module in before:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, old in before.items():
            setattr(module, name, old)


@dataclass
class Summary:
    """The results of many runs."""

    runs: int = 0
    calls: int = 0
    seconds: float = 0.0
    failed: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        speed = f"{self.calls / self.seconds:,.0f} events per second" if self.seconds else "no events"
        return f"simulation: {self.runs} seeds in {self.seconds:.0f} s, {speed}"


def run_many(seeds: Iterable[int], *, at_least: int = 0, seconds: float = inf, most_failures: int = 3) -> Summary:
    """Run seeds one after the other: at least so many, and further ones until the time has passed."""
    summary, started = Summary(), time.perf_counter()
    for seed in seeds:
        if summary.runs >= at_least and time.perf_counter() - started > seconds:
            break
        outcome = run(Plan.of(seed))
        summary.runs += 1
        summary.calls += outcome.events
        if outcome.violations:
            summary.failed.append(outcome)
            if len(summary.failed) == most_failures:
                break
    summary.seconds = time.perf_counter() - started
    return summary
