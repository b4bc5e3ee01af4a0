"""Updates of records that other clients update as well, against two little regions."""

import ssl
import threading
import time
from typing import Any

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Sample, Write
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.optimistic_update import MARK, TURNS
from unit.ops.drill.regions import EAST, WEST, Region, Script, prober, until


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
