"""Two regions that run the API and the stream processor on fake replicas of one global table."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast

from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients
from patient_api.bootstrap import stream_processor
from patient_api.clock import Clock, Stamp
from patient_api.contract.keys import PATIENT, VERSION_PREFIX
from patient_api.http.authorization import Authorization
from patient_api.http.caller import Caller
from patient_api.http.payload import Resource
from patient_api.http.request import Request
from patient_api.logging import StructuredLog
from patient_api.patients.creation import Creation, CriteriaLookup
from patient_api.patients.service import Patients
from patient_api.service_context import ServiceContext
from patient_api.store.index import Index
from patient_api.store.model import RecordKey, Token, Version
from patient_api.store.stream import StreamProcessor
from patient_api.store.transactions import Transactions
from patient_api.store.versions import VersionStore
from unit.patient_api.fakes import AUDIT, ENVIRONMENT, PEER, RECORDS, REGION, START_MS, client_error
from unit.patient_api.replicas.dynamodb import Message, Replica

TENANT = "north-clinic"
CALLER = Caller(TENANT, "app-1", frozenset({("*", letter) for letter in "cruds"}))
THROTTLED = client_error("ThrottlingException")


class ImmediateExecutor(Executor):
    """Runs each call before `submit` returns, so that failing examples are reproducible."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Container:
    """One process of the API, with its own clock."""

    def __init__(self, *, region: "Region", now_ms: Callable[[], int], ids: Callable[[], str]) -> None:
        self.clock = Clock(region=region.name, now_ms=now_ms)
        client = region.replica
        trail = AuditTrail(client=client, table=AUDIT)
        self.transactions = Transactions(client=client, pause=lambda _seconds: None)
        self.records = VersionStore(
            client=client,
            table=RECORDS,
            region=region.name,
            trail=trail,
            transactions=self.transactions,
            pool=cast("ThreadPoolExecutor", ImmediateExecutor()),
        )
        authorization = Authorization(
            trail=trail,
            region=region.name,
            now=lambda: datetime.fromtimestamp(now_ms() / 1000, UTC),
            new_id=ids,
        )
        context = ServiceContext(authorization=authorization, clock=self.clock, tokens=tokens)
        self.patients = Patients(records=self.records, context=context)
        self.creation = Creation(
            records=self.records,
            context=context,
            selection=CriteriaLookup(authorization=authorization, matches=lambda _tenant, _criteria: ()),
            blind=blind,
            new_id=ids,
        )

    def merge(self, key: RecordKey, body: Resource, *, known: Stamp, merged: Sequence[Stamp]) -> Version:
        """Update the version `known` and merge other versions into it."""
        merges = ", ".join(f'W/"{stamp}"' for stamp in merged)
        return self.patients.update(request(body | {"id": key.id}, if_match=f'W/"{known}"', merges=merges), key.id)


class Region:
    """A replica, two containers of the API, and the stream processor."""

    def __init__(self, *, name: str, wall: Callable[[], int], clocks: Sequence[Callable[[], int]], page: int) -> None:
        self.name = name
        self.replica = Replica(region=name, wall=wall, page=page)
        self._issued = 0
        self.containers = [Container(region=self, now_ms=now_ms, ids=self._new_id) for now_ms in clocks]
        self.log = io.StringIO()
        self.reconciliation: StreamProcessor = stream_processor(
            ENVIRONMENT.variables() | {"AWS_REGION": name},
            clients=cast("Clients", self),
            log=StructuredLog(service="reconciliation", region=name, stream=self.log),
        )

    def dynamodb(self) -> Replica:
        """Return the client, as `patient_api.aws.Clients` does."""
        return self.replica

    def reconcile(self, picks: Iterable[int] = (), *, again: bool = False) -> None:
        """Process a batch of the stream: the changes of the picked items, or all changes, each item's in their order.

        Failed changes stay in the stream, and with `again` all changes do.
        """
        stream = self.replica.stream
        items = list(dict.fromkeys(_item_of(entry) for entry in stream))
        chosen = {items[pick % len(items)] for pick in picks} if items else set()
        # The event source mapping delivers versions only.
        batch = [entry for entry in stream if not chosen or _item_of(entry) in chosen]
        versions = [entry for entry in batch if _item_of(entry)[1].startswith(VERSION_PREFIX)]
        failed = self.reconciliation({"Records": versions})["batchItemFailures"]
        first = min((int(failure["itemIdentifier"]) for failure in failed), default=None)
        done = [entry for entry in batch if first is None or _number(entry) < first]
        if not again:
            self.replica.stream = [entry for entry in self.replica.stream if entry not in done]

    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines of the stream processor."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def head(self, key: RecordKey) -> Version | None:
        """Return this region's head."""
        return Index(client=self.replica, table=RECORDS, region=self.name).heads([key]).get(key)

    def conflicts(self) -> float:
        """Return the sum of the metric `Conflicts`."""
        return float(sum(line["Conflicts"][0] for line in self.lines() if "Conflicts" in line))

    def _new_id(self) -> str:
        self._issued += 1
        return f"{self.name}-{self._issued}"


class TwoRegions:
    """Both regions. `skews` are the errors of the clocks of both tables and of the four containers, in milliseconds."""

    def __init__(self, *, skews: Sequence[int] = (0,) * 6, page: int = 100) -> None:
        self.now_ms = START_MS
        walls, clocks = skews[:2], skews[2:]
        self.all = [
            Region(
                name=name,
                wall=lambda skew=walls[place]: (self.now_ms + skew) * 1000,  # type: ignore[misc]
                clocks=[
                    lambda skew=skew: self.now_ms + skew  # type: ignore[misc]
                    for skew in clocks[2 * place : 2 * place + 2]
                ],
                page=page,
            )
            for place, name in enumerate((REGION, PEER))
        ]
        self.east, self.west = self.all

    def waiting(self, to: Region) -> list[Message]:
        """Return the writes that have yet to replicate to a region."""
        return (self.west if to is self.east else self.east).replica.outbox

    def deliver(self, to: Region, pick: int = 0, *, again: bool = False) -> None:
        """Replicate one of the waiting writes to a region. With `again` it arrives once more later."""
        waiting = self.waiting(to)
        if waiting:
            place = pick % len(waiting)
            to.replica.receive(waiting[place] if again else waiting.pop(place))

    def settle(self) -> None:
        """Replicate and process everything that is waiting."""
        for _ in range(100):
            if not any(region.replica.outbox or region.replica.stream for region in self.all):
                return
            for region in self.all:
                while self.waiting(region):
                    self.deliver(region)
                if region.replica.stream:
                    region.reconcile()
        raise AssertionError("the regions never settle")


def tokens(tenant: str, resource: Resource) -> frozenset[Token]:
    """Return one index token, of the name."""
    return frozenset({Token("family", blind(tenant, str(resource["name"])))})


def blind(*parts: str) -> str:
    """Return a pseudonym, as `patient_api.secrets.Secrets.blind` does."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def request(body: object = None, **headers: str) -> Request:
    """Return a request of a caller with all scopes."""
    text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
    kind = "application/json-patch+json" if isinstance(body, list) else "application/fhir+json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        "POST", f"/fhir/{PATIENT}", CALLER, "203.0.113.9", "request-1", {"content-type": kind, **named}, body=text
    )


def _item_of(entry: dict[str, Any]) -> tuple[str, str]:
    keys = entry["dynamodb"]["Keys"]
    return keys["pk"]["S"], keys["sk"]["S"]


def _number(entry: dict[str, Any]) -> int:
    return int(entry["dynamodb"]["SequenceNumber"])
