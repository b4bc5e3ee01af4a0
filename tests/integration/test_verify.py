"""`hdr verify` on the deployed platform: it finds nothing, then each damage and nothing else, and changes nothing."""

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config

from free_ports import free_port
from healthcare_dr.ops import wiring
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.assembly import live_of
from healthcare_dr.ops.verify.catalog import CATALOG
from healthcare_dr.ops.verify.model import Check, Finding, Verification
from healthcare_dr.ops.verify.rounds import verify
from healthcare_dr.settings import Settings
from integration import damages_alerting, damages_data, damages_keys, damages_service, damages_traffic
from integration.damages import DAMAGES, EAST, WEST, Damage
from integration.platform_run import SUFFIX, Deployed

MODULES = (damages_alerting, damages_data, damages_keys, damages_service, damages_traffic)

# What the embedded AWS cannot play: see tests/unit/ops/verify.
ELSEWHERE = {"table-active", "table-stream", "documents-failed", "quotas", "state", "delegation", "certificate"}
FIRST_HERE = {
    "R2.2", "R6.1", "R6.2", "R7.1", "R7.2", "trap 7", "trap 17", "trap 21", "trap 22", "trap 23", "trap 25", "trap 28",
    "trap 32", "trap 33", "trap 34", "trap 41",
}  # fmt: skip
READS = ("Get", "List", "Describe", "Head", "Query", "Simulate")


@dataclass(frozen=True)
class Recording:
    """A target that notes every operation asked of AWS, and that may have lost a region."""

    inner: Any
    lost: str | None = None
    asked: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return str(self.inner.name)

    def read_state(self, stack: str) -> Any:
        return self.inner.read_state(stack)

    def ca_bundle(self) -> Path | None:
        return self.inner.ca_bundle()  # type: ignore[no-any-return]

    def doors(self) -> Mapping[str, tuple[str, int]]:
        return self.inner.doors()  # type: ignore[no-any-return]

    def client(self, service: str, region: str) -> Any:
        if region == self.lost:
            return boto3.client(
                service, region_name=region, endpoint_url=f"https://127.0.0.1:{free_port()}",
                aws_access_key_id="1", aws_secret_access_key="2", config=Config(retries={"total_max_attempts": 1}),
            )  # fmt: skip
        client = self.inner.client(service, region)
        client.meta.events.register("before-call.*.*", self._note)
        return client

    def _note(self, model: Any, **_: Any) -> None:
        self.asked.add(f"{model.service_model.service_name}:{model.name}")


def settings_of(deployed: Deployed, **changed: Any) -> Settings:
    return Settings(
        _env_file=None, ENVIRONMENT_SUFFIX=SUFFIX, home=deployed.home, emulator_port=deployed.port, **changed
    )


def verified(
    deployed: Deployed, *names: str, later: timedelta = timedelta(), lost: str | None = None, **changed: Any
) -> tuple[Verification, set[str]]:
    """What is found by these checks, or by all, and which operations were asked for."""
    settings = settings_of(deployed, **changed)
    target = Recording(wiring.target_of(settings, "embedded"), lost=lost)
    live = live_of(
        settings, cast("Target", target), wiring.emulator_of(settings), now=lambda: datetime.now(UTC) + later
    )
    checks: list[Check] = [CATALOG[name] for name in names or CATALOG]
    return verify(live, checks), target.asked


def told(finding: Finding) -> str:
    return f"{finding.severity} {finding}"


@pytest.fixture(scope="module")
def beating(deployed: Deployed) -> Deployed:
    """The platform without conflicts, and with fresh heartbeats, which each region's sentinel writes every minute."""
    deployed.settle_conflicts()
    for region in (EAST, WEST):
        damages_data.beat(deployed, region)
    deployed.settle()
    return deployed


@pytest.fixture(scope="module")
def noted(beating: Deployed) -> set[str]:
    """What there is to note before any damage: nobody is subscribed."""
    done, _ = verified(beating)
    return {told(finding) for finding in done.findings if finding.severity == "note"}


