"""The clients of a drill: a steady load through the shared name, at a rate that answers do not slow down."""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.client import Call, Client, Result
from healthcare_dr.ops.drill.ledger import Ledger
from healthcare_dr.ops.drill.model import Kind, Sample
from healthcare_dr.ops.drill.resolver import CachingResolver, Resolver
from healthcare_dr.ops.drill.updating import FHIR, update
from healthcare_dr.ops.seed import papers, people
from healthcare_dr.ops.seed.load import upload_in

HURRY_SECONDS: Final = 0.1
SETTLED_SECONDS: Final = 3.0
"""How old a write must be to be read: both regions have it by then, unless replication is at fault."""
OLDEST: Final = 20
"""How many of the oldest patients are read and updated: they were there before the fault, and clients of both regions
meet at them."""


class Prober:
    """Sends `rate` requests a second, in a thread and an event loop of its own, until it is stopped.

    The loop is open: a request is sent when it is due, whatever became of earlier ones. Each client has 64 in flight
    at most; what is due beyond that waits, and its time counts from when it was due.
    """

    def __init__(
        self,
        *,
        name: str,
        make_resolver: Callable[[], Resolver],
        token: str,
        ca: Path | ssl.SSLContext,
        clock: Callable[[], float],
        ledger: Ledger,
        drill_id: str,
        rate: float,
        clients: int,
        write_percent: float,
        document_percent: float,
        update_percent: float,
        retries: int,
        timeout_seconds: float,
        ignore_ttl: bool = False,
        seed: int = 1,
    ) -> None:
        self._name, self._make_resolver, self._token = name, make_resolver, token
        self._trust = ca if isinstance(ca, ssl.SSLContext) else ssl.create_default_context(cafile=str(ca))
        self._clock, self._ledger, self._drill_id, self._seed = clock, ledger, drill_id, seed
        self._rate, self._clients, self._retries, self._timeout = rate, clients, retries, timeout_seconds
        self._shares: dict[Kind, float] = {
            "write": write_percent, "document": document_percent, "update": update_percent,
        }  # fmt: skip
        self._ignore_ttl, self._dice = ignore_ttl, Random(seed)  # noqa: S311 - to be repeatable is the point
        self._samples: list[Sample] = []
        self._dues: dict[int, float] = {}
        self._failure: BaseException | None = None
        self._stop, self._hurry = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def start(self) -> None:
        """Begin to send. Once only."""
        self._thread.start()

    def finish(self) -> None:
        """Send no more, and wait until each request has ended: its client gives up in the end. Raises as `check`."""
        self._end()

    def stop(self) -> None:
        """Stop at once; what is in flight is given up and leaves no sample. Raises as `check`."""
        self._hurry.set()
        self._end()

    def check(self) -> None:
        """Raise what ended the prober early."""
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        with self._lock:
            self._stop.set()
            self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self.check()

    def samples(self) -> tuple[Sample, ...]:
        """All requests that have ended so far, in the order of their ends."""
        return tuple(self._samples)

    def waiting_since(self) -> float | None:
        """When the oldest request that has not ended was due; None when none is under way."""
        return min(list(self._dues.values()), default=None)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001 - stop() raises it
            self._failure = error

    async def _main(self) -> None:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wake = lambda: loop.call_soon_threadsafe(woken.set)
        clients = [
            Client(
                name=self._name,
                resolver=CachingResolver(
                    resolver=self._make_resolver(), clock=self._clock, ignore_ttl=self._ignore_ttl
                ),
                trust=self._trust,
                retries=self._retries,
                timeout_seconds=self._timeout,
            )
            for _ in range(self._clients)
        ]
        under_way: set[asyncio.Task[None]] = set()
        try:
            await self._drive(clients, under_way, woken)
            while under_way and self._failure is None and not self._hurry.is_set():
                await asyncio.wait(under_way, timeout=HURRY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            with self._lock:
                self._wake = lambda: None
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            for client in clients:
                await client.close()

    async def _drive(self, clients: list[Client], under_way: set[asyncio.Task[None]], woken: asyncio.Event) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failure = error
                woken.set()

        began, number = self._clock(), 0
        while not self._stop.is_set() and self._failure is None:
            due = began + number / self._rate
            if (early := due - self._clock()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), early)
                continue
            self._dues[number] = due
            task = asyncio.create_task(self._one(clients, number, due))
            under_way.add(task)
            task.add_done_callback(ended)
            number += 1
            await asyncio.sleep(0)

    async def _one(self, clients: list[Client], number: int, due: float) -> None:
        index = number % len(clients)
        client, kind = clients[index], self._kind()
        async with client.places:
            patient = self._patient()
            if kind in ("document", "update") and patient is None:
                kind = "write"
            if kind == "document" and patient is not None:
                result = await self._document(client, number, patient)
            elif kind == "update" and patient is not None:
                result = await self._update(client, number, patient)
            elif kind == "write":
                result = await self._write(client, number)
            else:
                path = "/fhir/metadata" if patient is None else f"/fhir/Patient/{patient}"
                result = await client.send(Call(method="GET", target=path, headers=self._headers()))
        sample = Sample(
            at=due,
            seconds=self._clock() - due,
            kind=kind,
            client=index,
            region=result.region,
            status=result.status,
            error=result.error,
            attempts=result.attempts,
        )
        self._samples.append(sample)
        del self._dues[number]

    def _kind(self) -> Kind:
        thrown = self._dice.random() * 100
        for kind, share in self._shares.items():
            if thrown < share:
                return kind
            thrown -= share
        return "read"

    def _patient(self) -> str | None:
        before = self._clock() - SETTLED_SECONDS
        oldest = [write.id for write in self._ledger.oldest("patient", OLDEST) if write.at <= before]
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
            Call(method="POST", target=f"/fhir/{kind}", headers=headers, content=people.encoded(resource))
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
        paper = papers.paper(self._seed, number, 0)
        announced = await self._create(client, number, {**paper.of(patient), "identifier": self._identifier(number)})
        if announced.status not in (200, 201):
            return announced
        created = _created(announced)
        upload, result = upload_in(created), announced
        if upload is not None:
            sent = await client.send(
                Call(method=upload.method, target=upload.address, headers=upload.headers, content=paper.content)
            )
            # A repeated upload whose first try arrived after all is told 412: the document lies there.
            arrived = sent.status in (200, 204) or (sent.status == 412 and sent.attempts > 1)
            result = Result(
                status=200 if arrived else sent.status,
                error=sent.error,
                region=announced.region,
                attempts=announced.attempts + sent.attempts - 1,
            )
            if not arrived:
                return result
        self._ledger.acknowledge(number=number, kind="document", id=created["id"], region=announced.region or "")
        return result

    async def _update(self, client: Client, number: int, patient: str) -> Result:
        done = await update(
            client, patient=patient, mark=f"{self._drill_id}-{number}", headers=self._headers(), dice=self._dice
        )
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
