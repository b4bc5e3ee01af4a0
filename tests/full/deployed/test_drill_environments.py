"""Two environments on one embedded AWS: drills, drains and destruction affect one of them only."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.drills import folders, journal_in
from support.platform import HDR, REGIONS, ROOT, SUFFIX, Deployed, eventually

NEIGHBOUR = "bee"
PRIMARY, SECONDARY = REGIONS
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def neighbour(deployed: Deployed) -> Iterator[None]:
    """Deploy a second environment."""
    made = deployed.hdr("up", ENVIRONMENT_SUFFIX=NEIGHBOUR)
    assert made.returncode == 0, made.stderr
    assert f"ENVIRONMENT_SUFFIX={NEIGHBOUR} " in made.stdout, "the printed commands do not name the environment"
    yield
    if status(deployed, NEIGHBOUR)["global_resources"]:
        deployed.hdr("down", ENVIRONMENT_SUFFIX=NEIGHBOUR)


def status(deployed: Deployed, suffix: str) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(deployed.hdr("status", "--json", ENVIRONMENT_SUFFIX=suffix).stdout)
    assert reported["suffix"] == suffix
    return reported


def region_of(reported: dict[str, Any], region: str) -> dict[str, Any]:
    (found,) = [one for one in reported["regions"] if one["region"] == region]
    return dict(found)


@pytest.mark.usefixtures("neighbour")
def test_region_broken_in_one_environment_serves_the_other(deployed: Deployed) -> None:
    before = folders(deployed)
    log = deployed.home.parent / "drill-beside.log"
    with log.open("wb") as output:
        # In real time, the fault lasts long enough for a plan by Terraform.
        drill = subprocess.Popen(
            [HDR, "drill", "region-refused"], cwd=ROOT, env=deployed.variables, stdout=output, stderr=output
        )
        try:
            eventually(lambda: "fault: refused" in log.read_text(encoding="utf-8") or drill.poll() is not None)
            here, there = (region_of(status(deployed, suffix), PRIMARY) for suffix in (SUFFIX, NEIGHBOUR))
            assert "undo: refused" not in log.read_text(encoding="utf-8"), "the fault ended too early"
            # The plan begins while the control planes are denied. On a busy machine it may end after the drill.
            planned = deployed.hdr("plan", ENVIRONMENT_SUFFIX=NEIGHBOUR)
        finally:
            drill.wait(timeout=600)
    shown = log.read_text(encoding="utf-8")
    assert (here["health"], there["health"]) == ("unreachable", "healthy"), shown
    assert planned.returncode == 0, planned.stderr
    journal = journal_in(deployed, before, output=shown)
    assert journal["outcome"] == "passed", shown
    assert journal["milestones"]["dns_changed"] is not None


@pytest.mark.usefixtures("neighbour")
def test_region_drained_in_one_environment_serves_the_other(deployed: Deployed) -> None:
    drained = deployed.hdr("drain", PRIMARY, ENVIRONMENT_SUFFIX=NEIGHBOUR)
    assert drained.returncode == 0, drained.stderr
    assert region_of(status(deployed, NEIGHBOUR), PRIMARY)["drain"] == "draining"
    assert region_of(status(deployed, SUFFIX), PRIMARY)["drain"] == "serving"
    restored = deployed.hdr("restore", PRIMARY, "--force", "--reason", "a test", ENVIRONMENT_SUFFIX=NEIGHBOUR)
    assert restored.returncode == 0, restored.stderr


@pytest.mark.usefixtures("neighbour")
def test_destroying_one_environment_keeps_the_other(deployed: Deployed) -> None:
    destroyed = deployed.hdr("down", ENVIRONMENT_SUFFIX=NEIGHBOUR)
    assert destroyed.returncode == 0, destroyed.stderr
    assert status(deployed, SUFFIX)["healthy"]
    gone = deployed.hdr("outputs", ENVIRONMENT_SUFFIX=NEIGHBOUR)
    assert gone.returncode == 1
    assert "deployed" in gone.stderr
