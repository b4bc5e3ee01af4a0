"""Both regions: the Lambda functions as `patient_api.bootstrap` wires them, on simulated services and event sources.

What AWS documents, and what the simulation does accordingly:

- A container of Lambda runs one invocation at a time, and is reused or not
  (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
- A stream's event source mapping delivers the changes of a partition key in order, in batches, at least once. After a
  failure it continues at the first change that failed
  (https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
- Lambda repeats an asynchronous invocation that fails twice, after one and two minutes, and may deliver an event more
  than once (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from random import Random
from typing import Any, cast
from uuid import UUID
from zlib import crc32

from patient_api import bootstrap
from patient_api.aws import Clients
from patient_api.bootstrap import Process, Services
from patient_api.contract.functions import API, CONFIRM_DOCUMENTS, RECONCILE, SENTINEL, Environment, FunctionSpec
from patient_api.contract.keys import DRAIN_PARTITION, HEARTBEAT_PARTITION, LINEAGE_PREFIX, VERSION_PREFIX
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from simulation.dynamodb import SimulatedDynamoDB
from simulation.faults import AwsClient, Faults
from simulation.s3 import Address, ServiceTime, SimulatedBucket
from simulation.scheduler import MICROSECONDS, Scheduler, Signal, Task, dice_of, threads
from unit.patient_api.fakes.api import HOST, Reply
from unit.patient_api.fakes.aws import AUDIT, ENVIRONMENT, PEER, RECORDS, REGION, START_MS, FakeKms
from unit.patient_api.fakes.regions import Message
from unit.patient_api.fakes.s3 import Stored

EAST, WEST = REGION, PEER
REGIONS = (EAST, WEST)
SHORT = {EAST: "east", WEST: "west"}
LANES = 3
"""Partition keys of a stream are spread over as many sequences of batches."""
BATCH = 10
ASYNC_RETRIES = (60.0, 120.0)
MINUTE = 60.0
LONGEST_LAG = 300.0
CLIENT_TIMEOUT = 30.0


def other(region: str) -> str:
    """Return the other region."""
    return WEST if region == EAST else EAST


class NoResponseError(Exception):
    """The client received no response. The request may have been executed."""


class CrashedError(Exception):
    """The container was killed, or the function failed."""


class Trace:
    """What happened in a run, in order. `digest` identifies the whole of it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.lines: list[tuple[int, str, str]] = []
        self._scheduler = scheduler

    def __call__(self, actor: str, *parts: object) -> None:
        self.lines.append((self._scheduler.now, actor, " ".join(map(str, parts))))

    def digest(self) -> str:
        return hashlib.sha256(repr(self.lines).encode()).hexdigest()

    def text(self) -> str:
        """Return the lines, without those of the sentinels, which change nothing."""
        lines = [line for line in self.lines if f"/{SENTINEL.name}-" not in line[1]]
        return "\n".join(f"{at / MICROSECONDS:10.4f}  {actor:28} {what}" for at, actor, what in lines)


class LogStream:
    """The log of a container. Keeps the lines that report defects."""

    def __init__(self, name: str, defects: list[str]) -> None:
        self._name = name
        self._defects = defects

    def write(self, line: str) -> None:
        if '"unexpected exception"' in line or '"an item that must not change was changed"' in line:
            self._defects.append(f"{self._name}: {line.strip()}")

    def flush(self) -> None:
        """Do nothing: lines are not buffered."""


