"""Two regions that run the API and the stream processor on fake replicas of one global table, and their invariants.

Writes take effect at once in their region and replicate item by item. Of two writes to an item, the later one by
DynamoDB's clock wins in every replica (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html).
A write is always later than the one that it replaces in its region.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, cast

from patient_api.aws import Clients
from patient_api.bootstrap import Services, stream_processor
from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT, LINEAGE_PREFIX, PATIENT, VERSION_PREFIX
from patient_api.http.caller import Caller
from patient_api.http.payload import Resource
from patient_api.http.request import Request
from patient_api.logging import StructuredLog
from patient_api.store.index import Index
from patient_api.store.model import RecordKey, Token, Version, head_sk
from patient_api.store.stream import StreamProcessor
from unit.patient_api.fakes.aws import (
    ENVIRONMENT,
    PEER,
    RECORDS,
    REGION,
    START_MS,
    FakeClients,
    FakeDynamoDB,
    Item,
    Key,
    client_error,
    key_of,
)
from unit.patient_api.fakes.log import FakeLog

TENANT = "north-clinic"
CALLER = Caller(TENANT, "app-1", frozenset({("*", letter) for letter in "cruds"}))
THROTTLED = client_error("ThrottlingException")
Lineage = dict[str, set[str]]


class ImmediateExecutor(Executor):
    """Runs each call before `submit` returns, so that failing examples are reproducible."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Moment(NamedTuple):
    """The time of a write by DynamoDB's clock, by which the last writer wins."""

    micros: int
    region: str


class Message(NamedTuple):
    """A write that has yet to replicate. `item` is None for a deletion."""

    table: str
    key: Key
    item: Item | None
    moment: Moment


class Replica(FakeDynamoDB):
    """A client of one region. `wall` is the clock of its DynamoDB, in microseconds.

    `outbox` has the writes to replicate, `stream` the changes of the `replicated` tables for the stream processor.
    """

    def __init__(
        self, *, region: str, wall: Callable[[], int], page: int = 100, replicated: Collection[str] = (RECORDS,)
    ) -> None:
        super().__init__(page=page)
        self.region = region
        self.outbox: list[Message] = []
        self.stream: list[dict[str, Any]] = []
        self._wall = wall
        self.time = lambda: wall() / 1_000_000
        self._replicated = replicated
        self._moments: dict[tuple[str, Key], Moment] = {}
        self._sequence = 1000

    @property
    def records(self) -> dict[Key, Item]:
        """The items of the records table."""
        return self.tables[RECORDS]

    def receive(self, message: Message) -> None:
        """Apply a write from the other region, unless there is a later one."""
        known = self._moments.get((message.table, message.key))
        if known is None or message.moment > known:
            self._store(message)

    def add(self, table: str, item: Item) -> None:
        """Put an item, as an operator does."""
        self._write(table, key_of(item), item)

    def remove(self, table: str, key: Key) -> None:
        """Delete an item, as an operator does."""
        self._write(table, key, None)

    def _put(self, table: str, item: Item) -> None:
        if table in self._replicated:
            self._write(table, key_of(item), item)
        else:
            super()._put(table, item)

    def _write(self, table: str, key: Key, item: Item | None) -> None:
        known = self._moments.get((table, key))
        micros = max(self._wall(), known.micros + 1) if known else self._wall()
        message = Message(table, key, item, Moment(micros, self.region))
        self._store(message)
        self._send(message)

    def _store(self, message: Message) -> None:
        table, key, item = message.table, message.key, message.item
        before = self.tables[table].get(key)
        self._moments[table, key] = message.moment
        if item is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = item
        # A write without a change is not in the stream.
        if before != item:
            self._sequence += 1
            self._publish(
                {
                    "eventName": "REMOVE" if item is None else "MODIFY" if before else "INSERT",
                    "eventSourceARN": f"arn:aws:dynamodb:{self.region}:123456789012:table/{table}/stream/now",
                    "dynamodb": {
                        "Keys": {"pk": {"S": key[0]}, "sk": {"S": key[1]}},
                        **({} if item is None else {"NewImage": item}),
                        "SequenceNumber": str(self._sequence),
                    },
                }
            )

    def _send(self, message: Message) -> None:
        self.outbox.append(message)

    def _publish(self, change: dict[str, Any]) -> None:
        self.stream.append(change)


