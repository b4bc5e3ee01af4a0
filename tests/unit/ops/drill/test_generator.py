"""The load generator and its calibration, against two HTTPS servers."""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from bench.ports import free_port
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.load import generator as module
from healthcare_dr.ops.drill.load.generator import (
    FEWEST_PER_SECOND,
    MOST_PER_SECOND,
    Calibration,
    LoadGenerator,
    from_served,
)
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.resolver import Answer
from healthcare_dr.ops.seed.load import UPLOAD
from unit.ops.drill.fakes import ADDRESSES, EAST, HOSTS, NAME, WEST, FakeResolver, Region, samples_of, until

Regions = dict[str, Region]
MakeGenerator = Callable[..., LoadGenerator]


@pytest.mark.requirement("R4.2")
def test_requests_are_due_at_the_rate_and_acknowledged_writes_are_in_the_ledger(
    regions: Regions, generator: MakeGenerator, ledger: Ledger
) -> None:
    samples = sorted(samples_of(generator(), 30), key=lambda sample: sample.at)
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
    regions: Regions, generator: MakeGenerator, ignore: bool
) -> None:
    resolver = FakeResolver(regions, EAST, 0.1)
    load = generator(resolver, ignore_ttl=ignore)
    load.start()
    until(lambda: len(load.samples()) >= 5)
    resolver.region = WEST
    if not ignore:
        until(lambda: any(sample.region == WEST for sample in load.samples()))
    until(lambda: len(load.samples()) >= 30)
    load.stop()
    assert {sample.region for sample in load.samples()} == ({EAST} if ignore else {EAST, WEST})


def test_refused_request_is_repeated_with_the_same_idempotency_key(regions: Regions, generator: MakeGenerator) -> None:
    regions[EAST].refused = 3
    first = samples_of(generator(write_percent=100, retries=3, rate=0.01))[0]
    assert (first.attempts, first.status) == (4, 201)
    assert first.longest_wait < first.seconds
    assert Counter(key for *_, key in regions[EAST].seen) == {"hdr-drill-d1-patient-0": 4}


def test_longest_wait_includes_an_attempt_that_was_repeated(regions: Regions, generator: MakeGenerator) -> None:
    east, load = regions[EAST], generator(write_percent=100, retries=1, rate=0.01, timeout_seconds=0.5)
    east.hang = True
    load.start()
    until(lambda: len(east.seen) == 2)
    east.hang = False
    until(lambda: bool(load.samples()))
    load.stop()
    assert load.samples()[0].longest_wait >= 0.5


def test_refused_connection_is_a_failure_and_stop_does_not_wait_for_a_hanging_request(
    regions: Regions, generator: MakeGenerator
) -> None:
    port, regions[EAST].port = regions[EAST].port, free_port()
    load = generator(FakeResolver(regions, EAST, 0), timeout_seconds=600)
    load.start()
    until(lambda: bool(load.samples()))
    assert (load.samples()[0].error, load.samples()[0].refused) == ("ConnectError", True)
    regions[EAST].hang, regions[EAST].port = True, port
    until(lambda: bool(regions[EAST].seen))
    load.stop()
    assert not any(sample.succeeded for sample in load.samples())


def test_finish_sends_no_more_and_waits_for_hanging_requests(regions: Regions, generator: MakeGenerator) -> None:
    load = generator(timeout_seconds=0.5)
    regions[EAST].hang = True
    load.start()
    until(lambda: load.waiting_since() is not None)
    load.finish()
    assert load.waiting_since() is None
    assert {sample.error for sample in load.samples()} == {"ReadTimeout"}
    assert all(sample.longest_wait >= 0.5 for sample in load.samples())


def test_error_that_ends_the_load_is_raised_by_check_and_stop(regions: Regions, generator: MakeGenerator) -> None:
    regions[EAST].announced = {"id": 7}
    load = generator(write_percent=100)
    load.start()

    def failed() -> bool:
        try:
            load.check()
        except DeploymentError as error:
            return "has no id" in str(error)
        return False

    until(failed)
    with pytest.raises(DeploymentError, match="has no id"):
        load.stop()


