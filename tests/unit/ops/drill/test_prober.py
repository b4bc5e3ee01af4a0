"""The clients of a drill, against two little regions that really speak HTTPS."""

import asyncio
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import trustme
import uvicorn

from free_ports import free_port
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.model import Sample, Write
from healthcare_dr.ops.drill.prober import Prober
from healthcare_dr.ops.drill.resolver import Answer
from healthcare_dr.ops.drill.updating import MARK, TURNS
from healthcare_dr.ops.seed.load import UPLOAD

NAME = "api.healthcare-dr-test.com"
EAST, WEST = "us-east-1", "us-west-2"
HOSTS = {EAST: f"a.execute-api.{EAST}.amazonaws.com", WEST: f"b.execute-api.{WEST}.amazonaws.com"}
ADDRESSES = {EAST: "127.0.0.2", WEST: "127.0.0.3"}


class Region:
    """Answers reads with 200, creations with 201; `refused` says how many of the next are told 503.

    It keeps the versions of `kept` patients: `faster` are updates that somebody else makes just ahead of the next ones,
    and `lost` is how many of the next answers to an update get lost.
    """

    def __init__(self, region: str) -> None:
        self.region, self.port, self.refused, self.readable, self.hang = region, 0, 0, True, False
        self.seen: list[tuple[str, str, str, str]] = []
        self.upload_status = 200
        self.names: set[str | None] = set()
        self.announced: dict[str, Any] = {}
        self.bodies: list[dict[str, Any]] = []
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.faster, self.lost = 0, 0

    def keep(self, id: str, resource: dict[str, Any]) -> None:
        versions = self.kept.setdefault(id, [])
        meta = {"versionId": f"{len(versions):013d}-0000-{self.region}"}
        versions.append({**resource, "resourceType": "Patient", "id": id, "meta": meta})

    def update(self, id: str, if_match: str, body: bytes) -> int:
        if self.faster:
            self.faster -= 1
            self.keep(id, self.kept[id][-1] | {"extension": [{"url": MARK, "valueString": "somebody"}]})
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
        while self.hang:
            await asyncio.sleep(0.05)
        if host == NAME and self.refused:
            self.refused -= 1
            status = 503
        elif path.startswith("/fhir/Patient/") and self.kept:
            id = path.split("/")[3]
            status = 404
            if id in self.kept:
                status = 200 if method == "GET" else self.update(id, headers["if-match"], body)
                answer = json.dumps(self.kept[id][-1]).encode()
        elif method == "POST":
            self.bodies.append(json.loads(body))
            status, answer = 201, json.dumps({"id": f"{self.region}-{len(self.bodies)}", **self.announced}).encode()
        elif host in HOSTS.values() and not self.readable:
            status = 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": answer})


class Script:
    """The resolver: what the test says."""

    def __init__(self, regions: dict[str, Region], region: str, ttl: float) -> None:
        self.regions, self.region, self.ttl = regions, region, ttl

    async def resolve(self, name: str) -> Answer:
        assert name == NAME
        return Answer(HOSTS[self.region], ADDRESSES[self.region], self.regions[self.region].port, self.ttl)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def regions(authority: trustme.CA) -> Iterator[dict[str, Region]]:
    made, running = {EAST: Region(EAST), WEST: Region(WEST)}, []
    for region, app in made.items():
        app.port = free_port()
        config = uvicorn.Config(
            app, ADDRESSES[region], app.port, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        config.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME, *HOSTS.values(), *ADDRESSES.values()).configure_cert(context)
        context.sni_callback = lambda _, asked, __, names=app.names: names.add(asked)
        config.ssl = context
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
    until(lambda: all(server.started for server, _ in running))
    yield made
    for app in made.values():
        app.hang = False
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def ledger(regions: dict[str, Region], trust: ssl.SSLContext) -> Iterator[Ledger]:
    ends = {
        region: Endpoint(region=region, host=HOSTS[region], address=ADDRESSES[region], port=app.port)
        for region, app in regions.items()
    }
    with httpx.Client(verify=trust, trust_env=False) as client:
        yield Ledger(endpoints=ends, token="t", client=client, clock=time.monotonic)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def prober(script: Script, trust: ssl.SSLContext, ledger: Ledger, **other: Any) -> Prober:
    given: dict[str, Any] = {
        "name": NAME, "make_resolver": lambda: script, "token": "t", "ca": trust, "clock": time.monotonic,
        "ledger": ledger, "drill_id": "d1", "rate": 40, "clients": 2, "write_percent": 50, "document_percent": 0,
        "update_percent": 0, "retries": 0, "timeout_seconds": 5,
    }  # fmt: skip
    return Prober(**{**given, **other})


