"""Drills on the deployed platform: break it in one way, and see that clients recover and that nothing is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from integration.platform_run import REGIONS, Deployed

PRIMARY, SECONDARY = REGIONS
FAST = ("--time-scale", "10")


def drill(deployed: Deployed, name: str, *options: str) -> dict[str, Any]:
    """The journal of a drill that passed; its report lies beside it."""
    before = folders(deployed)
    finished = deployed.hdr("drill", name, *options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (folder,) = folders(deployed) - before
    assert (folder / "report.html").stat().st_size > 0
    journal: dict[str, Any] = json.loads((folder / "journal.json").read_text(encoding="utf-8"))
    assert journal["outcome"] == "passed"
    assert journal["label"] == "embedded"
    assert all(condition["held"] for condition in journal["steady_state"]["after"]), journal["steady_state"]
    return journal


def folders(deployed: Deployed) -> set[Path]:
    drills = deployed.home / "drills"
    return set(drills.iterdir()) if drills.exists() else set()


def answered_from(journal: dict[str, Any], *, after: float, before: float) -> set[str]:
    """The regions whose answers clients got between two moments."""
    return {
        sample["region"]
        for sample in journal["samples"]
        if after <= sample["at"] < before and sample["status"] is not None and sample["status"] < 300
    }


@pytest.mark.requirement("C1", "C2", "C3", "R4.2")
@pytest.mark.trap(24, 27)
@pytest.mark.parametrize("fault", ["region-blackhole", "dependency-denied", "api-throttled"])
def test_a_lost_primary_is_left_by_itself_and_nothing_is_lost(deployed: Deployed, fault: str) -> None:
    journal = drill(deployed, fault, *FAST)
    milestones = journal["milestones"]
    assert milestones["first_failure"] is not None
    assert milestones["dns_changed"] is not None
    undone = min(event["at"] for event in journal["events"] if event["kind"] == "undo")
    assert answered_from(journal, after=milestones["steady_success"], before=undone) == {SECONDARY}
    assert journal["missing"][-1]["numbers"] == []


@pytest.mark.requirement("C3")
@pytest.mark.trap(1, 15)
def test_what_was_not_replicated_when_the_region_was_lost_comes_back_with_it(deployed: Deployed) -> None:
    journal = drill(deployed, "paused-then-lost", *FAST)
    at_recovery = next(missing for missing in journal["missing"] if missing["region"] == SECONDARY)
    assert at_recovery["numbers"], "nothing was written while replication stood still: the drill shows nothing"
    assert all(missing["numbers"] == [] for missing in journal["missing"][1:])


@pytest.mark.trap(20)
def test_with_both_regions_unhealthy_dns_answers_with_both(deployed: Deployed) -> None:
    journal = drill(deployed, "both-lost", *FAST)
    fault = journal["milestones"]["fault"]
    undone = min(event["at"] for event in journal["events"] if event["kind"] == "undo")
    while_lost = [
        seen
        for seen in journal["observations"]
        if fault < seen["at"] < undone
        and not any(healthy for name, healthy in seen["checks"].items() if "health " in name)
    ]
    assert while_lost, "the checks never found both regions unhealthy"
    named: dict[str, int] = {}
    for seen in while_lost:
        for region, times in seen["dns"].items():
            named[region] = named.get(region, 0) + times
    assert set(named) == set(REGIONS)


def test_a_region_that_flaps_faster_than_the_threshold_stays(deployed: Deployed) -> None:
    journal = drill(deployed, "flapping", *FAST)
    assert journal["milestones"]["dns_changed"] is None


@pytest.mark.requirement("C1", "C2")
def test_in_real_time_with_the_default_settings(deployed: Deployed) -> None:
    journal = drill(deployed, "region-refused")
    assert journal["settings"]["time_scale"] == 1
    assert 0 < journal["milestones"]["rto_seconds"] < 300