@pytest.mark.parametrize("kept", [True, False])
def test_records_written_just_before_the_method_are_not_read_in_it(
    regions: Regions, generator: MakeGenerator, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.2)
    ledger.acknowledge(number=1, kind="patient", id="old", region=EAST)
    time.sleep(0.3)  # the age that is tested
    load = generator(write_percent=0)
    if kept:
        load.keep_records()
    ledger.acknowledge(number=2, kind="patient", id="late", region=EAST)
    samples_of(load, 60)
    paths = {path for _, path, *_ in regions[EAST].seen}
    assert ("/fhir/Patient/late" in paths) is not kept
    assert "/fhir/Patient/old" in paths


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize(("status", "slow"), [(200, "POST"), (200, "PUT"), (500, "PUT")])
def test_document_is_acknowledged_after_its_upload(
    regions: Regions, generator: MakeGenerator, ledger: Ledger, status: int, slow: str
) -> None:
    east = regions[EAST]
    address = {"url": "address", "valueUrl": f"https://127.0.0.2:{east.port}/bucket/key"}
    upload = {"url": UPLOAD, "extension": [address]}
    east.delays[slow] = 0.5
    east.announced, east.upload_status = {"content": [{"attachment": {"extension": [upload]}}]}, status
    ledger.acknowledge(number=-1, kind="patient", id="old", region=EAST)
    later = generator(clock=lambda: time.monotonic() + 60, write_percent=0, document_percent=100, rate=0.01)
    sample = samples_of(later)[0]
    assert (sample.kind, sample.status) == ("document", status)
    assert 0.5 <= sample.longest_wait < sample.seconds
    assert east.bodies[0]["subject"] == {"reference": "Patient/old"}
    assert [seen[:2] for seen in east.seen] == [("POST", "/fhir/DocumentReference"), ("PUT", "/bucket/key")]
    documents = [write.id for write in ledger.writes() if write.kind == "document"]
    assert documents == ([f"{EAST}-1"] if status == 200 else [])


@pytest.mark.parametrize(
    ("served", "rate", "reason"),
    [
        (30.0, 15.0, "half of the 30.0 requests per second that this machine served in 4 s"),
        (130.0, 20.0, "the most that is needed; half of the 130.0"),
        (40.0, 20.0, "half of the 40.0"),
        (10.0, 5.0, "half of the 10.0"),
        (6.0, 5.0, "the fewest that show something; half of the 6.0"),
        (0.0, 5.0, "the fewest that show something; half of the 0.0"),
    ],
)
def test_rate_is_half_of_what_is_served_within_bounds(served: float, rate: float, reason: str) -> None:
    found = from_served(served)
    assert (found.rate, found.served_per_second) == (rate, served)
    assert found.reason.startswith(reason)


@given(st.floats(0, 1000))
def test_rate_above_the_lowest_is_at_most_half_of_what_is_served(served: float) -> None:
    rate = from_served(served).rate
    assert FEWEST_PER_SECOND <= rate <= MOST_PER_SECOND
    assert rate == FEWEST_PER_SECOND or rate <= served / 2


@pytest.fixture
def brief_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WARM_UP_SECONDS", 0.2)
    monkeypatch.setattr(module, "CALIBRATION_SECONDS", 1.0)


class HeldClock:
    """A clock that stops during a calibration, until each region has received five more requests."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._hold_at = time.monotonic() + module.WARM_UP_SECONDS + module.CALIBRATION_SECONDS / 2
        self._received: dict[str, int] | None = None
        self._held_seconds: float | None = None

    def __call__(self) -> float:
        now = time.monotonic()
        if self._held_seconds is None and now >= self._hold_at:
            received = {name: len(region.seen) for name, region in self._regions.items()}
            self._received = self._received or received
            if any(received[name] < before + 5 for name, before in self._received.items()):
                return self._hold_at
            self._held_seconds = now - self._hold_at
        return now - (self._held_seconds or 0.0)


def ends(regions: Regions) -> list[Answer]:
    return [Answer(HOSTS[name], ADDRESSES[name], app.port, 60.0) for name, app in regions.items()]


def calibrated(load: LoadGenerator) -> Calibration:
    """Run a load generator until it has determined its rate."""
    load.start()
    until(lambda: load.calibration() is not None)
    found = load.calibration()
    assert found is not None
    return found


@pytest.mark.usefixtures("brief_calibration")
def test_calibration_sends_the_mix_to_both_regions_and_leaves_no_samples(
    regions: Regions, generator: MakeGenerator, ledger: Ledger
) -> None:
    load = generator(rate=None, regions=ends(regions), clock=HeldClock(regions))
    assert load.calibration() is None
    found, samples = calibrated(load), load.samples()
    written = {write.region for write in ledger.writes()}
    until(lambda: bool(load.samples()))
    load.stop()
    assert found.served_per_second is not None
    assert found.served_per_second > 0
    assert len(samples) <= 1
    assert written == {EAST, WEST}
    numbers = [write.number for write in ledger.writes()]
    assert len(set(numbers)) == len(numbers), "two writes have the same number"


@pytest.mark.usefixtures("brief_calibration")
def test_machine_that_serves_nothing_gets_the_lowest_rate(regions: Regions, generator: MakeGenerator) -> None:
    for region in regions.values():
        region.refused = 10**6
    load = generator(rate=None, regions=ends(regions))
    found = calibrated(load)
    load.stop()
    assert (found.rate, found.served_per_second) == (FEWEST_PER_SECOND, 0.0)


def test_calibration_is_stopped_at_once(regions: Regions, generator: MakeGenerator) -> None:
    for region in regions.values():
        region.hang = True
    load = generator(rate=None, regions=ends(regions), timeout_seconds=600)
    load.start()
    until(lambda: any(region.seen for region in regions.values()))
    load.stop()
    assert load.calibration() is None
    assert load.samples() == ()


def test_given_rate_is_used_without_a_calibration(generator: MakeGenerator) -> None:
    assert generator(rate=3).calibration() == Calibration(rate=3, reason="given by the experiment or --rate")
