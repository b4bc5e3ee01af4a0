"""`hdr verify` reports exactly one finding for each damage to the deployed platform, and changes nothing."""

from contextlib import ExitStack
from typing import Any

import pytest

from healthcare_dr.ops.verify.checks import CATALOG
from support.damages import DAMAGES, WEST, Damage
from support.platform import Deployed
from support.verification import line_of, verified

FIRST_HERE = {
    "R2.2", "R6.1", "R6.2", "R7.1", "R7.2", "trap 7", "trap 17", "trap 21", "trap 22", "trap 23", "trap 25", "trap 28",
    "trap 32", "trap 33", "trap 34", "trap 41",
}  # fmt: skip


@pytest.fixture(scope="module")
def noted(beating: Deployed) -> set[str]:
    """Return the notes on an undamaged platform: its topics have no subscriber."""
    done, _ = verified(beating)
    return {line_of(finding) for finding in done.findings if finding.severity == "note"}


def marked(damage: Damage) -> Any:
    """Return the damage, marked with the requirements and traps that this test proves on live resources."""
    numbers = [number for number in CATALOG[damage.check].numbers if number in FIRST_HERE]
    marks = [
        pytest.mark.trap(int(number.removeprefix("trap ")))
        if number.startswith("trap")
        else pytest.mark.requirement(number)
        for number in numbers
    ]
    return pytest.param(damage, id=damage.name, marks=marks)


@pytest.mark.parametrize("damage", [marked(damage) for damage in DAMAGES.values()])
def test_damage_is_reported(beating: Deployed, noted: set[str], damage: Damage) -> None:
    with ExitStack() as undone:
        undone.enter_context(damage.applied_to(beating))
        done, _ = verified(beating, damage.check, later=damage.later, **damage.settings)
    found = [finding for finding in done.findings if line_of(finding) not in noted]
    assert len(found) == 1, [line_of(finding) for finding in found]
    finding = found[0]
    assert finding.region == damage.region
    assert finding.severity == damage.severity
    assert damage.problem in finding.problem
    assert finding.numbers
    assert done.ready == (damage.severity == "note")


def test_region_that_does_not_respond_is_one_finding(beating: Deployed) -> None:
    done, _ = verified(beating, lost=WEST)
    (lost,) = [finding for finding in done.findings if finding.check == "reachable"]
    assert (lost.region, lost.severity) == (WEST, "unknown")
    assert not done.ready
    assert [line_of(finding) for finding in done.findings if finding.severity == "failure"] == []
    assert [finding for finding in done.findings if finding.region == WEST] == [lost]


def test_every_damage_is_undone(beating: Deployed, noted: set[str]) -> None:
    done, _ = verified(beating)
    assert {line_of(finding) for finding in done.findings} == noted