def test_the_platform_is_ready(beating: Deployed) -> None:
    done, asked = verified(beating)
    assert [told(finding) for finding in done.findings if finding.severity != "note"] == []
    assert done.ready
    assert set(done.asked) == {"reachable", *CATALOG}
    assert done.seconds < 30
    assert len(asked) > 40
    assert {name for name in asked if not name.partition(":")[2].startswith(READS)} == set()


def marked(damage: Damage) -> Any:
    """The damage, with those requirements and traps of its check that are proven on live resources here first."""
    numbers = [number for number in CATALOG[damage.check].numbers if number in FIRST_HERE]
    marks = [
        pytest.mark.trap(int(number.removeprefix("trap ")))
        if number.startswith("trap")
        else pytest.mark.requirement(number)
        for number in numbers
    ]
    return pytest.param(damage, id=damage.name, marks=marks)


@pytest.mark.parametrize("damage", [marked(damage) for damage in DAMAGES.values()])
def test_a_damage_is_found(beating: Deployed, noted: set[str], damage: Damage) -> None:
    with ExitStack() as undone:
        undone.enter_context(damage.play(beating))
        done, _ = verified(beating, damage.check, later=damage.later, **damage.settings)
    found = [finding for finding in done.findings if told(finding) not in noted]
    assert len(found) == 1, [told(finding) for finding in found]
    finding = found[0]
    assert finding.region == damage.region
    assert finding.severity == damage.severity
    assert damage.says in finding.problem
    assert finding.numbers
    assert done.ready == (damage.severity == "note")


def test_every_check_is_damaged() -> None:
    assert {damage.check for damage in DAMAGES.values()} == CATALOG.keys() - ELSEWHERE


def test_a_region_that_does_not_answer_is_a_finding(beating: Deployed) -> None:
    began = time.monotonic()
    done, _ = verified(beating, lost=WEST)
    assert time.monotonic() - began < 40
    (lost,) = [finding for finding in done.findings if finding.check == "reachable"]
    assert (lost.region, lost.severity) == (WEST, "unknown")
    assert not done.ready
    assert [told(finding) for finding in done.findings if finding.severity == "failure"] == []
    assert [finding for finding in done.findings if finding.region == WEST] == [lost]


def test_the_command_tells_and_exits_by_what_it_finds(beating: Deployed) -> None:
    assert beating.reported("verify")["ready"]
    with played("no-versions", beating):
        broken = beating.hdr("verify", "--only", "bucket-versioning", "--json")
        shown = beating.hdr("verify", "--only", "bucket-versioning", "--only", "bucket-closed")
    assert (broken.returncode, shown.returncode) == (1, 1)
    (finding,) = json.loads(broken.stdout)["findings"]
    assert (finding["check"], finding["severity"], finding["region"]) == ("bucket-versioning", "failure", WEST)
    assert "recovery would NOT work" in shown.stdout
    assert "R3.2" in shown.stdout
    assert "Asking 2 questions" in shown.stderr


def test_a_region_that_is_not_ready_is_not_restored(beating: Deployed) -> None:
    beating.reported("drain", WEST, "--no-wait")
    try:
        with played("no-versions", beating):
            refused = beating.hdr("restore", WEST, "--no-wait")
        assert refused.returncode == 1
        assert "bucket-versioning" in refused.stderr
        assert "hdr verify" in refused.stderr
        assert beating.reported("restore", WEST, "--no-wait")["changed"]
    finally:
        beating.hdr("restore", WEST, "--no-wait", "--force", "--reason", "the test is over")


def test_everything_is_undone(beating: Deployed, noted: set[str]) -> None:
    done, _ = verified(beating)
    assert {told(finding) for finding in done.findings} == noted


def played(name: str, deployed: Deployed) -> Any:
    return DAMAGES[name].play(deployed)
