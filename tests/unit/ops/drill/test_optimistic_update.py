"""Updates of patients that other clients update too, against two HTTPS servers."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Sample
from healthcare_dr.ops.drill.load.client import APPENDED, PAUSE_SECONDS
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.optimistic_update import TURNS
from unit.ops.drill.fakes import EAST, WEST, FakeResolver, Region, samples_of, until

Updates = Callable[..., tuple[Sample, list[str | None]]]


def updates(generator: Callable[..., LoadGenerator], ledger: Ledger, *given: Any, **other: Any) -> LoadGenerator:
    """Return a load generator that only updates a patient, which is old enough to be read."""
    ledger.acknowledge(number=-1, kind="patient", id="old", region=EAST)
    shares = {"write_percent": 0, "update_percent": 100}
    return generator(*given, clock=lambda: time.monotonic() + 60, **shares, **other)


@pytest.fixture
def updated(generator: Callable[..., LoadGenerator], ledger: Ledger, regions: dict[str, Region]) -> Updates:
    """Return a function that sends one update to a region, and returns its sample and the acknowledged versions."""

    def update(region: str = EAST, **other: Any) -> tuple[Sample, list[str | None]]:
        sample = samples_of(updates(generator, ledger, FakeResolver(regions, region, 1), rate=0.01, **other))[0]
        writes = [write for write in ledger.writes() if write.kind == "update"]
        assert all((write.number, write.id, write.region) == (0, "old", region) for write in writes)
        return sample, [write.version for write in writes]

    return update


@pytest.fixture
def east(regions: dict[str, Region]) -> Region:
    regions[EAST].keep("old", {})
    return regions[EAST]


@pytest.mark.requirement("R4.2")
def test_update_appends_to_what_it_read_and_is_in_the_ledger_with_its_version(
    regions: dict[str, Region], updated: Updates
) -> None:
    east, other = regions[EAST], {"url": "urn:x", "valueString": "stays"}
    before = {"url": APPENDED, "valueString": "before"}
    east.keep("old", {"gender": "other", "extension": [other, before]})
    sample, versions = updated()
    assert (sample.kind, sample.status, sample.attempts, sample.region) == ("update", 200, 1, EAST)
    assert versions == [f"0000000000001-0000-{EAST}"]
    assert east.kept["old"][-1]["gender"] == "other"
    assert east.kept["old"][-1]["extension"] == [other, before, {"url": APPENDED, "valueString": "0"}]


@pytest.mark.trap(1)
@pytest.mark.parametrize(
    ("faster", "lost", "retries", "status", "attempts", "acknowledged"),
    [(2, 0, 0, 200, 5, 3), (100, 0, 0, 412, 2 * TURNS - 1, None), (0, 1, 1, 200, 3, 1), (0, 1, 0, 503, 1, None)],
    ids=["others are faster twice", "others are always faster", "its response is lost", "its region fails"],
)
def test_update_is_repeated_until_it_is_acknowledged_once(
    east: Region,
    updated: Updates,
    faster: int,
    lost: int,
    retries: int,
    status: int,
    attempts: int,
    acknowledged: int | None,
) -> None:
    east.faster, east.lost = faster, lost
    sample, versions = updated(retries=retries)
    assert (sample.status, sample.attempts) == (status, attempts)
    # Pauses between turns are no waiting for a response; the shortest is half of PAUSE_SECONDS.
    pauses = (attempts - 1) // 2 * PAUSE_SECONDS / 2
    assert 0 < sample.longest_wait <= sample.seconds - pauses
    assert versions == ([] if acknowledged is None else [f"{acknowledged:013d}-0000-{EAST}"])
    if lost:
        assert len(east.kept["old"]) == 2, "the update was made twice"


@pytest.mark.parametrize("slow", ["GET", "PUT"])
def test_longest_wait_of_an_update_includes_its_read(east: Region, updated: Updates, slow: str) -> None:
    east.delays[slow] = 0.5
    sample, _ = updated()
    assert 0.5 <= sample.longest_wait < sample.seconds


def test_update_of_a_patient_that_has_not_arrived_waits_for_it(regions: dict[str, Region], updated: Updates) -> None:
    west = regions[WEST]
    west.keep("other", {})
    threading.Timer(0.2, west.keep, ("old", {})).start()
    sample, versions = updated(WEST)
    assert sample.status == 200
    assert sample.attempts > 1
    assert versions == [f"0000000000001-0000-{WEST}"]


@pytest.mark.usefixtures("regions")
def test_response_that_is_no_patient_ends_the_load(generator: Callable[..., LoadGenerator], ledger: Ledger) -> None:
    load = updates(generator, ledger)
    load.start()
    until(lambda: not load._thread.is_alive())
    with pytest.raises(DeploymentError, match="no version"):
        load.stop()
