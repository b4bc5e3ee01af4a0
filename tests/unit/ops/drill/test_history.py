"""What a drill's clients record, and the versions that they name, against two HTTPS servers."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Operation
from healthcare_dr.ops.drill.load.client import Call, Client, Recorded, Result, with_appended
from healthcare_dr.ops.drill.load.history import FILE, OperationHistory
from healthcare_dr.ops.drill.load.ledger import Endpoint
from healthcare_dr.ops.drill.load.optimistic_update import update
from healthcare_dr.ops.drill.record_versions import FOLLOWS, VersionReader
from unit.ops.drill.fakes import ADDRESSES, EAST, HOSTS, NAME, WEST, FakeResolver, Region

Regions = dict[str, Region]


@pytest.fixture
def history() -> OperationHistory:
    return OperationHistory(time.monotonic)


class Clients:
    """A client whose name resolves to `resolver.region`; each call of `run` opens new connections."""

    def __init__(self, regions: Regions, trust: ssl.SSLContext, history: OperationHistory) -> None:
        self.resolver = FakeResolver(regions, EAST, 0)
        self._trust, self._history = trust, history
        self._session: dict[str, str] = {}

    def run(self, *steps: str, retries: int = 0, timeout_seconds: float = 5.0) -> list[Result]:
        """Perform steps of one client: `read`, `create`, or the value of an update; a region moves the client."""

        async def perform() -> list[Result]:
            client = Client(
                number=4, name=NAME, resolver=self.resolver, trust=self._trust, retries=retries,
                timeout_seconds=timeout_seconds, history=self._history,
            )  # fmt: skip
            results = []
            try:
                for step in steps:
                    if step in HOSTS:
                        self.resolver.region = step
                    elif step == "read":
                        results.append(await client.read("p1", {}))
                    elif step == "create":
                        recorded = Recorded(kind="create")
                        call = Call(method="POST", target="/fhir/Patient", headers={}, content=b"{}", recorded=recorded)
                        results.append(await client.send(call))
                    else:
                        done = await update(client, patient="p1", value=step, headers={}, dice=Random(1))  # noqa: S311 - no secret
                        results.append(done.result)
            finally:
                await client.close()
            return results

        return asyncio.run(perform())


@pytest.fixture
def clients(regions: Regions, trust: ssl.SSLContext, history: OperationHistory) -> Clients:
    return Clients(regions, trust, history)


def brief(operation: Operation) -> tuple[Any, ...]:
    return (
        operation.kind, operation.region, operation.named, operation.value, operation.status, operation.version,
        operation.values,
    )  # fmt: skip


def test_every_attempt_is_recorded_with_what_it_named_and_what_it_returned(
    regions: Regions, clients: Clients, history: OperationHistory
) -> None:
    east = regions[EAST]
    east.keep("p1", {})
    east.faster = 1
    began = time.monotonic()
    clients.run("create", "7")
    v0, v1, v2 = (east.version(number) for number in range(3))
    faster = "another client 0"
    assert [brief(each) for each in history.operations()] == [
        ("create", EAST, None, None, 201, v0, ()),
        ("read", EAST, None, None, 200, v0, ()),
        ("append", EAST, v0, "7", 412, None, ()),
        ("read", EAST, v0, None, 200, v1, (faster,)),
        ("append", EAST, v1, "7", 200, v2, (faster, "7")),
    ]
    assert {each.record for each in history.operations()} == {"p1", f"{EAST}-1"}
    assert {each.client for each in history.operations()} == {4}
    times = [moment for each in history.operations() for moment in (each.began, each.ended)]
    assert times == sorted(times)
    assert began <= times[0] < times[-1] <= time.monotonic()


def test_attempt_without_a_certain_outcome_is_indeterminate(
    regions: Regions, clients: Clients, history: OperationHistory
) -> None:
    east = regions[EAST]
    east.keep("p1", {})
    east.lost = 1
    clients.run("7", retries=1)
    _, lost, repeated, found = history.operations()
    assert (lost.status, lost.indeterminate, lost.refused, lost.done) == (503, True, False, False)
    assert (repeated.status, repeated.indeterminate, repeated.refused) == (412, False, True)
    assert found.values == ("7",)
    regions[EAST].hang = True
    clients.run("read", timeout_seconds=0.2)
    unanswered = history.operations()[-1]
    assert (unanswered.status, unanswered.region, unanswered.indeterminate) == (None, EAST, True)
    assert unanswered.ended - unanswered.began >= 0.2


def test_read_names_the_newest_version_that_the_client_knows(regions: Regions, clients: Clients) -> None:
    east = regions[EAST]
    east.keep("p1", {})
    clients.run("read", "7", "read")
    known = [f'W/"{east.version(number)}"' for number in (0, 1)]
    assert east.minimums == ["", known[0], "", known[1]], "of two reads, an update and a read"


def test_client_reads_an_older_version_when_the_region_has_not_received_its_own(
    regions: Regions, clients: Clients, history: OperationHistory
) -> None:
    for region in regions.values():
        region.keep("p1", {})
    west = regions[WEST]
    # The version of the other region is newer than what this one has.
    regions[EAST].keep("p1", {})
    *_, stale, again = clients.run("read", WEST, "read", "read")
    assert (stale.status, stale.attempts) == (200, 2)
    assert (again.status, again.attempts) == (200, 2), "the older version must not replace the one that is known"
    known = regions[EAST].version(1)
    assert [brief(each) for each in history.operations()[1:3]] == [
        ("read", WEST, known, None, 503, None, ()),
        ("read", WEST, None, None, 200, west.version(0), ()),
    ]


def test_response_without_a_version_is_an_error(regions: Regions, clients: Clients) -> None:
    regions[EAST].announced = {"meta": {}}
    with pytest.raises(DeploymentError, match="no version"):
        clients.run("create")


def test_history_is_written_as_lines_without_patient_data(
    regions: Regions, clients: Clients, history: OperationHistory, tmp_path: Path
) -> None:
    regions[EAST].keep("p1", with_appended({"name": [{"family": "Fictitious"}]}, "1"))
    clients.run("2", "read")
    path = history.write(tmp_path)
    assert path == tmp_path / FILE
    text = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line.keys() == {field.name for field in fields(Operation)} for line in lines)
    assert [tuple(line["values"]) for line in lines] == [("1",), ("1", "2"), ("1", "2")]
    assert "Fictitious" not in text


class Histories:
    """Answers reads of histories: each region's versions by id, and the next statuses that are not 200."""

    def __init__(self) -> None:
        self.now = 0.0
        self.versions: dict[str, dict[str, tuple[str, ...]]] = {EAST: {}, WEST: {}}
        self.statuses: list[int] = []
        self.arrives_at = float("inf")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.arrives_at:
            self.versions[WEST] = self.versions[EAST]

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            if not status:
                raise httpx.ReadTimeout("no")
            return httpx.Response(status)
        region = next(region for region, host in HOSTS.items() if host == request.headers["host"])
        assert request.url.path == "/fhir/Patient/p1/_history"
        entries = [
            {
                "response": {"etag": f'W/"{version}"'},
                "resource": with_appended({"id": "p1"}, version),
                "extension": [{"url": FOLLOWS, "valueId": other} for other in follows],
            }
            for version, follows in self.versions[region].items()
        ]
        return httpx.Response(200, json={"entry": entries, "link": []}) if entries else httpx.Response(404)


