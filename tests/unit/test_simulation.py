"""The simulation of both regions: random seeds, scenarios, and proof that these find defects.

`tests/simulation` describes it, and CONTRIBUTING.md how to replay a seed.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation.damages import (
    DAMAGES,
    Damage,
    clock_that_ran_ahead_not_reset,
    future_not_followed,
    version_awaited_for_ever,
)
from simulation.run import Outcome, Plan, run, run_many, shortened
from simulation.scenarios import (
    SCENARIOS,
    Scenario,
    play,
    retry_in_the_other_region,
    sibling_satisfies_minimum_version,
    version_from_the_future,
    version_no_longer_on_its_way,
    version_on_its_way,
    wrong_clock,
)

SEEDS = 300
PARTS = 2
"""One for each core."""
ROOT = Path(__file__).parents[2]


def explained(outcome: Outcome) -> str:
    """Return why a seed failed, and how to replay it."""
    found = "\n".join(map(str, outcome.violations))
    return f"seed {outcome.plan.seed}: {found}\nreplay in tests/ with: python -m simulation {outcome.plan.seed}"


@pytest.mark.trap(1, 2, 3)
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_acknowledged_write_is_lost_in_any_seed(part: int, record_property: Callable[[str, object], None]) -> None:
    summary = run_many(range(part, SEEDS, PARTS))
    record_property("summary", str(summary))
    assert not summary.failed, "\n".join(map(explained, summary.failed))
    assert summary.runs == SEEDS // PARTS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_holds(scenario: Callable[[Scenario], None]) -> None:
    assert play(scenario) == []


@pytest.mark.parametrize(
    ("damage", "scenario", "check"),
    [
        (DAMAGES["version_on_its_way_refused"], version_on_its_way, "a version on its way is not refused"),
        (version_awaited_for_ever, version_no_longer_on_its_way, "a request is not awaiting a version for ever"),
        (
            DAMAGES["sibling_satisfies_minimum_version"],
            sibling_satisfies_minimum_version,
            "a region that answers has the version in Minimum-Version or one that descends from it",
        ),
        (DAMAGES["clock_not_checked"], wrong_clock, "no version is stamped by a wrong clock"),
        (future_not_followed, version_from_the_future, "a version from the future is followed"),
        (clock_that_ran_ahead_not_reset, version_from_the_future, "no version is stamped by a wrong clock"),
        (DAMAGES["equal_siblings_conflict"], retry_in_the_other_region, "siblings that are equal do not conflict"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_defect_is_found_by_a_scenario(
    damage: Damage, scenario: Callable[[Scenario], None], check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(monkeypatch)
    assert check in {violation.check for violation in play(scenario)}


def test_seeds_are_replayed_exactly_in_other_processes() -> None:
    seeds = range(5)
    digests = [run(Plan.of(seed)).digest for seed in seeds]
    assert [run(Plan.of(seed)).digest for seed in seeds] == digests
    program = f"from simulation.run import Plan, run; [print(run(Plan.of(seed)).digest) for seed in {seeds}]"
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT / "tests",
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert printed.stdout.split() == digests


def test_failing_plan_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    DAMAGES["merges_not_kept"](monkeypatch)
    outcome = next(outcome for outcome in map(run, map(Plan.of, range(SEEDS))) if outcome.violations)
    shorter = shortened(outcome)
    assert shorter.violations
    assert len(shorter.plan) < len(outcome.plan) / 2
    assert run(shorter.plan).digest == shorter.digest


def test_command_explains_a_seed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "simulation", "7", "--whole"], capture_output=True, text=True, cwd=ROOT / "tests",
        check=True,
    )  # fmt: skip
    assert run(Plan.of(7)).digest[:16] in printed.stdout
    assert "step 0 at" in printed.stdout
