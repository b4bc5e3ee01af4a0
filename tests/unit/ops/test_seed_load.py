"""Load patients and documents: idempotent creation, shares of both regions, retries and interruptions."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.seed import load
from healthcare_dr.ops.seed.load import Plan, Region, Seeding, SeedResult, retry_after, serving_regions, upload_in
from healthcare_dr.ops.status import Drain, Health, RegionStatus, Status
from healthcare_dr.ops.terraform.interrupts import Interrupted, Interrupts
from healthcare_dr.settings import Settings
from unit.http_server import Response
from unit.ops.fakes import RecordingProgress
from unit.ops.seed_api import SeedApi, hindering, outcome, serving, unhindered

EAST, WEST = "us-east-1", "us-west-2"


@pytest.fixture
def east(monkeypatch: pytest.MonkeyPatch) -> Iterator[SeedApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as api:
        yield api


@pytest.fixture
def west() -> Iterator[SeedApi]:
    with serving() as api:
        yield api


def run(
    progress: RecordingProgress, *apis: SeedApi, patients: int = 6, documents: int = 2, concurrency: int = 3
) -> SeedResult:
    """Load into one region, or into both with their weights."""
    regions = (Region(EAST, apis[0].url, 70), *(Region(WEST, api.url, 30) for api in apis[1:]))
    seeding = Seeding(regions=regions, token="a.signed.token", ca_bundle=None, progress=progress)
    return seeding.run(Plan(patients=patients, documents=documents, seed=1, concurrency=concurrency))


def test_patients_and_documents_are_loaded_and_counted(progress: RecordingProgress, east: SeedApi) -> None:
    done = run(progress, east)
    assert (done.patients, done.documents, done.retries, done.regions) == (6, 12, 0, {EAST: 6})
    assert len(east.created) == 18
    assert done.document_bytes == sum(map(len, east.uploaded.values()))
    assert set(east.created) == {f"hdr-seed-1-patient-{index}" for index in range(6)} | {
        f"hdr-seed-1-patient-{index}-document-{number}" for index in range(6) for number in range(2)
    }
    created = [headers for headers, call in zip(east.headers, east.calls, strict=True) if call.startswith("POST")]
    assert {headers["authorization"] for headers in created} == {"Bearer a.signed.token"}
    assert {headers["content-type"] for headers in created} == {"application/fhir+json"}
    assert progress.phases == [("patients", "loading")]
    assert [(done, total) for _, done, total, _ in progress.completed][-1] == (6, 6)
    assert progress.ended == [("patients", "6 loaded, with 12 documents")]


def test_repeated_seed_creates_nothing_twice(progress: RecordingProgress, east: SeedApi) -> None:
    run(progress, east, patients=3)
    created, uploaded = dict(east.created), dict(east.uploaded)
    again = run(progress, east, patients=4)
    assert (again.patients, again.documents) == (4, 8)
    assert {key: east.created[key] for key in created} == created
    assert {key: east.uploaded[key] for key in uploaded} == uploaded
    assert len(east.created) == 4 * 3
    # A final document offers no upload.
    assert sum(call.startswith("PUT") for call in east.calls) == 8


def test_upload_that_exists_is_no_failure(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = lambda method, _: Response(412) if method == "PUT" else None
    assert run(progress, east).documents == 12


def test_both_regions_share_the_load_by_weight(progress: RecordingProgress, east: SeedApi, west: SeedApi) -> None:
    done = run(progress, east, west, patients=200, documents=0, concurrency=8)
    assert done.regions[EAST] + done.regions[WEST] == 200
    assert 120 < done.regions[EAST] < 160
    assert len(west.created) == done.regions[WEST]
    assert not set(east.created) & set(west.created)
    # `SeedApi` rejects a document whose patient it does not have.
    assert run(progress, east, west, patients=20, documents=1, concurrency=8).documents == 20


def test_only_region_gets_all_requests_whatever_its_weight(progress: RecordingProgress) -> None:
    only = Region(WEST, "https://west", 0)
    seeding = Seeding(regions=(only,), token="a.signed.token", ca_bundle=None, progress=progress)
    assert seeding.region_of(1, 0) == only


@pytest.mark.parametrize("status", [409, 429, 502, 503, 504])
def test_retry_after_is_respected(
    progress: RecordingProgress, east: SeedApi, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 600.0)  # longer than a test may take
    east.hinder = hindering(status, outcome("busy"), Retry_After="0", numbers=lambda number: number in {1, 2, 4})
    done = run(progress, east, patients=2, documents=1, concurrency=1)
    assert (done.retries, len(east.created)) == (3, 4)


def test_busy_region_is_not_retried_before_retry_after(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = hindering(503, Retry_After="1", numbers=lambda number: number == 1)
    began = time.monotonic()
    run(progress, east, patients=1, documents=0, concurrency=1)
    assert time.monotonic() - began >= 1


def test_rejection_prints_one_line_and_ends_the_load(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = hindering(403, outcome("The token does not grant this."), numbers=lambda number: number > 3)
    with pytest.raises(DeploymentError) as error:
        run(progress, east, patients=500, documents=0)
    text = str(error.value)
    assert "in us-east-1 was rejected: 403 (is the token still valid" in text
    assert "The token does not grant this." in text
    assert "\n" not in text
    assert "a.signed.token" not in text
    # Each of the three threads may have sent another request, but starts no further patient.
    assert len(east.calls) <= 6


def test_region_that_stays_busy_prints_one_line(
    progress: RecordingProgress, east: SeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "ATTEMPTS", 3)
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 0.01)
    east.hinder = hindering(503, outcome("The store did not answer."))
    with pytest.raises(
        DeploymentError, match=r"failed 3 times: 503 The store did not answer.; the same command goes on"
    ):
        run(progress, east, concurrency=1)
    assert len(east.calls) == 3


def test_unreachable_region_prints_one_line(progress: RecordingProgress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ATTEMPTS", 2)
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DeploymentError, match=r"Patient hdr-seed-1-patient-0 in us-east-1 failed 2 times: .*refused"):
        run(progress, SeedApi(url="http://127.0.0.1:9"), concurrency=1)


def test_reused_key_with_another_body_is_reported(progress: RecordingProgress, east: SeedApi) -> None:
    east.sent["hdr-seed-1-patient-0"] = b"{}"
    with pytest.raises(
        DeploymentError,
        match=r"422 \(if another version loaded this seed, give another --seed\) The Idempotency-Key was used",
    ):
        run(progress, east, concurrency=1)


def test_interrupted_load_can_be_continued(progress: RecordingProgress, east: SeedApi) -> None:
    """Sends a real signal while requests wait for a busy region."""

    def interrupt(method: str, number: int) -> Response | None:
        if number == 4:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return Response(429, headers={"Retry-After": "600"}) if number >= 4 else None

    east.hinder = interrupt
    threads = threading.active_count()
    with Interrupts(progress=progress).installed(), pytest.raises(Interrupted):
        run(progress, east, patients=50, documents=0)
    assert len(east.created) == 3
    # The threads that waited for the busy region end too.
    deadline = time.monotonic() + 30
    while threading.active_count() > threads:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.05)
    east.hinder = unhindered
    assert run(progress, east, patients=50, documents=0).patients == 50
    assert len(east.created) == 50


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({}) is None
    assert retry_after({"retry-after": "soon"}) is None
    date = {"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}
    assert retry_after(date, now=lambda: 20.0) == 40
    assert retry_after(date, now=lambda: 90.0) == 0


def test_upload_follows_the_response() -> None:
    inner = [
        {"url": "method", "valueCode": "PUT"},
        {"url": "address", "valueUrl": "https://bucket/a"},
        {"url": "header", "valueString": "x-amz-key: arn:aws:kms:us-east-1:1:key/2"},
    ]
    extension = [{"url": "urn:healthcare-dr:sha256"}, {"url": "urn:healthcare-dr:upload", "extension": inner}]
    found = upload_in({"content": [{"attachment": {"extension": extension}}]})
    assert found is not None
    assert (found.method, found.address) == ("PUT", "https://bucket/a")
    assert found.headers == {"x-amz-key": "arn:aws:kms:us-east-1:1:key/2"}
    assert upload_in({"content": [{"attachment": {}}]}) is None


def test_response_without_an_id_is_reported(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = hindering(201)
    with pytest.raises(
        DeploymentError, match="the response of the API of us-east-1 to Patient hdr-seed-1-patient-0 has no id"
    ):
        run(progress, east, patients=1, concurrency=1)


def status(*regions: tuple[str, int | None, Health, Drain]) -> Status:
    return Status(
        target="embedded",
        suffix="dev",
        name="api",
        issuer="https://issuer",
        running=True,
        global_resources=1,
        weights_unread=None,
        regions=tuple(
            RegionStatus(
                name, "stack", 3, None if health == "not deployed" else f"https://{name}", health, drain, weight
            )
            for name, weight, health, drain in regions
        ),
    )


@pytest.mark.parametrize(
    ("weight", "health", "drain", "expected"),
    [
        (70, "healthy", "serving", [(EAST, 70), (WEST, 30)]),
        (None, "healthy", "serving", [(EAST, 60), (WEST, 30)]),
        (70, "unhealthy", "serving", [(WEST, 30)]),
        (70, "healthy", "draining", [(WEST, 30)]),
        (70, "unreachable", "serving", [(WEST, 30)]),
    ],
)
def test_serving_regions_share_the_load_by_their_weights(
    weight: int | None, health: Health, drain: Drain, expected: list[tuple[str, int]]
) -> None:
    found = status((EAST, weight, health, drain), (WEST, 30, "healthy", "serving"))
    assert serving_regions(found, Settings(primary_weight=60, secondary_weight=40)) == tuple(
        Region(name, f"https://{name}", share) for name, share in expected
    )


def test_no_serving_region_prints_one_line() -> None:
    found = status((EAST, 70, "not deployed", "serving"), (WEST, 30, "unreachable", "serving"))
    with pytest.raises(
        DeploymentError, match=r"no region serves .us-east-1 is not deployed, us-west-2 is unreachable.:"
    ):
        serving_regions(found, Settings())
