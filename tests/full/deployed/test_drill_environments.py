"""Two environments on one embedded AWS: drills, drains and destruction affect one of them only.

The second has a domain of its own, so that everything that uses the shared name also works with one.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.drills import FAST, drill, folders, journal_in
from support.platform import HDR, REGIONS, ROOT, SUFFIX, Deployed, eventually

NEIGHBOUR = "bee"
DOMAIN = "dr.clinic-one.org"
OWN = {"ENVIRONMENT_SUFFIX": SUFFIX}
OTHER = {"ENVIRONMENT_SUFFIX": NEIGHBOUR, "HDR_DOMAIN": DOMAIN}
PRIMARY, SECONDARY = REGIONS
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def neighbour(deployed: Deployed) -> Iterator[None]:
    """Deploy a second environment."""
    made = deployed.hdr("up", **OTHER)
    assert made.returncode == 0, made.stderr
    assert f"ENVIRONMENT_SUFFIX={NEIGHBOUR} " in made.stdout, "the printed commands do not name the environment"
    yield
    if status(deployed, OTHER)["global_resources"]:
        deployed.hdr("down", **OTHER)


def status(deployed: Deployed, environment: Mapping[str, str]) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(deployed.hdr("status", "--json", **environment).stdout)
    assert reported["suffix"] == environment["ENVIRONMENT_SUFFIX"]
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
        running = subprocess.Popen(
            [HDR, "drill", "region-refused"], cwd=ROOT, env=deployed.variables, stdout=output, stderr=output
        )
        try:
            eventually(lambda: "fault: refused" in log.read_text(encoding="utf-8") or running.poll() is not None)
            here, there = (region_of(status(deployed, environment), PRIMARY) for environment in (OWN, OTHER))
            assert "undo: refused" not in log.read_text(encoding="utf-8"), "the fault ended too early"
            # The plan begins while the control planes are denied. On a busy machine it may end after the drill.
            planned = deployed.hdr("plan", **OTHER)
        finally:
            running.wait(timeout=600)
    shown = log.read_text(encoding="utf-8")
    assert (here["health"], there["health"]) == ("unreachable", "healthy"), shown
    assert planned.returncode == 0, planned.stderr
    journal = journal_in(deployed, before, output=shown)
    assert journal["outcome"] == "passed", shown
    assert journal["milestones"]["dns_changed"] is not None


@pytest.mark.usefixtures("neighbour")
def test_region_drained_in_one_environment_serves_the_other(deployed: Deployed) -> None:
    drained = deployed.hdr("drain", PRIMARY, **OTHER)
    assert drained.returncode == 0, drained.stderr
    assert region_of(status(deployed, OTHER), PRIMARY)["drain"] == "draining"
    assert region_of(status(deployed, OWN), PRIMARY)["drain"] == "serving"
    restored = deployed.hdr("restore", PRIMARY, "--force", "--reason", "a test", **OTHER)
    assert restored.returncode == 0, restored.stderr


@pytest.mark.requirement("R4.3", "C1")
@pytest.mark.trap(31)
@pytest.mark.usefixtures("neighbour")
def test_environment_with_its_own_domain_fails_over_by_name(deployed: Deployed) -> None:
    """The clients of a drill look up the shared name and check the certificate that both regions show for it."""
    found = status(deployed, OTHER)
    assert (found["name"], [region["weight"] for region in found["regions"]]) == (f"api.{DOMAIN}", [70, 30])
    journal = drill(deployed, "region-refused", *FAST, environment=OTHER)
    assert journal["milestones"]["dns_changed"] is not None
    seen = {sample["region"] for sample in journal["samples"] if sample["status"] == 200}
    assert seen == set(REGIONS)


@pytest.mark.usefixtures("neighbour")
def test_environment_with_its_own_domain_is_ready(deployed: Deployed) -> None:
    verified = dict[str, Any]()

    def ready() -> bool:
        # Sentinels write their first heartbeats within a minute of a deployment.
        verified.update(json.loads(deployed.hdr("verify", "--json", **OTHER).stdout))
        return bool(verified["ready"])

    eventually(ready)


@pytest.mark.usefixtures("neighbour")
def test_domain_of_another_environment_is_refused(deployed: Deployed) -> None:
    third = deployed.hdr("plan", ENVIRONMENT_SUFFIX="cee", HDR_DOMAIN=DOMAIN)
    assert third.returncode == 1
    assert f"the account already has a hosted zone {DOMAIN}" in third.stderr
    assert "Traceback" not in third.stderr


@pytest.mark.usefixtures("neighbour")
def test_destroying_one_environment_keeps_the_other(deployed: Deployed) -> None:
    destroyed = deployed.hdr("down", **OTHER)
    assert destroyed.returncode == 0, destroyed.stderr
    assert status(deployed, OWN)["healthy"]
    gone = deployed.hdr("outputs", **OTHER)
    assert gone.returncode == 1
    assert "deployed" in gone.stderr