class Container:
    """One process of a Lambda function, with a clock and dice of its own."""

    def __init__(self, platform: "Platform", region: str, function: FunctionSpec, number: int) -> None:
        self.name = f"{SHORT[region]}/{function.name}-{number}"
        self.region = region
        self.function = function
        self.dead = False
        self.busy = False
        self.random = dice_of(f"{platform.seed}/{self.name}")
        self._platform = platform
        self._tasks: list[Task] = []
        self._skew = self.random.uniform(-0.02, 0.02)
        self._clients: dict[tuple[str, str], Any] = {}

    def invoke(self, call: Callable[["Container"], Any]) -> Any:
        """Run one invocation as a task, and return its result. Raises CrashedError when the container is killed."""
        ended = Signal(self._platform.scheduler)
        result: list[Any] = []
        self.busy = True

        def run() -> None:
            try:
                result.append(call(self))
            except Exception as error:  # noqa: BLE001 - Lambda reports every error of a handler alike
                self._platform.trace(self.name, "failed:", type(error).__name__, str(error)[:300])
                if not type(error).__module__.startswith("patient_api."):
                    self._platform.defects.append(f"{self.name}: {type(error).__name__}: {error}")
            finally:
                self.busy = False
                ended.set()

        self.spawn(run)
        ended.wait()
        if not result:
            raise CrashedError(self.name)
        return result[0]

    def spawn(self, call: Callable[[], object]) -> Task:
        """Start a task of this process."""
        task = self._platform.scheduler.spawn(self.name, call)
        self._tasks = [one for one in self._tasks if not one.done.is_set]
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        """End the process."""
        if not self.dead:
            self.dead = True
            self._platform.trace(self.name, "killed")
            for task in self._tasks:
                task.kill()

    def now(self) -> float:
        """Return the time by this process's clock, in seconds since 1970."""
        return self._platform.now(self.region) + self._skew

    @cached_property
    def process(self) -> Process:
        """The injected clocks, ids and threads."""
        scheduler = self._platform.scheduler
        return Process(
            now=self.now,
            monotonic=lambda: scheduler.seconds,
            sleep=scheduler.sleep,
            new_id=lambda: str(UUID(int=self.random.getrandbits(128), version=4)),
            shuffle=self.random.shuffle,
            threads=threads(scheduler, self.spawn),
        )

    @cached_property
    def log(self) -> StructuredLog:
        stream = cast("Any", LogStream(self.name, self._platform.defects))
        return StructuredLog(service=self.function.name, region=self.region, stream=stream, now=self.now)

    @cached_property
    def environment(self) -> Environment:
        return self._platform.environments[self.region]

    @cached_property
    def variables(self) -> Mapping[str, str]:
        return self.environment.variables() | {"AWS_REGION": self.region, "ENDPOINT": f"https://{self.region}.example"}

    @cached_property
    def api(self) -> Any:
        """The dispatcher of the API."""
        process = self.process
        services = Services(
            environment=self.environment,
            clients=cast("Clients", self),
            log=self.log,
            now=process.now,
            monotonic=process.monotonic,
            pause=process.sleep,
            new_id=process.new_id,
            threads=process.threads,
        )
        return dispatcher(services)

    @cached_property
    def confirming(self) -> Any:
        """The function that confirms documents."""
        return bootstrap.confirmation_worker(
            self.variables, clients=cast("Clients", self), log=self.log, process=self.process
        )

    @cached_property
    def reconciling(self) -> Any:
        """The function that processes streams."""
        return bootstrap.stream_processor(
            self.variables, clients=cast("Clients", self), log=self.log, process=self.process
        )

    @cached_property
    def sentinel(self) -> Any:
        """The function that checks the peer."""
        return bootstrap.sentinel(
            self.variables,
            clients=cast("Clients", self),
            log=self.log,
            probe=lambda _host: "TimeoutError" if other(self.region) in self._platform.faults.lost else None,
        )

    # As `patient_api.aws.Clients`, with the attempts and time limits of its configurations.

    def dynamodb(self) -> Any:
        return self._client("dynamodb", self.region, attempts=3, timeout=2)

    def kms(self) -> Any:
        return self._client("kms", self.region, attempts=1, timeout=1)

    def macs(self) -> Any:
        return self._client("kms", self.region, attempts=3, timeout=2)

    def s3(self) -> Any:
        return self._client("s3", self.region, attempts=1, timeout=1)

    def documents(self) -> Any:
        return self.documents_of(region=self.region, role="")

    def documents_of(self, *, region: str, role: str) -> Any:
        if self.function is CONFIRM_DOCUMENTS:
            return self._client("s3", region, attempts=3, timeout=20)
        return self._client("s3", region, attempts=1, timeout=4)

    def _client(self, service: str, region: str, *, attempts: int, timeout: float) -> Any:
        if (service, region) not in self._clients:
            self._clients[service, region] = AwsClient(
                self,
                self._platform.services[service, region],
                service=service,
                region=region,
                attempts=attempts,
                timeout=timeout,
                scheduler=self._platform.scheduler,
                faults=self._platform.faults,
                trace=self._platform.trace,
            )
        return self._clients[service, region]


