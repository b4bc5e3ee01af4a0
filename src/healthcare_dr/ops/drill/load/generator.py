"""Generate the load of a drill: clients of the shared name, at a rate that slow answers do not reduce."""

import asyncio
import contextlib
import json
import math
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from random import Random
from typing import Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Kind, Sample
from healthcare_dr.ops.drill.load.client import Call, Client, Recorded, Result
from healthcare_dr.ops.drill.load.history import OperationHistory
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.optimistic_update import FHIR, update
from healthcare_dr.ops.drill.load.resolver import Answer, CachingResolver, FixedResolver, Resolver
from healthcare_dr.ops.drill.self_monitor import Lateness
from healthcare_dr.ops.seed import people, sample_documents
from healthcare_dr.ops.seed.load import upload_in

STOP_POLL_SECONDS: Final = 0.1
"""How often requests in flight are checked for a call of `stop`."""
SETTLED_SECONDS: Final = 3.0
"""The age at which a write is read: both regions have it by then, unless replication has a fault."""
OLDEST: Final = 20
"""How many of the oldest patients are read and updated: few, so that clients of both regions update the same ones."""
LONGEST_LIST: Final = 200
"""A patient with so many updates is not read or updated any more: every version repeats the list."""
TICK_SECONDS: Final = 0.1
"""How often the lateness of the event loop is measured."""
FEWEST_PER_SECOND: Final = 5.0
"""Fewer requests resolve a recovery time too coarsely, and too few writes are acknowledged."""
MOST_PER_SECOND: Final = 20.0
"""More requests do not make a drill more exact, and take processor time from the platform."""
SERVED_SHARE: Final = 0.5
"""The share of what the machine serves: the surviving region takes all requests, and retries are added."""
WARM_UP_SECONDS: Final = 1.5
"""Connections are opened and functions start. Requests of this time are not counted."""
CALIBRATION_SECONDS: Final = 4.0
"""How long requests are counted."""
CLIENTS_PER_REGION: Final = 2
"""In a calibration, each client sends as fast as it is answered. Two keep the platform busy, and health checks pass."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How the request rate of a drill was determined."""

    rate: float
    """Requests per second, of all clients together."""
    reason: str
    """Why this rate, in one line."""
    served_per_second: float | None = None
    """What the machine served in the calibration; None without a calibration."""


def from_served(served_per_second: float) -> Calibration:
    """Return half of what a machine served per second, between 5 and 20."""
    half = math.floor(SERVED_SHARE * served_per_second * 10) / 10
    rate = min(MOST_PER_SECOND, max(FEWEST_PER_SECOND, half))
    found = (
        f"half of the {served_per_second:.1f} requests per second that this machine served in {CALIBRATION_SECONDS:g} s"
    )
    if half > MOST_PER_SECOND:
        reason = f"the most that is needed; {found} is more"
    elif half < FEWEST_PER_SECOND:
        reason = f"the fewest that show something; {found} is less"
    else:
        reason = found
    return Calibration(rate=rate, reason=reason, served_per_second=round(served_per_second, 1))