class Container:
    """One process of the API, with its own clock."""

    def __init__(self, *, region: "Region", now_ms: Callable[[], int], ids: Callable[[], str]) -> None:
        services = Services(
            environment=replace(
                ENVIRONMENT,
                region=region.name,
                peer_region=PEER if region.name == REGION else REGION,
                # The clocks of these tests differ by up to 40 s.
                clock_bound=60,
            ),
            clients=region.clients,
            log=StructuredLog(service="patient-api", region=region.name, stream=FakeLog()),
            now=lambda: now_ms() / 1000,
            monotonic=lambda: 0.0,
            pause=lambda _seconds: None,
            new_id=ids,
        )
        services.pool = cast("ThreadPoolExecutor", ImmediateExecutor())
        services.context = replace(services.context, tokens=tokens)
        self.records = services.records
        self.patients = services.patients
        self.creation = services.creation

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
        self.clients = cast("Clients", FakeClients(self.replica))
        self.containers = [Container(region=self, now_ms=now_ms, ids=self._new_id) for now_ms in clocks]
        self.log = FakeLog()
        self.reconciliation: StreamProcessor = stream_processor(
            ENVIRONMENT.variables() | {"AWS_REGION": name},
            clients=self.clients,
            log=StructuredLog(service="reconciliation", region=name, stream=self.log),
        )

    def reconcile(self, picks: Iterable[int] = (), *, again: bool = False) -> None:
        """Process a batch of the stream: the changes of the picked items, or all changes, each item's in their order.

        Failed changes stay in the stream, and with `again` all changes do.
        """
        stream = self.replica.stream
        items = list(dict.fromkeys(_item_of(entry) for entry in stream))
        chosen = {items[pick % len(items)] for pick in picks} if items else set()
        batch = [entry for entry in stream if not chosen or _item_of(entry) in chosen]
        failed = self.reconciliation({"Records": of_versions(batch)})["batchItemFailures"]
        first = min((int(failure["itemIdentifier"]) for failure in failed), default=None)
        done = [entry for entry in batch if first is None or _number(entry) < first]
        if not again:
            self.replica.stream = [entry for entry in self.replica.stream if entry not in done]

    def head(self, key: RecordKey) -> Version | None:
        """Return this region's head."""
        return Index(client=self.replica, table=RECORDS, region=self.name).heads([key]).get(key)

    def conflicts(self) -> float:
        """Return the sum of the metric `Conflicts`."""
        return self.log.metrics().get("Conflicts", 0)

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
                    lambda skew=skew: self.now_ms + skew  # type: ignore[misc] # a lambda with a default
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

    def deliver_all(self, to: Region) -> None:
        """Replicate all waiting writes to a region."""
        while self.waiting(to):
            self.deliver(to)

    def settle(self) -> None:
        """Replicate and process everything that is waiting."""
        for _ in range(100):
            if not any(region.replica.outbox or region.replica.stream for region in self.all):
                return
            for region in self.all:
                self.deliver_all(region)
                if region.replica.stream:
                    region.reconcile()
        raise AssertionError("the regions never settle")


def tokens(_tenant: str, resource: Resource) -> frozenset[Token]:
    """Return one index token, of the name, so that few items replicate."""
    return frozenset({Token("family", sha256(str(resource["name"]).encode()).hexdigest())})


def request(body: object = None, **headers: str) -> Request:
    """Return a request of a caller with all scopes."""
    text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
    kind = "application/json-patch+json" if isinstance(body, list) else "application/fhir+json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method="POST",
        path=f"/fhir/{PATIENT}",
        caller=CALLER,
        source_ip="203.0.113.9",
        request_id="request-1",
        received=datetime.fromtimestamp(START_MS / 1000, UTC),
        headers={"content-type": kind, **named},
        body=text,
    )