@pytest.fixture
def histories() -> Histories:
    return Histories()


@pytest.fixture
def reader(histories: Histories) -> Iterator[VersionReader]:
    with httpx.Client(transport=httpx.MockTransport(histories.answer)) as client:
        yield VersionReader(
            endpoints={
                region: Endpoint(region=region, host=HOSTS[region], address=ADDRESSES[region], port=9)
                for region in (EAST, WEST)
            },
            token="t",
            client=client,
            clock=lambda: histories.now,
            sleep=histories.sleep,
        )


def test_versions_are_read_until_both_regions_have_them(histories: Histories, reader: VersionReader) -> None:
    histories.versions[EAST] = {"2": ("1",), "1": ()}
    histories.arrives_at = 3.0
    found = reader.lineages(["p1"])
    assert histories.now == pytest.approx(3.0, abs=0.5)
    for region in (EAST, WEST):
        lineage = found[region]["p1"]
        assert lineage is not None
        assert (lineage.follows, lineage.lists) == ({"2": ("1",), "1": ()}, {"2": ("2",), "1": ("1",)})


def test_difference_that_stays_is_returned(histories: Histories, reader: VersionReader) -> None:
    histories.versions[EAST] = {"1": ()}
    found = reader.lineages(["p1"])
    east, west = found[EAST]["p1"], found[WEST]["p1"]
    assert east is not None
    assert west is not None
    assert (set(east.follows), set(west.follows)) == ({"1"}, set())
    assert histories.now >= 60


@pytest.mark.parametrize("status", [0, 429, 503])
def test_busy_region_is_read_again_and_then_unanswered(
    histories: Histories, reader: VersionReader, status: int
) -> None:
    histories.versions = {EAST: {"1": ()}, WEST: {"1": ()}}
    histories.statuses = [status] * 3
    assert None not in [records["p1"] for records in reader.lineages(["p1"]).values()]
    histories.statuses = [status] * 1000
    assert reader.lineages(["p1"]) == {EAST: {"p1": None}, WEST: {"p1": None}}


def test_other_errors_are_raised(histories: Histories, reader: VersionReader) -> None:
    histories.statuses = [403]
    with pytest.raises(DeploymentError, match=f"{EAST} answered 403"):
        reader.lineages(["p1"])


def test_operations_of_many_threads_are_all_recorded(history: OperationHistory) -> None:
    def record() -> None:
        for _ in range(200):
            history.add(Operation(client=1, region=EAST, record="p1", kind="read", began=0.0, ended=1.0, status=200))

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.operations()) == 800