@pytest.mark.requirement("R4.2")
def test_requests_are_due_at_the_rate_and_acknowledged_writes_are_in_the_ledger(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    probing = prober(Script(regions, EAST, 1), trust, ledger)
    probing.start()
    until(lambda: len(probing.samples()) >= 30)
    probing.stop()
    samples = sorted(probing.samples(), key=lambda sample: sample.at)
    steps = [(sample.at - samples[0].at) * 40 for sample in samples]
    assert steps == pytest.approx([round(step) for step in steps], abs=1e-3)
    assert len({round(step) for step in steps}) == len(steps)
    assert all(sample.succeeded and sample.region == EAST and sample.attempts == 1 for sample in samples)
    assert {sample.client for sample in samples} == {0, 1}
    assert len(ledger.writes()) == sum(sample.kind == "write" for sample in samples) > 0
    assert {write.region for write in ledger.writes()} == {EAST}
    assert all(host == NAME for _, _, host, _ in regions[EAST].seen)
    assert regions[EAST].names == {NAME}
    patient = regions[EAST].bodies[0]
    assert patient["meta"]["security"][0]["code"] == "HTEST"
    assert patient["identifier"][0]["system"] == "urn:healthcare-dr:drill:d1"
    assert patient["name"][0]["family"] == "Fictitious"


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize("ignore", [False, True])
def test_clients_follow_the_name_unless_they_ignore_the_ttl(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger, ignore: bool
) -> None:
    script = Script(regions, EAST, 0.1)
    probing = prober(script, trust, ledger, ignore_ttl=ignore)
    probing.start()
    until(lambda: len(probing.samples()) >= 5)
    script.region = WEST
    if not ignore:
        until(lambda: any(sample.region == WEST for sample in probing.samples()))
    until(lambda: len(probing.samples()) >= 30)
    probing.stop()
    assert {sample.region for sample in probing.samples()} == ({EAST} if ignore else {EAST, WEST})


def test_what_is_refused_is_repeated_with_the_same_key(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    regions[EAST].refused = 3
    probing = prober(Script(regions, EAST, 1), trust, ledger, write_percent=100, retries=3, rate=0.01)
    probing.start()
    until(lambda: bool(probing.samples()))
    probing.stop()
    first = probing.samples()[0]
    assert (first.attempts, first.status) == (4, 201)
    assert Counter(key for *_, key in regions[EAST].seen) == {"hdr-drill-d1-patient-0": 4}


def test_nobody_who_listens_is_a_failure_and_stop_does_not_wait_for_what_hangs(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    script = Script(regions, EAST, 0)
    port, regions[EAST].port = regions[EAST].port, free_port()
    probing = prober(script, trust, ledger, timeout_seconds=600)
    probing.start()
    until(lambda: bool(probing.samples()))
    assert (probing.samples()[0].error, probing.samples()[0].refused) == ("ConnectError", True)
    regions[EAST].hang, regions[EAST].port = True, port
    until(lambda: bool(regions[EAST].seen))
    probing.stop()
    assert not any(sample.succeeded for sample in probing.samples())


def test_lag_grows_until_the_patient_is_readable(regions: dict[str, Region], ledger: Ledger) -> None:
    regions[WEST].readable = False
    ledger.acknowledge(number=1, kind="patient", id="x", region=EAST)
    ledger.start()
    try:
        until(lambda: ledger.lag().get(WEST, 0.0) > 0.3)
        regions[WEST].readable = True
        until(lambda: ledger.lag() == (time.sleep(0.02), ledger.lag())[1])  # type: ignore[func-returns-value]
    finally:
        ledger.stop()
    assert ledger.lag()[WEST] > 0.3
    assert EAST not in ledger.lag()


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize("status", [200, 500])
def test_a_document_is_acknowledged_after_its_upload(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger, status: int
) -> None:
    east = regions[EAST]
    address = {"url": "address", "valueUrl": f"https://127.0.0.2:{east.port}/bucket/key"}
    upload = {"url": UPLOAD, "extension": [address]}
    east.announced, east.upload_status = {"content": [{"attachment": {"extension": [upload]}}]}, status
    ledger.acknowledge(number=-1, kind="patient", id="old", region=EAST)
    later = prober(
        Script(regions, EAST, 1), trust, ledger, clock=lambda: time.monotonic() + 60, write_percent=0,
        document_percent=100, rate=0.01,
    )  # fmt: skip
    later.start()
    until(lambda: bool(later.samples()))
    later.stop()
    assert (later.samples()[0].kind, later.samples()[0].status) == ("document", status)
    assert east.bodies[0]["subject"] == {"reference": "Patient/old"}
    assert [(method, path) for method, path, *_ in east.seen] == [
        ("POST", "/fhir/DocumentReference"), ("PUT", "/bucket/key"),
    ]  # fmt: skip
    assert [write.id for write in ledger.writes() if write.kind == "document"] == (
        [f"{EAST}-1"] if status == 200 else []
    )


def updated(
    region: Region, trust: ssl.SSLContext, ledger: Ledger, regions: dict[str, Region], **other: Any
) -> tuple[Sample, list[Write]]:
    """One update through a region of a patient that has long been there, and what the ledger holds of it."""
    ledger.acknowledge(number=-1, kind="patient", id="old", region=EAST)
    probing = prober(
        Script(regions, region.region, 1), trust, ledger, clock=lambda: time.monotonic() + 60, write_percent=0,
        update_percent=100, rate=0.01, **other,
    )  # fmt: skip
    probing.start()
    until(lambda: bool(probing.samples()))
    probing.stop()
    return probing.samples()[0], [write for write in ledger.writes() if write.kind == "update"]


@pytest.mark.requirement("R4.2")
def test_an_update_replaces_what_it_read_and_is_in_the_ledger_with_its_version(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    east, other = regions[EAST], {"url": "urn:x", "valueString": "stays"}
    east.keep("old", {"gender": "other", "extension": [other, {"url": MARK, "valueString": "before"}]})
    sample, writes = updated(east, trust, ledger, regions)
    assert (sample.kind, sample.status, sample.attempts, sample.region) == ("update", 200, 1, EAST)
    assert [(write.number, write.id, write.region, write.version) for write in writes] == [
        (0, "old", EAST, f"0000000000001-0000-{EAST}")
    ]
    assert east.kept["old"][-1]["gender"] == "other"
    assert east.kept["old"][-1]["extension"] == [other, {"url": MARK, "valueString": "d1-0"}]


def test_an_update_that_somebody_overtakes_reads_again(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    east = regions[EAST]
    east.keep("old", {})
    east.faster = 2
    sample, writes = updated(east, trust, ledger, regions)
    assert (sample.status, sample.attempts) == (200, 5)
    assert [write.version for write in writes] == [f"0000000000003-0000-{EAST}"]


def test_an_update_gives_up_when_others_always_are_faster(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    east = regions[EAST]
    east.keep("old", {})
    east.faster = 100
    sample, writes = updated(east, trust, ledger, regions)
    assert (sample.status, sample.attempts, writes) == (412, 2 * TURNS - 1, [])


@pytest.mark.trap(1)
def test_an_update_whose_answer_got_lost_is_acknowledged_once_and_not_made_twice(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    east = regions[EAST]
    east.keep("old", {})
    east.lost = 1
    sample, writes = updated(east, trust, ledger, regions, retries=1)
    assert (sample.status, sample.attempts) == (200, 3)
    assert [write.version for write in writes] == [f"0000000000001-0000-{EAST}"]
    assert len(east.kept["old"]) == 2


def test_an_update_of_what_is_not_there_yet_waits_for_it(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    west = regions[WEST]
    west.keep("other", {})
    threading.Timer(0.2, west.keep, ("old", {})).start()
    sample, writes = updated(west, trust, ledger, regions)
    assert sample.status == 200
    assert sample.attempts > 1
    assert [(write.region, write.version) for write in writes] == [(WEST, f"0000000000001-0000-{WEST}")]


def test_an_update_whose_region_fails_is_not_acknowledged(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    east = regions[EAST]
    east.keep("old", {})
    east.lost = 1
    sample, writes = updated(east, trust, ledger, regions)
    assert (sample.status, sample.attempts, writes) == (503, 1, [])


def test_what_is_no_patient_of_the_platform_ends_the_prober(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    ledger.acknowledge(number=-1, kind="patient", id="old", region=EAST)
    probing = prober(
        Script(regions, EAST, 1), trust, ledger, clock=lambda: time.monotonic() + 60, write_percent=0,
        update_percent=100,
    )  # fmt: skip
    probing.start()
    until(lambda: not probing._thread.is_alive())
    with pytest.raises(DeploymentError, match="no version"):
        probing.stop()