@dataclass
class Lane:
    """Changes of a stream that are delivered in order."""

    region: str
    changes: list[dict[str, Any]]
    running: bool = False


class Platform:
    """Both regions, their services and event sources.

    `defects` has what no run should contain: unexpected exceptions, and changes of items that must not change.
    Exceptions of the application's own are not among them: with these, a function asks for another invocation.
    """

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.scheduler = Scheduler()
        self.faults = Faults()
        self.trace = Trace(self.scheduler)
        self.defects: list[str] = []
        self.addresses: dict[str, Address] = {}
        self.changed: Callable[[str, dict[str, Any]], None] = lambda _region, _change: None
        self.random = dice_of(f"{seed}/services")
        self.environments = {region: _environment(region) for region in REGIONS}
        self.tables = {region: self._table(region) for region in REGIONS}
        self.buckets = {region: self._bucket(region) for region in REGIONS}
        self.services: dict[tuple[str, str], Any] = {}
        for region in REGIONS:
            self.services |= {
                ("dynamodb", region): self.tables[region],
                ("s3", region): self.buckets[region],
                ("kms", region): RegionKms(),
            }
        self.in_flight = 0
        self._held: dict[tuple[str, str], list[tuple[str, Callable[[], None]]]] = {}
        self._lanes = {(region, lane): Lane(region, []) for region in REGIONS for lane in range(LANES)}
        self._containers: dict[tuple[str, str], list[Container]] = {}
        self._started = 0
        self._stopped = False
        for number, region in enumerate(REGIONS):
            self._every_minute(region, 20 * number + 7, CONFIRM_DOCUMENTS, self._sweep)
            self._every_minute(region, 20 * number + 11, SENTINEL, lambda container: container.sentinel())

    def now(self, region: str) -> float:
        """Return the time by the clocks of a region's functions, in seconds since 1970."""
        return START_MS / 1000 + self.scheduler.seconds + self.faults.skews.get(region, 0.0)

    def wall(self, region: str) -> float:
        """Return the time by the clocks of a region's services."""
        return START_MS / 1000 + self.scheduler.seconds + (0.003 if region == WEST else 0.0)

    def request(self, region: str, event: Mapping[str, Any], dice: Random) -> Reply:
        """Return the response to a client's request. Raises NoResponseError."""
        self.scheduler.sleep(dice.uniform(0.005, 0.04))
        if region in self.faults.lost:
            self.scheduler.sleep(1.0)
            raise NoResponseError("the region cannot be reached")
        sent = {**event, "requestContext": event["requestContext"] | {"timeEpoch": round(self.wall(region) * 1000)}}
        try:
            response = self.invoke(region, API, lambda container: container.api(sent, None), timeout=CLIENT_TIMEOUT)
        except CrashedError as error:
            raise NoResponseError("the gateway reports an internal error") from error
        if region in self.faults.lost or dice.random() < self.faults.lost_responses / 2:
            raise NoResponseError("the response was lost")
        self.scheduler.sleep(dice.uniform(0.005, 0.04))
        return Reply(response)

    def transfer(self, url: str, body: bytes = b"") -> bytes:
        """Perform a client's request to S3 with a signed address. Raises NoResponseError and ClientError."""
        address = self.addresses[url]
        self.scheduler.sleep(0.02)
        if address.region in self.faults.lost:
            raise NoResponseError("the region cannot be reached")
        return self.buckets[address.region].use(address, body)

    def invoke(
        self, region: str, function: FunctionSpec, call: Callable[[Container], Any], *, timeout: float | None = None
    ) -> Any:
        """Run a function in a free container, or in a new one. Raises CrashedError."""
        container = self._container(region, function)
        if timeout is not None:
            invocation = Signal(self.scheduler)
            self.scheduler.at(timeout, lambda: None if invocation.is_set else container.kill())
            try:
                return container.invoke(call)
            finally:
                invocation.is_set = True
        return container.invoke(call)

    def lose(self, region: str) -> None:
        """Let a region be lost: its functions are killed, and nothing reaches or leaves it."""
        self.faults.lost.add(region)
        for (place, _), containers in self._containers.items():
            for container in containers if place == region else ():
                container.kill()

    def restore(self) -> None:
        """End all faults, and deliver what they held up."""
        self.faults.heal()
        self.released()

    def released(self) -> None:
        """Deliver what faults that ended have held up."""
        for link in list(self._held):
            if not self._is_held(link):
                for what, deliver in self._held.pop(link):
                    self._replicate(link, what, deliver)
        for lane in self._lanes.values():
            self._start(lane)

    def drain(self, region: str, *, drained: bool) -> None:
        """Set or remove the drain flag of a region, as the operator does: in the other region's table."""
        table = self.tables[other(region)]
        if drained:
            table.add(RECORDS, {"pk": {"S": DRAIN_PARTITION}, "sk": {"S": region}})
        else:
            table.remove(RECORDS, (DRAIN_PARTITION, region))

    def quiet(self) -> bool:
        """Return whether nothing is replicating, waiting in a stream or waiting for a function."""
        return not self.in_flight and not self._held and not any(lane.changes for lane in self._lanes.values())

    def close(self) -> None:
        """End everything that runs."""
        self._stopped = True
        self.scheduler.close()

    def _container(self, region: str, function: FunctionSpec) -> Container:
        containers = self._containers.setdefault((region, function.name), [])
        containers[:] = [one for one in containers if not one.dead]
        free = next((one for one in containers if not one.busy), None)
        if free is None or (self.random.random() < 0.03):
            self._started += 1
            free = Container(self, region, function, self._started)
            containers.append(free)
        return free

    def _table(self, region: str) -> SimulatedDynamoDB:
        return SimulatedDynamoDB(
            region=region,
            scheduler=self.scheduler,
            random=Random(f"{self.seed}/index/{region}"),  # noqa: S311 - dice
            wall=lambda: round(self.wall(region) * MICROSECONDS),
            send=lambda message: self._send_item(region, message),
            publish=lambda change: self._publish(region, change),
        )

    def _bucket(self, region: str) -> SimulatedBucket:
        return SimulatedBucket(
            region=region,
            time=ServiceTime(self.scheduler, lambda: datetime.fromtimestamp(self.wall(region), UTC)),
            send=lambda key, stored: self._send_object(region, key, stored),
            notify=lambda key: self._notify(region, key),
            addresses=self.addresses,
        )

    # Replication

    def _send_item(self, region: str, message: Message) -> None:
        what = " ".join(message.key) if message.table == RECORDS else ""
        self._replicate(("records", region), what, lambda: self.tables[other(region)].receive(message))

    def _send_object(self, region: str, key: str, stored: Stored) -> None:
        self._replicate(("objects", region), key, lambda: self.buckets[other(region)].receive(key, stored))

    def _replicate(self, link: tuple[str, str], what: str, deliver: Callable[[], None]) -> None:
        dice = self.random
        if link[0] == "records":
            delay = dice.uniform(0.2, 1.0) if dice.random() < 0.9 else dice.uniform(1.0, 6.0)
        else:
            delay = dice.uniform(0.5, 5.0) if dice.random() < 0.7 else dice.uniform(5.0, 90.0)
        self.in_flight += 1
        delay = min(LONGEST_LAG, delay * self.faults.slow.get(link, 1.0))
        self.scheduler.at(delay, lambda: self._deliver(link, what, deliver))

    def _deliver(self, link: tuple[str, str], what: str, deliver: Callable[[], None]) -> None:
        self.in_flight -= 1
        if self._is_held(link):
            self._held.setdefault(link, []).append((what, deliver))
            return
        if what and not what.startswith(HEARTBEAT_PARTITION):
            self.trace(f"replication from {SHORT[link[1]]}", what)
        deliver()

    def _is_held(self, link: tuple[str, str]) -> bool:
        return link in self.faults.paused or bool(self.faults.lost)

    # Streams

    def _publish(self, region: str, change: dict[str, Any]) -> None:
        self.changed(region, change)
        keys = change["dynamodb"]["Keys"]
        if f":table/{AUDIT}/" in change["eventSourceARN"]:
            wanted = change["eventName"] != "INSERT"
        else:
            heartbeat = (keys["pk"]["S"], keys["sk"]["S"]) == (HEARTBEAT_PARTITION, other(region))
            wanted = heartbeat or keys["sk"]["S"].startswith((VERSION_PREFIX, LINEAGE_PREFIX))
        if wanted:
            lane = self._lanes[region, crc32(keys["pk"]["S"].encode()) % LANES]
            lane.changes.append(change)
            self._start(lane)

    def _start(self, lane: Lane) -> None:
        if not lane.running and lane.changes and lane.region not in self.faults.lost:
            lane.running = True
            self.scheduler.spawn(f"{SHORT[lane.region]}/stream", lambda: self._poll(lane))

    def _poll(self, lane: Lane) -> None:
        dice = self.random
        self.scheduler.sleep(dice.uniform(0.05, 0.5))
        while lane.changes and lane.region not in self.faults.lost and not self._stopped:
            batch = lane.changes[: dice.randint(1, BATCH)]
            done = self._process(lane.region, batch)
            # The mapping may deliver a batch again, although it was processed.
            if done and dice.random() < 0.97:
                del lane.changes[:done]
            elif not done:
                self.scheduler.sleep(dice.uniform(0.5, 3.0))
        lane.running = False

    def _process(self, region: str, batch: list[dict[str, Any]]) -> int:
        """Return how many changes of a batch are done."""
        try:
            response = self.invoke(region, RECONCILE, lambda container: container.reconciling({"Records": batch}))
        except CrashedError:
            return 0
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        numbers = [change["dynamodb"]["SequenceNumber"] for change in batch]
        return next((place for place, number in enumerate(numbers) if number in failed), len(batch))

    # Event notifications and schedules

    def _notify(self, region: str, key: str) -> None:
        if region in self.faults.lost_events:
            return
        records = [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}]
        for _ in range(2 if self.random.random() < 0.1 else 1):
            self.in_flight += 1
            self.scheduler.at(self.random.uniform(0.1, 3.0), lambda: self._uploaded(region, records))

    def _uploaded(self, region: str, records: list[dict[str, Any]]) -> None:
        self._async(
            region,
            CONFIRM_DOCUMENTS,
            lambda container: container.confirming.uploaded(
                records, seconds=900, request_id=f"event-{self.scheduler.now}"
            ),
            retries=ASYNC_RETRIES,
        )

    def _async(
        self, region: str, function: FunctionSpec, call: Callable[[Container], Any], *, retries: tuple[float, ...]
    ) -> None:
        """Invoke a function, and again when it fails. The caller has counted the invocation in `in_flight`."""

        def run() -> None:
            try:
                self.invoke(region, function, call)
            except CrashedError:
                if retries:
                    self.scheduler.at(retries[0], lambda: self._async(region, function, call, retries=retries[1:]))
                    return
            self.in_flight -= 1

        if self._stopped:
            return
        if region in self.faults.lost:
            # The queue of asynchronous invocations keeps events for hours.
            self.scheduler.at(5.0, lambda: self._async(region, function, call, retries=retries))
            return
        self.scheduler.spawn(f"{SHORT[region]}/async", run)

    def _every_minute(
        self, region: str, first: float, function: FunctionSpec, call: Callable[[Container], Any]
    ) -> None:
        def tick() -> None:
            if self._stopped:
                return
            self.scheduler.at(MINUTE, tick)
            if region not in self.faults.lost:
                self.in_flight += 1
                self._async(region, function, call, retries=())

        self.scheduler.at(first, tick)

    def _sweep(self, container: Container) -> None:
        container.confirming.sweep(seconds=900, request_id=f"sweep-{self.scheduler.now}")


class RegionKms(FakeKms):
    """KMS of a region. The HMAC key is a multi-Region key, so it is the same in both."""

    def generate_data_key_without_plaintext(self, **request: Any) -> dict[str, Any]:
        self.data_keys += 1
        return {}


def _environment(region: str) -> Environment:
    buckets = {EAST: ENVIRONMENT.documents_bucket, WEST: ENVIRONMENT.peer_documents_bucket}
    return replace(
        ENVIRONMENT,
        region=region,
        peer_region=other(region),
        documents_bucket=buckets[region],
        peer_documents_bucket=buckets[other(region)],
        log_level="INFO",
        endpoint=f"https://{HOST}",
    )
