"""Fakes of drills: a simulated platform, two HTTPS servers as regions, control planes, and FIS."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.conflict_resolver import ResolvedConflicts
from healthcare_dr.ops.drill.consistency import Lineage
from healthcare_dr.ops.drill.experiment import Experiment, Step
from healthcare_dr.ops.drill.faults import InjectedFault
from healthcare_dr.ops.drill.journal import Missing, Observation, Operation, Reading, Sample, Write
from healthcare_dr.ops.drill.load.client import with_appended
from healthcare_dr.ops.drill.load.generator import Calibration, LoadGenerator, from_served
from healthcare_dr.ops.drill.load.history import OperationHistory
from healthcare_dr.ops.drill.load.ledger import Ledger, Unfinished
from healthcare_dr.ops.drill.load.resolver import Answer
from healthcare_dr.ops.drill.progress import ProgressView
from healthcare_dr.ops.drill.recovery_checks import RecoveryChecks
from healthcare_dr.ops.drill.run import Drill
from patient_api.contract.headers import NOT_YET_HERE

EAST, WEST = "us-east-1", "us-west-2"
NAMES = Names("it")
RATE = 4
REGION_FAULTS = ("refused", "blackhole", "drained")


FIRST, SECOND = f"0000000000001-0000-{EAST}", f"0000000000002-0000-{EAST}"
OPERATIONS: list[dict[str, Any]] = [
    {"kind": "create", "began": 0.0, "status": 201, "version": FIRST},
    {"kind": "append", "began": 1.0, "status": 200, "version": SECOND, "named": FIRST, "value": "a", "values": ("a",)},
    {"kind": "read", "began": 2.0, "status": 200, "version": SECOND, "named": SECOND, "values": ("a",)},
]
"""Operations of one client on one patient in the primary region."""


@dataclass
class Platform:
    """A simulated platform, and every part of a drill that observes or breaks it. Only `sleep` advances its clock.

    DNS leaves the primary region 20 seconds after a fault of it, and returns 5 seconds after the fault is undone.
    """

    now: float = 0.0
    detects: float = 20.0
    loses: bool = True
    """Whether requests to a broken region fail."""
    caches: bool = False
    """Whether clients keep the first DNS answer forever."""
    broken: dict[str, tuple[InjectedFault, float]] = field(default_factory=dict)
    healed_at: float = -100.0
    sent: list[Sample] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    at: dict[float, Callable[[], None]] = field(default_factory=dict)
    """Functions that `sleep` calls at a time."""
    lost_writes: set[int] = field(default_factory=set)
    """Writes that the secondary region lacks. Negative numbers never arrive."""
    arrive_after: float = 0.0
    """Seconds from the end of a fault until lost writes arrive."""
    running: int = 0
    hangs_since: float = 0.0
    hangs_until: float = 0.0
    finished: bool = False
    fails: float | None = None
    """When the load generator fails."""
    late: float = 0.0
    """How long the embedded AWS takes to answer a trivial request."""
    acknowledges: bool = True
    """Whether the primary region has acknowledged enough writes before the fault."""
    queue: "Queue | None" = None
    """None as on AWS."""
    calibrates_for: float = 0.0
    checks: dict[str, bool] = field(default_factory=dict)
    """Further health checks."""
    operations: list[dict[str, Any]] = field(default_factory=lambda: list(OPERATIONS))
    """What the clients recorded of the patient p1."""

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for due in [due for due in self.at if due <= self.now]:
            self.at.pop(due)()
        left = self._left()
        region = WEST if left and not self.caches else EAST
        failing = self.loses and any(
            entry.fault in REGION_FAULTS and entry.region == region for entry, _ in self.broken.values()
        )
        self.sent.append(
            Sample(
                at=self.now,
                seconds=0.01,
                longest_wait=0.01,
                kind="read",
                client=len(self.sent) % RATE,
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
        since = [at for entry, at in self.broken.values() if entry.fault in REGION_FAULTS and entry.region == EAST]
        return (bool(since) and self.now >= min(since) + self.detects) or self.now < self.healed_at + 5

    def start(self) -> None:
        self.running += 1

    def stop(self) -> None:
        self.running -= 1

    # The load generator.
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self.sent)

    def calibration(self) -> Calibration | None:
        return from_served(30.0) if self.now >= self.calibrates_for else None

    def finish(self) -> None:
        self.finished = True
        self.now = max(self.now, self.hangs_until)

    def check(self) -> None:
        if self.fails is not None and self.now >= self.fails:
            raise DeploymentError("the API answered with a patient that has no version; is it the platform's?")

    def keep_records(self) -> None:
        """Nothing to do: no request reads a record."""

    def history(self) -> OperationHistory:
        ends = count(0.5)
        made = OperationHistory(lambda: next(ends))
        for fields in self.operations:
            made.add(Operation(**{"client": 0, "region": EAST, "record": "p1", "ended": made.clock(), **fields}))
        return made

    def lineages(self, ids: Collection[str]) -> dict[str, dict[str, Lineage | None]]:
        """Return the versions of patients, as the history reader does."""
        lineage = Lineage({FIRST: (), SECOND: (FIRST,)}, {FIRST: (), SECOND: ("a",)})
        return {region: dict.fromkeys(ids, lineage) for region in (EAST, WEST)}

    def waiting_since(self) -> float | None:
        return self.hangs_since if self.now < self.hangs_until else None

    # The monitors and the self-monitor.
    def observations(self) -> tuple[Observation, ...]:
        return tuple(self.seen)

    def readings(self) -> tuple[Reading, ...]:
        return tuple(
            Reading(at=float(at), send_seconds=0.01, services_seconds=self.late) for at in range(int(self.now))
        )

    # The ledger.
    def writes(self) -> tuple[Write, ...]:
        count = 30 if self.acknowledges else 3
        return tuple(Write(number=n, kind="patient", id=f"p{n}", at=0.5, region=EAST) for n in range(count))

    def awaited(self) -> frozenset[str]:
        return frozenset()

    def missing(self, region: str, *, at: float, own: bool = False, **_: Any) -> Missing:
        assert own == self.finished, "the region's own writes are looked up only when no client sends any more"
        if region == WEST and self.now >= self.healed_at + self.arrive_after > 0:
            self.lost_writes = {number for number in self.lost_writes if number < 0}
        numbers = tuple(sorted(self.lost_writes)) if region == WEST else ()
        return Missing(at=at, region=region, looked_for=9, numbers=numbers, seconds=1.5 if numbers else 0.0)

    def unfinished(self, region: str, **_: Any) -> Unfinished:
        return Unfinished(numbers=())

    # The fault journal.
    def apply(self, step: Step) -> tuple[InjectedFault, ...]:
        entry = InjectedFault(fault=step.fault, region=EAST if step.region == "primary" else None)
        self.broken[str(entry)] = (entry, self.now)
        return (entry,)

    def undo(self, entries: tuple[InjectedFault, ...]) -> None:
        for entry in entries:
            _, since = self.broken[str(entry)]
            if entry.fault in REGION_FAULTS and self.now >= since + self.detects:
                self.healed_at = self.now
            del self.broken[str(entry)]

    def undo_all(self) -> tuple[str, ...]:
        left = [entry for entry, _ in self.broken.values()]
        self.undo(tuple(left))
        return tuple(map(str, left))

    def left(self) -> tuple[str, ...]:
        return tuple(self.broken)


@dataclass
class Queue:
    """A replication queue; by default, it has delivered everything."""

    clock: Callable[[], float]
    until: Callable[[float], float] = lambda now: now
    held: bool = False

    def delivered_until(self) -> float:
        return self.until(self.clock())

    def pending(self) -> int | None:
        return 3

    def held_back(self) -> bool:
        return self.held


class NoConflicts:
    """A conflict resolver that finds no conflict."""

    def run(self) -> ResolvedConflicts:
        return ResolvedConflicts(found=0, merged=0, left=())


@dataclass
class Lines:
    """Records progress as lines."""

    lines: list[str]

    def say(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, stack: str, phase: str) -> None:
        self.lines.append(f"begin {phase}")

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        self.lines.append(f"{done}/{total} {current}")

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None: ...

    def end(self, stack: str, result: str) -> None:
        self.lines.append(f"end {result}")


def experiment(**changed: Any) -> Experiment:
    given: dict[str, Any] = {
        "title": "t",
        "description": "d",
        "expect": "failover",
        "method": [{"fault": "refused", "region": "primary"}],
    }
    return Experiment.model_validate(given | changed)


def checks(ledger: Any, queue: Any, shown: list[str], **changed: Any) -> RecoveryChecks:
    given = {"clock": ledger.clock, "sleep": ledger.sleep, "report": shown.append}
    return RecoveryChecks(ledger=ledger, queue=queue, **given | changed)


def drill(platform: Platform, played: Experiment, *, time_scale: float = 1.0) -> Drill:
    names = ("load_generator", "ledger", "monitors", "self_monitor", "faults", "versions")
    parts: dict[str, Any] = dict.fromkeys(names, platform) | {"conflicts": NoConflicts()}
    return Drill(
        experiment=played,
        label="embedded",
        regions=(EAST, WEST),
        time_scale=time_scale,
        floor_seconds=40.0,
        ttl_seconds=10.0,
        settings={},
        checks=checks(platform, platform.queue, platform.shown),
        clock=platform.clock,
        sleep=platform.sleep,
        view=ProgressView(progress=Lines(platform.shown)),
        **parts,
    )


@dataclass
class ControlPlanes:
    """Lambda's limits, IAM's policies and the drain flags of both regions. Each change requires the record."""

    record: Path
    limits: dict[str, int] = field(default_factory=dict)
    policies: dict[tuple[str, str], str] = field(default_factory=dict)
    flags: set[tuple[str, str]] = field(default_factory=set)
    fails: bool = False

    def state(self) -> tuple[object, ...]:
        return dict(self.limits), dict(self.policies), set(self.flags)

    def change(self) -> None:
        assert json.loads(self.record.read_text(encoding="utf-8")), "changed before it was recorded"
        if self.fails:
            raise ClientError({"Error": {"Code": "Boom", "Message": "two\nlines"}}, "Any")

    def client(self, service: str, region: str) -> Any:
        assert service in ("lambda", "iam", "dynamodb")
        return RegionClient(self, region)


@dataclass(frozen=True)
class RegionClient:
    """A client of Lambda, IAM and DynamoDB in one region."""

    planes: ControlPlanes
    region: str

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, int]:  # noqa: N803 - boto3's names
        assert FunctionName == NAMES.of("patient-api")
        limit = self.planes.limits.get(self.region)
        return {} if limit is None else {"ReservedConcurrentExecutions": limit}

    def put_function_concurrency(self, *, FunctionName: str, ReservedConcurrentExecutions: int) -> None:  # noqa: N803
        assert FunctionName == NAMES.of("patient-api")
        self.planes.change()
        self.planes.limits[self.region] = ReservedConcurrentExecutions

    def delete_function_concurrency(self, *, FunctionName: str) -> None:  # noqa: N803 - boto3's names
        assert FunctionName == NAMES.of("patient-api")
        self.planes.change()
        self.planes.limits.pop(self.region, None)

    def put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:  # noqa: N803
        self.planes.change()
        self.planes.policies[RoleName, PolicyName] = PolicyDocument

    def delete_role_policy(self, *, RoleName: str, PolicyName: str) -> None:  # noqa: N803 - boto3's names
        self.planes.change()
        if self.planes.policies.pop((RoleName, PolicyName), None) is None:
            raise ClientError({"Error": {"Code": "NoSuchEntity", "Message": "none"}}, "DeleteRolePolicy")

    def get_item(self, *, TableName: str, Key: dict[str, Any], ConsistentRead: bool) -> dict[str, Any]:  # noqa: N803
        assert (TableName, ConsistentRead) == (NAMES.records_table, True)
        return {"Item": {}} if (self.region, Key["sk"]["S"]) in self.planes.flags else {}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]], ClientRequestToken: str) -> None:  # noqa: N803
        self.planes.change()
        flag, audited = TransactItems
        item = audited["Put"]["Item"]
        assert (item["event"], item["reason"]) == ({"S": ClientRequestToken}, {"S": "drill"})
        if "Put" in flag:
            self.planes.flags.add((self.region, flag["Put"]["Item"]["sk"]["S"]))
        else:
            self.planes.flags.discard((self.region, flag["Delete"]["Key"]["sk"]["S"]))


NAME = "api.healthcare-dr-test.com"
HOSTS = {EAST: f"a.execute-api.{EAST}.amazonaws.com", WEST: f"b.execute-api.{WEST}.amazonaws.com"}
ADDRESSES = {EAST: "127.0.0.2", WEST: "127.0.0.3"}


class Region:
    """A server that answers reads with 200 and creations with 201, and the next `refused` requests with 503.

    It keeps the versions of the patients in `kept`, and honours Minimum-Version of reads. Before each of the next
    `faster` updates, another client updates the patient. The next `lost` responses to an update are lost.
    """

    def __init__(self, region: str) -> None:
        self.region, self.port, self.refused, self.readable, self.hang = region, 0, 0, True, False
        self.seen: list[tuple[str, str, str, str]] = []
        self.upload_status = 200
        self.delays: dict[str, float] = {}
        """By how many seconds the responses to a method are late."""
        self.names: set[str | None] = set()
        self.announced: dict[str, Any] = {}
        self.bodies: list[dict[str, Any]] = []
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.faster, self.lost = 0, 0
        self.minimums: list[str] = []
        """The header Minimum-Version of each request for a kept patient."""

    def version(self, number: int) -> str:
        return f"{number:013d}-0000-{self.region}"

    def keep(self, id: str, resource: dict[str, Any]) -> None:
        versions = self.kept.setdefault(id, [])
        meta = {"versionId": self.version(len(versions))}
        versions.append({**resource, "resourceType": "Patient", "id": id, "meta": meta})

    def update(self, id: str, if_match: str, body: bytes) -> int:
        if self.faster:
            self.faster -= 1
            self.keep(id, with_appended(self.kept[id][-1], f"another client {self.faster}"))
        if if_match != f'W/"{self.kept[id][-1]["meta"]["versionId"]}"':
            return 412
        self.keep(id, json.loads(body))
        self.lost -= 1
        return 200 if self.lost < 0 else 503

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method, path, host = scope["method"], scope["path"], headers["host"]
        self.seen.append((method, path, host, headers.get("idempotency-key", "")))
        status, answer = (self.upload_status if method == "PUT" else 200), b"{}"
        meta, own = {"versionId": self.version(0)}, list[tuple[bytes, bytes]]()
        while self.hang:
            await asyncio.sleep(0.05)
        await asyncio.sleep(self.delays.get(method, 0.0))
        if host == NAME and self.refused:
            self.refused -= 1
            status = 503
        elif path.startswith("/fhir/Patient/") and self.kept:
            id = path.split("/")[3]
            status = 404
            if id in self.kept:
                status = 200 if method == "GET" else self.update(id, headers["if-match"], body)
                least = headers.get("minimum-version", "")
                self.minimums.append(least)
                answer = json.dumps(self.kept[id][-1]).encode()
                if least > f'W/"{self.kept[id][-1]["meta"]["versionId"]}"':
                    status, answer = 503, NOT_YET_HERE.encode()
                if status == 503:
                    own = [(b"retry-after", b"2")]
        elif method == "GET" and path.startswith("/fhir/Patient/") and host == NAME:
            answer = json.dumps({"id": path.split("/")[3], "meta": meta}).encode()
        elif method == "POST":
            self.bodies.append(json.loads(body))
            status, answer = (
                201,
                json.dumps({"id": f"{self.region}-{len(self.bodies)}", "meta": meta, **self.announced}).encode(),
            )
        elif host in HOSTS.values() and not self.readable:
            status = 404
        await send({"type": "http.response.start", "status": status, "headers": own})
        await send({"type": "http.response.body", "body": answer})


class FakeResolver:
    """Resolves the shared name to one region, which a test can change."""

    def __init__(self, regions: dict[str, Region], region: str, ttl: float) -> None:
        self.regions, self.region, self.ttl = regions, region, ttl

    async def resolve(self, name: str) -> Answer:
        assert name == NAME
        return Answer(HOSTS[self.region], ADDRESSES[self.region], self.regions[self.region].port, self.ttl)


def until(done: Callable[[], bool]) -> None:
    # Far more than a busy machine needs, so that a broken test ends.
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def load_generator(resolver: FakeResolver, trust: ssl.SSLContext, ledger: Ledger, **other: Any) -> LoadGenerator:
    given: dict[str, Any] = {
        "name": NAME,
        "make_resolver": lambda: resolver,
        "token": "t",
        "trust": trust,
        "clock": time.monotonic,
        "ledger": ledger,
        "drill_id": "d1",
        "rate": 40,
        "clients": 2,
        "write_percent": 50,
        "document_percent": 0,
        "update_percent": 0,
        "retries": 0,
        "timeout_seconds": 5,
    }
    return LoadGenerator(**{**given, **other})


Json = dict[str, Any]


def samples_of(generator: LoadGenerator, count: int = 1) -> tuple[Sample, ...]:
    """Run a load generator until `count` requests have ended."""
    generator.start()

    def enough() -> bool:
        generator.check()
        return len(generator.samples()) >= count

    until(enough)
    generator.stop()
    return generator.samples()


class RefusedError(Exception):
    """An error response of the service: its code and message."""


@dataclass
class FisService:
    """FIS in one region, behind a boto3 client that checks requests and responses against the service model.

    Each `GetExperiment` advances an experiment to its next state. `templates` are names; `page` is the size of a page.
    An experiment whose template is in `doomed` fails instead of running. With `stuck`, experiments keep their state.
    """

    region: str
    templates: list[str]
    page: int = 2
    doomed: set[str] = field(default_factory=set)
    stuck: bool = False
    experiments: dict[str, Json] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def client(self) -> Any:
        made = boto3.client("fis", region_name=self.region, aws_access_key_id="a", aws_secret_access_key="b")
        made.meta.events.register("before-parameter-build.fis", self._note)
        made.meta.events.register("before-call.fis", self._answer)
        return made

    def running(self) -> list[str]:
        """Return the templates of the running experiments."""
        return [each["tags"]["Name"] for each in self.experiments.values() if each["state"]["status"] == "running"]

    def _note(self, params: Json, context: dict[str, Any], **_: Any) -> None:
        context["parameters"] = dict(params)

    def _answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, Json]:
        self.calls.append(model.name)
        try:
            answer: Json = getattr(self, model.name)(**context["parameters"])
        except RefusedError as refusal:
            code, message = refusal.args
            return SimpleNamespace(status_code=400, headers={}), {"Error": {"Code": code, "Message": message}}
        validate_parameters(answer, model.output_shape)
        return SimpleNamespace(status_code=200, headers={}), answer

    def ListExperimentTemplates(self, nextToken: str = "0") -> Json:  # noqa: N802, N803 - AWS's names
        found = [{"id": f"EXT{number}", "tags": {"Name": name}} for number, name in enumerate(self.templates)]
        return self._paged("experimentTemplates", found, nextToken)

    def ListExperiments(self, nextToken: str = "0") -> Json:  # noqa: N802, N803 - AWS's names
        found = [self._public(each) for each in self.experiments.values()]
        return self._paged("experiments", found, nextToken)

    def StartExperiment(self, clientToken: str, experimentTemplateId: str, tags: dict[str, str]) -> Json:  # noqa: N802, N803
        for each in self.experiments.values():
            if each["token"] == clientToken:
                return {"experiment": self._public(each)}
        template = self.templates[int(experimentTemplateId.removeprefix("EXT"))]
        if tags["Name"] != template:
            raise RefusedError("ValidationException", "the tag is not that of the template")
        made_id = f"EXP{len(self.experiments) + 1}"
        made: Json = {
            "id": made_id,
            "experimentTemplateId": experimentTemplateId,
            "tags": tags,
            "state": {"status": "initiating"},
            "token": clientToken,
        }
        self.experiments[made_id] = made
        return {"experiment": self._public(made)}

    def GetExperiment(self, id: str) -> Json:  # noqa: N802 - AWS's names
        found = self.experiments[id]
        if not self.stuck:
            state = found["state"]["status"]
            if state == "initiating" and found["tags"]["Name"] in self.doomed:
                found["state"] = {"status": "failed", "reason": "no\nright"}
            else:
                found["state"] = {"status": {"initiating": "running", "stopping": "stopped"}.get(state, state)}
        return {"experiment": self._public(found)}

    def StopExperiment(self, id: str) -> Json:  # noqa: N802 - AWS's names
        found = self.experiments[id]
        if found["state"]["status"] not in ("initiating", "running"):
            raise RefusedError("ValidationException", "it has ended")
        found["state"] = {"status": "stopping"}
        return {"experiment": self._public(found)}

    def _paged(self, name: str, found: list[Json], token: str) -> Json:
        begin = int(token)
        more = {"nextToken": str(begin + self.page)} if begin + self.page < len(found) else {}
        return {name: found[begin : begin + self.page], **more}

    @staticmethod
    def _public(experiment: Json) -> Json:
        return {name: value for name, value in experiment.items() if name != "token"}