def of_versions(stream: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the changes of versions and lineage items, which are all that the event source mapping delivers."""
    return [entry for entry in stream if _item_of(entry)[1].startswith((VERSION_PREFIX, LINEAGE_PREFIX))]


def _item_of(entry: dict[str, Any]) -> tuple[str, str]:
    keys = entry["dynamodb"]["Keys"]
    return keys["pk"]["S"], keys["sk"]["S"]


def _number(entry: dict[str, Any]) -> int:
    return int(entry["dynamodb"]["SequenceNumber"])


def lineage_of(replica: Replica, pk: str) -> Lineage:
    """Return the versions that each version in a replica follows, whether or not its lineage item is there.

    `0` stands for none.
    """
    return lineage(item for (partition, _), item in replica.records.items() if partition == pk)


def lineage(items: Iterable[Item]) -> Lineage:
    """Return the same, for the items of a record."""
    return {
        item["version"]["S"]: {
            item.get("replaces", {"S": "0"})["S"],
            *(merged["S"] for merged in item.get("merges", {"L": []})["L"]),
        }
        for item in items
        if item["sk"]["S"].startswith(VERSION_PREFIX)
    }


def united(items: Iterable[Item]) -> Lineage:
    """Return the same, with what equal siblings follow besides: see the text of `patient_api.store.reconciliation`."""
    versions = {item["version"]["S"]: item for item in items if item["sk"]["S"].startswith(VERSION_PREFIX)}

    def equal(one: str, other: str) -> bool:
        names = ("replaces", "digest")
        here, there = (tuple(str(versions[stamp].get(name)) for name in names) for stamp in (one, other))
        return one != other and here == there

    raw = lineage(versions.values())
    for stamp in sorted(raw):
        ahead = sorted(raw[stamp])
        for other in versions:
            if other < stamp and equal(stamp, other):
                ahead.append(other)
        while ahead:
            followed = ahead.pop()
            raw[stamp].add(followed)
            for ancestor in behind(followed, raw) & versions.keys():
                for other in versions:
                    if followed < other < stamp and equal(ancestor, other) and other not in raw[stamp]:
                        ahead.append(other)
    return raw


def check_consistency(regions: TwoRegions) -> None:
    """Check that the replicas are consistent, and that all conflicts were counted."""
    check_replicas(regions.east.replica, regions.west.replica)
    counted = regions.east.conflicts() + regions.west.conflicts()
    assert counted >= sum(sk.startswith("c#") for _, sk in regions.east.replica.records)


def check_replicas(east: Replica, west: Replica) -> None:
    """Check that the replicas are equal, heads are the newest versions, and markers name all siblings.

    Each version has a lineage item with the same links and digest, and each lineage item a version.

    Of documents, the head of both regions is at the same version.
    """
    assert east.records == west.records
    records = {pk for pk, sk in east.records if sk.startswith(VERSION_PREFIX)}
    assert records or not east.records
    assert _lineage_facts(east, LINEAGE_PREFIX) == _lineage_facts(east, VERSION_PREFIX)
    markers = {key: item for key, item in east.records.items() if key[1].startswith("c#")}
    for pk in records:
        if pk.split("#")[1] == DOCUMENT:
            at = {east.records[pk, head_sk(region)]["version"]["S"] for region in (east.region, west.region)}
            assert len(at) == 1, "the heads are at different versions"
            markers = {key: item for key, item in markers.items() if key[0] != pk}
            continue
        lineage = united(item for (partition, _), item in east.records.items() if partition == pk)
        newest = east.records[pk, f"v#{max(lineage)}"]
        for region in (east.region, west.region):
            head = east.records[pk, head_sk(region)]
            assert head["version"] == head["updated"] == newest["version"], "the head is not the newest version"
            assert head.get("resource") == newest.get("resource")
            assert head["update_shard"]["S"].endswith(f"#{region}")
        for followed in set().union(*lineage.values()):
            _check_marker(followed, lineage, markers.pop((pk, f"c#{followed}"), None))
    assert not markers, "there is a marker without siblings"


def _lineage_facts(replica: Replica, prefix: str) -> dict[Key, Item]:
    """Return what lineage items repeat of versions, by partition and stamp, in the items of either kind."""
    names = ("version", "digest", "replaces", "merges")
    return {
        (pk, sk.removeprefix(prefix)): {name: item[name] for name in names if name in item}
        for (pk, sk), item in replica.records.items()
        if sk.startswith(prefix)
    }


def _check_marker(followed: str, lineage: Lineage, marker: Item | None) -> None:
    siblings = {stamp for stamp, follows in lineage.items() if followed in follows}
    united = {stamp for stamp in lineage if siblings <= behind(stamp, lineage)}
    if len(siblings) < 2:
        assert marker is None
        return
    if marker is None:
        assert united & siblings, "siblings have no marker"
        return
    assert [member["S"] for member in marker["members"]["L"]] == sorted(siblings)
    assert marker["version"]["S"] == max(siblings)
    assert (marker.get("update_shard", {}).get("S") == "$platform#conflicts") == (not united)
    assert ("resolved" in marker) == bool(united)
    assert not united or marker["resolved"]["S"] in united


def behind(stamp: str, lineage: Lineage) -> set[str]:
    """Return a version and all that it descends from."""
    found, ahead = {stamp}, [stamp]
    while ahead:
        for other in lineage.get(ahead.pop(), ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return found