class LoadGenerator:
    """Sends `rate` requests a second, in a thread and an event loop of its own, until it is stopped.

    Without a `rate`, a calibration of 5.5 s determines it: clients send the same mix of requests as fast as they are
    answered, to the endpoint of each of `regions` if given, else to the address of the shared name. Requests of the
    calibration leave no samples, but their writes are in the ledger.

    A request is sent when it is due, whether or not earlier ones have ended. Each client has at most 64 requests in
    flight. Further ones wait, and their latency counts from the time at which they were due.
    """

    def __init__(
        self,
        *,
        name: str,
        make_resolver: Callable[[], Resolver],
        token: str,
        trust: ssl.SSLContext,
        clock: Callable[[], float],
        ledger: Ledger,
        drill_id: str,
        rate: float | None,
        clients: int,
        write_percent: float,
        document_percent: float,
        update_percent: float,
        retries: int,
        timeout_seconds: float,
        ignore_ttl: bool = False,
        seed: int = 1,
        regions: Sequence[Answer] = (),
        rate_reason: str = "given by the experiment or --rate",
    ) -> None:
        self._name, self._make_resolver, self._token, self._trust = name, make_resolver, token, trust
        self._clock, self._ledger, self._drill_id, self._seed = clock, ledger, drill_id, seed
        self._calibration = None if rate is None else Calibration(rate=rate, reason=rate_reason)
        self._clients, self._retries, self._timeout, self._regions = clients, retries, timeout_seconds, regions
        self._shares: dict[Kind, float] = {
            "write": write_percent,
            "document": document_percent,
            "update": update_percent,
        }
        self._ignore_ttl, self._dice = ignore_ttl, Random(seed)  # noqa: S311 - repeatable, and no secret
        self._numbers = count()
        self._history = OperationHistory(clock)
        self._updates: Counter[str] = Counter()
        self._samples: list[Sample] = []
        self._send_late: float | None = None
        self._loop_late: float | None = None
        self._tick_due: float | None = None
        self._dues: dict[int, float] = {}
        self._known_until = float("inf")
        self._failure: BaseException | None = None
        self._stop, self._stop_now = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Start to send requests. To be called once."""
        self._thread.start()

    def finish(self) -> None:
        """Send no more requests, and wait until each one has ended. Raises as `check`."""
        self._end()

    def stop(self) -> None:
        """Stop at once. Requests in flight are cancelled and leave no sample. Raises as `check`."""
        self._stop_now.set()
        self._end()

    def check(self) -> None:
        """Raise the error that ended the load early, if there is one."""
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        with self._lock:
            self._stop.set()
            self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self.check()

    def keep_records(self) -> None:
        """From now on, read and update only patients old enough to be in both regions.

        The last writes of the lost region may not be replicated. Their absence counts for the recovery point. A read of
        them would count as an outage as well.
        """
        self._known_until = self._clock()

    def samples(self) -> tuple[Sample, ...]:
        """Return all requests that have ended so far, in the order of their ends."""
        return tuple(self._samples)

    def history(self) -> OperationHistory:
        """Return what the clients asked for and received about patients, the calibration included."""
        return self._history

    def waiting_since(self) -> float | None:
        """Return when the oldest request in flight was due; None when there is none."""
        return min(list(self._dues.values()), default=None)

    def calibration(self) -> Calibration | None:
        """Return how the rate was determined; None while it is not."""
        return self._calibration

    def lateness(self) -> Lateness:
        """Return the worst lateness of requests and of the event loop since the previous call.

        The time that a request waits for a region is not lateness: only the delay until it starts counts.
        """
        with self._lock:
            late = Lateness(send=self._send_late, loop=self._loop_late)
            self._send_late = self._loop_late = None
            if self._tick_due is None:
                return late
            # A loop that is blocked now cannot measure its own lateness.
            return Lateness(send=late.send, loop=max(late.loop or 0.0, self._clock() - self._tick_due))

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - stop() raises it
            self._failure = error

    async def _main(self) -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(woken.set)
        clients: list[Client] = []
        under_way: set[asyncio.Task[None]] = set()
        ticking = asyncio.create_task(self._tick())
        try:
            if self._calibration is None:
                await self._calibrate()
            clients += [self._client(number, self._make_resolver()) for number in range(self._clients)]
            await self._drive(clients, under_way, woken)
            while under_way and self._failure is None and not self._stop_now.is_set():
                await asyncio.wait(under_way, timeout=STOP_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            with self._lock:
                self._wake = lambda: None
            for task in (ticking, *under_way):
                task.cancel()
            await asyncio.gather(ticking, *under_way, return_exceptions=True)
            self._tick_due = None
            for client in clients:
                await client.close()

    def _client(self, number: int, resolver: Resolver) -> Client:
        return Client(
            number=number,
            name=self._name,
            resolver=CachingResolver(resolver=resolver, clock=self._clock, ignore_ttl=self._ignore_ttl),
            trust=self._trust,
            retries=self._retries,
            timeout_seconds=self._timeout,
            history=self._history,
        )

    async def _tick(self) -> None:
        """Measure the lateness of the event loop."""
        while True:
            with self._lock:
                self._tick_due = self._clock() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            with self._lock:
                self._loop_late = max(self._loop_late or 0.0, self._clock() - self._tick_due)

    async def _calibrate(self) -> None:
        """Determine the rate. An interruption ends it at the next response."""
        resolvers: Sequence[Resolver] = [FixedResolver(answer) for answer in self._regions] or [
            self._make_resolver()
        ] * 2
        resolvers = [resolver for resolver in resolvers for _ in range(CLIENTS_PER_REGION)]
        clients = [self._client(-number, resolver) for number, resolver in enumerate(resolvers, 1)]
        counts_from = self._clock() + WARM_UP_SECONDS
        end, served = counts_from + CALIBRATION_SECONDS, 0

        async def send(client: Client) -> None:
            nonlocal served
            patients: list[str] = []
            while self._clock() < end and not self._stop.is_set():
                began, kind = self._clock(), self._kind() if patients else "write"
                patient = self._dice.choice(patients) if patients else None
                number = next(self._numbers)
                _, result = await self._request(client, number, kind, patient)
                if kind == "write" and result.status in (200, 201):
                    patients.append(_created(result)["id"])
                served += result.status is not None and 200 <= result.status < 300 and began >= counts_from

        tasks = [asyncio.create_task(send(client)) for client in clients]
        try:
            pending: set[asyncio.Task[None]] = set(tasks)
            while pending and not self._stop_now.is_set():
                done, pending = await asyncio.wait(
                    pending, timeout=STOP_POLL_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                await client.close()
        if not self._stop.is_set():
            self._calibration = from_served(served / (self._clock() - counts_from))

    async def _drive(self, clients: list[Client], under_way: set[asyncio.Task[None]], woken: asyncio.Event) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failure = error
                woken.set()

        began, sent = self._clock(), 0
        while not self._stop.is_set() and self._failure is None and self._calibration is not None:
            due = began + sent / self._calibration.rate
            if (early := due - self._clock()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), early)
                continue
            number = next(self._numbers)
            self._dues[number] = due
            task = asyncio.create_task(self._one(clients, number, due))
            under_way.add(task)
            task.add_done_callback(ended)
            sent += 1
            await asyncio.sleep(0)

    async def _one(self, clients: list[Client], number: int, due: float) -> None:
        with self._lock:
            self._send_late = max(self._send_late or 0.0, self._clock() - due)
        index = number % len(clients)
        client, kind = clients[index], self._kind()
        async with client.in_flight:
            sent = self._clock()
            kind, result = await self._request(client, number, kind, self._patient())
        sample = Sample(
            at=due,
            seconds=self._clock() - due,
            longest_wait=sent - due + result.longest_wait,
            kind=kind,
            client=index,
            region=result.region,
            status=result.status,
            error=result.error,
            attempts=result.attempts,
        )
        self._samples.append(sample)
        del self._dues[number]

    async def _request(self, client: Client, number: int, kind: Kind, patient: str | None) -> tuple[Kind, Result]:
        """Send one request, for a patient if there is one, and return its kind and result."""
        if kind in ("document", "update") and patient is None:
            kind = "write"
        if kind == "document" and patient is not None:
            return kind, await self._document(client, number, patient)
        if kind == "update" and patient is not None:
            return kind, await self._update(client, number, patient)
        if kind == "write":
            return kind, await self._write(client, number)
        if patient is None:
            return kind, await client.send(Call(method="GET", target="/fhir/metadata", headers=self._headers()))
        return kind, await client.read(patient, self._headers())

    def _kind(self) -> Kind:
        drawn = self._dice.random() * 100
        for kind, share in self._shares.items():
            if drawn < share:
                return kind
            drawn -= share
        return "read"

    def _patient(self) -> str | None:
        before = min(self._clock(), self._known_until) - SETTLED_SECONDS
        full = {id for id, updates in self._updates.items() if updates >= LONGEST_LIST}
        patients = self._ledger.oldest("patient", OLDEST + len(full))
        oldest = list(islice((each.id for each in patients if each.at <= before and each.id not in full), OLDEST))
        return self._dice.choice(oldest) if oldest else None

    def _headers(self, key: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": FHIR}
        return headers if key is None else {**headers, "Content-Type": FHIR, "Idempotency-Key": key}

    def _identifier(self, number: int) -> list[people.Resource]:
        return [{"system": f"urn:healthcare-dr:drill:{self._drill_id}", "value": str(number)}]

    async def _create(self, client: Client, number: int, resource: people.Resource) -> Result:
        kind = resource["resourceType"]
        headers = self._headers(f"hdr-drill-{self._drill_id}-{kind.lower()}-{number}")
        return await client.send(
            Call(
                method="POST",
                target=f"/fhir/{kind}",
                headers=headers,
                content=people.encoded(resource),
                recorded=Recorded(kind="create") if kind == "Patient" else None,
            )
        )

    async def _write(self, client: Client, number: int) -> Result:
        resource: people.Resource = {
            "resourceType": "Patient",
            "meta": {"security": [people.TEST_DATA]},
            "identifier": self._identifier(number),
            "name": [{"family": "Fictitious", "given": [f"Drill{number}"]}],
        }
        result = await self._create(client, number, resource)
        if result.status in (200, 201):
            created = _created(result)
            self._ledger.acknowledge(number=number, kind="patient", id=created["id"], region=result.region or "")
        return result

    async def _document(self, client: Client, number: int, patient: str) -> Result:
        paper = sample_documents.document(self._seed, number, 0)
        announced = await self._create(client, number, {**paper.of(patient), "identifier": self._identifier(number)})
        if announced.status not in (200, 201):
            return announced
        created = _created(announced)
        upload, result = upload_in(created), announced
        if upload is not None:
            sent = await client.send(
                Call(method=upload.method, target=upload.address, headers=upload.headers, content=paper.content)
            )
            # A repeated upload whose first attempt arrived is answered with 412: the object exists.
            arrived = sent.status in (200, 204) or (sent.status == 412 and sent.attempts > 1)
            result = Result(
                status=200 if arrived else sent.status,
                error=sent.error,
                region=announced.region,
                attempts=announced.attempts + sent.attempts - 1,
                longest_wait=sent.longest_wait,
            ).after(announced)
            if not arrived:
                return result
        self._ledger.acknowledge(number=number, kind="document", id=created["id"], region=announced.region or "")
        return result

    async def _update(self, client: Client, number: int, patient: str) -> Result:
        self._updates[patient] += 1
        done = await update(client, patient=patient, value=str(number), headers=self._headers(), dice=self._dice)
        if done.version is not None:
            self._ledger.acknowledge(
                number=number, kind="update", id=patient, region=done.result.region or "", version=done.version
            )
        return done.result


def _created(result: Result) -> people.Resource:
    try:
        created = json.loads(result.body)
    except ValueError:
        created = None
    if not isinstance(created, dict) or not isinstance(created.get("id"), str):
        raise DeploymentError("the API answered a creation with something that has no id; is it the platform's?")
    return created
