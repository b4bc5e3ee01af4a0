"""The clients of a drill, against two little regions that really speak HTTPS."""

import ssl
import time
from collections import Counter

import pytest
from bench.ports import free_port

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.load import generator as prober_module
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.seed.load import UPLOAD
from unit.ops.drill.regions import EAST, NAME, WEST, Region, Script, prober, until


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


def test_finish_sends_no_more_and_waits_for_what_hangs(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    probing = prober(Script(regions, EAST, 1), trust, ledger, timeout_seconds=0.5)
    regions[EAST].hang = True
    probing.start()
    until(lambda: probing.waiting_since() is not None)
    probing.finish()
    assert probing.waiting_since() is None
    assert {sample.error for sample in probing.samples()} == {"ReadTimeout"}


def test_what_ended_the_clients_early_is_known_before_they_are_stopped(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    regions[EAST].announced = {"id": 7}
    probing = prober(Script(regions, EAST, 1), trust, ledger, write_percent=100)
    probing.start()

    def failed() -> bool:
        try:
            probing.check()
        except DeploymentError as error:
            return "has no id" in str(error)
        return False

    until(failed)
    with pytest.raises(DeploymentError, match="has no id"):
        probing.stop()


@pytest.mark.parametrize("kept", [True, False])
def test_records_of_the_last_moments_before_the_method_are_not_read_in_it(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(prober_module, "SETTLED_SECONDS", 0.2)
    ledger.acknowledge(number=1, kind="patient", id="old", region=EAST)
    time.sleep(0.3)  # the age that is tested
    probing = prober(Script(regions, EAST, 60), trust, ledger, write_percent=0, update_percent=0, document_percent=0)
    if kept:
        probing.keep_records()
    ledger.acknowledge(number=2, kind="patient", id="late", region=EAST)
    probing.start()
    until(lambda: len(probing.samples()) >= 60)
    probing.stop()
    paths = {path for _, path, *_ in regions[EAST].seen}
    assert ("/fhir/Patient/late" in paths) is not kept
    assert "/fhir/Patient/old" in paths


def test_lag_grows_until_the_patient_is_readable(regions: dict[str, Region], ledger: Ledger) -> None:
    ledger.acknowledge(number=1, kind="patient", id="x", region=EAST)
    ledger.start()
    try:
        until(lambda: WEST in ledger.lag())
        regions[WEST].readable = False
        ledger.acknowledge(number=2, kind="patient", id="y", region=EAST)
        until(lambda: ledger.lag().get(WEST, 0.0) > 0.3)
        regions[WEST].readable = True
        until(lambda: ledger.lag() == (time.sleep(0.02), ledger.lag())[1])  # type: ignore[func-returns-value]
    finally:
        ledger.stop()
    assert ledger.lag()[WEST] > 0.3
    assert EAST not in ledger.lag()


def test_lag_is_not_known_before_anything_has_arrived(regions: dict[str, Region], ledger: Ledger) -> None:
    regions[WEST].readable = False
    ledger.acknowledge(number=1, kind="patient", id="x", region=EAST)
    ledger.start()
    try:
        until(lambda: len(regions[WEST].seen) > 1)
        assert ledger.lag() == {}
        assert set(ledger.awaited()) == {WEST}
        regions[WEST].readable = True
        until(lambda: not ledger.awaited())
    finally:
        ledger.stop()


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
