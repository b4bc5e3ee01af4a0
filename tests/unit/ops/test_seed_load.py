"""Loading: every creation once, from both regions, through busy times and interruptions."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.seed import Plan, Region, Seeding, load
from healthcare_dr.ops.seed.load import retry_after, upload_in
from healthcare_dr.ops.terraform.interrupts import Interrupted, Interrupts
from unit.ops.fakes import RecordingProgress
from unit.ops.seed_api import Answer, SeedApi, hindering, outcome, serving, unhindered

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


def seeding(progress: RecordingProgress, *regions: Region) -> Seeding:
    return Seeding(regions=regions, token="a.signed.token", ca_bundle=None, progress=progress)


def plan(patients: int = 6, documents: int = 2, seed: int = 1, concurrency: int = 3) -> Plan:
    return Plan(patients=patients, documents=documents, seed=seed, concurrency=concurrency)


def test_patients_and_documents_are_loaded_and_counted(progress: RecordingProgress, east: SeedApi) -> None:
    done = seeding(progress, Region(EAST, east.url, 70)).run(plan())
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


def test_a_repeated_seed_creates_nothing_twice(progress: RecordingProgress, east: SeedApi) -> None:
    region = Region(EAST, east.url, 1)
    seeding(progress, region).run(plan(patients=3))
    created, uploaded = dict(east.created), dict(east.uploaded)
    again = seeding(progress, region).run(plan(patients=4))
    assert (again.patients, again.documents) == (4, 8)
    assert {key: east.created[key] for key in created} == created
    assert {key: east.uploaded[key] for key in uploaded} == uploaded
    assert len(east.created) == 4 * 3
    # What is final asks for no upload.
    assert sum(call.startswith("PUT") for call in east.calls) == 8


def test_an_upload_that_is_there_already_is_no_failure(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = lambda method, _: (412, {}, {}) if method == "PUT" else None
    assert seeding(progress, Region(EAST, east.url, 1)).run(plan()).documents == 12


def test_both_regions_share_the_load_by_weight(progress: RecordingProgress, east: SeedApi, west: SeedApi) -> None:
    regions = Region(EAST, east.url, 70), Region(WEST, west.url, 30)
    done = seeding(progress, *regions).run(plan(patients=200, documents=0, concurrency=8))
    assert done.regions[EAST] + done.regions[WEST] == 200
    assert 120 < done.regions[EAST] < 160
    assert len(west.created) == done.regions[WEST]
    assert not set(east.created) & set(west.created)
    # The documents of a patient go where the patient went.
    more = seeding(progress, *regions).run(plan(patients=20, documents=1, concurrency=8))
    assert more.documents == 20
    assert len(seeding(progress, Region(WEST, west.url, 0)).region_of(1, 0).name) == len(WEST)


@pytest.mark.parametrize("status", [409, 429, 502, 503, 504])
def test_retry_after_is_respected(
    progress: RecordingProgress, east: SeedApi, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    # Longer than a test may take.
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 600.0)

    east.hinder = hindering((status, {"Retry-After": "0"}, outcome("busy")), numbers=lambda number: number in {1, 2, 4})
    done = seeding(progress, Region(EAST, east.url, 1)).run(plan(patients=2, documents=1, concurrency=1))
    assert (done.retries, len(east.created)) == (3, 4)


def test_busy_region_is_not_retried_before_retry_after(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = hindering((503, {"Retry-After": "1"}, {}), numbers=lambda number: number == 1)
    began = time.monotonic()
    seeding(progress, Region(EAST, east.url, 1)).run(plan(patients=1, documents=0, concurrency=1))
    assert time.monotonic() - began >= 1


def test_rejection_prints_one_line_and_ends_the_load(progress: RecordingProgress, east: SeedApi) -> None:
    east.hinder = hindering((403, {}, outcome("The token does not grant this.")), numbers=lambda number: number > 3)
    with pytest.raises(DeploymentError) as error:
        seeding(progress, Region(EAST, east.url, 1)).run(plan(patients=500, documents=0))
    said = str(error.value)
    assert "in us-east-1 was refused: 403 (is the token still valid" in said
    assert "The token does not grant this." in said
    assert "\n" not in said
    assert "a.signed.token" not in said
    # Each of the three at work may have been in a call, but nobody begins another patient.
    assert len(east.calls) <= 6


def test_region_that_stays_busy_prints_one_line(
    progress: RecordingProgress, east: SeedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "ATTEMPTS", 3)
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 0.01)
    east.hinder = hindering((503, {}, outcome("The store did not answer.")))
    with pytest.raises(
        DeploymentError, match=r"failed 3 times: 503 The store did not answer.; the same command goes on"
    ):
        seeding(progress, Region(EAST, east.url, 1)).run(plan(concurrency=1))
    assert len(east.calls) == 3


def test_unreachable_region_prints_one_line(progress: RecordingProgress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ATTEMPTS", 2)
    monkeypatch.setattr(load, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DeploymentError, match=r"Patient hdr-seed-1-patient-0 in us-east-1 failed 2 times: .*refused"):
        seeding(progress, Region(EAST, "http://127.0.0.1:9", 1)).run(plan(concurrency=1))


def test_reused_key_with_another_body_is_reported(progress: RecordingProgress, east: SeedApi) -> None:
    east.sent["hdr-seed-1-patient-0"] = b"{}"
    with pytest.raises(DeploymentError, match="422 The Idempotency-Key was used with another request before"):
        seeding(progress, Region(EAST, east.url, 1)).run(plan(concurrency=1))


def test_ctrl_c_ends_the_load_and_the_same_load_goes_on(progress: RecordingProgress, east: SeedApi) -> None:
    """A real signal, while calls wait for a busy region."""

    def interrupt(method: str, number: int) -> Answer | None:
        if number == 4:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return (429, {"Retry-After": "600"}, {}) if number >= 4 else None

    east.hinder = interrupt
    region = Region(EAST, east.url, 1)
    threads = threading.active_count()
    with Interrupts(progress=progress).installed(), pytest.raises(Interrupted):
        seeding(progress, region).run(plan(patients=50, documents=0))
    assert len(east.created) == 3
    # Workers that waited for the busy region end too.
    deadline = time.monotonic() + 30
    while threading.active_count() > threads:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.05)
    east.hinder = unhindered
    assert seeding(progress, region).run(plan(patients=50, documents=0)).patients == 50
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
    east.hinder = hindering((201, {}, {}))
    with pytest.raises(DeploymentError, match="answered Patient hdr-seed-1-patient-0 with something that has no id"):
        seeding(progress, Region(EAST, east.url, 1)).run(plan(patients=1, concurrency=1))
