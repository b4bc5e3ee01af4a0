"""Tests of docs/traceability.md: it has every number, and the named tests are marked with the number."""

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from marks import Marks, marks_of, merged

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "traceability.md").read_text(encoding="utf-8")
COUNTS = {"R1": 4, "R2": 5, "R3": 4, "R4": 3, "R5": 2, "R6": 2, "R7": 2, "R8": 3, "R9": 1}
REQUIREMENTS = [f"{group}.{number}" for group, count in COUNTS.items() for number in range(1, count + 1)]
REQUIREMENTS += [f"D{number}" for number in range(1, 10)] + [f"C{number}" for number in range(1, 7)]
TRAPS = [str(number) for number in range(1, 43)]
UNPROVEN_TRAPS = {"16", "29"}

FOLDERS = {"tests/unit", "tests/infra", "tests/deployed", "tests/full"}


def rows(pattern: str) -> dict[str, str]:
    """Return the table rows whose first cell matches, by that cell."""
    found = re.findall(rf"^\| ({pattern}) \|(.*)\|$", PAGE, re.MULTILINE)
    assert len(found) == len(dict(found)), "a number has two rows"
    return dict(found)


@pytest.fixture(scope="module")
def marks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Marks:
    """Return the test files by number, from the tests of this run and from a collection of the other folders."""
    own = {Path(argument).as_posix() for argument in request.config.args} & FOLDERS
    if request.config.getoption("keyword") or request.config.getoption("markexpr"):
        own = set()
    items = [item for item in request.session.items if "/".join(item.nodeid.split("/")[:2]) in own]
    target = tmp_path_factory.mktemp("marks") / "marks.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "marks", *sorted(FOLDERS - own)],
        cwd=ROOT,
        env={**os.environ, "HEALTHCARE_DR_MARKS_FILE": str(target)},
        check=True,
        capture_output=True,
    )
    return merged(marks_of(items), json.loads(target.read_text(encoding="utf-8")))


def test_every_number_has_a_row() -> None:
    assert list(rows(r"[RDC]\d(?:\.\d)?")) == REQUIREMENTS
    assert list(rows(r"\d+")) == TRAPS


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_named_tests_of_a_requirement_are_marked(requirement: str, marks: Marks) -> None:
    _, code, proof, _ = (*rows(r"[RDC]\d(?:\.\d)?")[requirement].split("|"), "")
    sources, tests = re.findall(r"`([\w/.]+\.py)`", code), re.findall(r"`([\w/.]+\.py)`", proof)
    assert sources
    assert tests
    assert [path for path in sources if not (ROOT / "src" / path).is_file()] == []
    assert set(tests) <= set(marks["requirement"].get(requirement, ()))


@pytest.mark.parametrize("trap", TRAPS)
def test_named_tests_of_a_trap_are_marked(trap: str, marks: Marks) -> None:
    tests = re.findall(r"`(tests/[\w/.]+\.py)`", rows(r"\d+")[trap])
    assert set(tests) <= set(marks["trap"].get(trap, ()))
    assert bool(tests) != (trap in UNPROVEN_TRAPS)


@pytest.mark.parametrize(("kind", "number"), [*product(["requirement"], REQUIREMENTS), *product(["trap"], TRAPS)])
def test_every_number_is_proven_by_make_test(kind: str, number: str, marks: Marks) -> None:
    files = marks[kind].get(number, ())
    assert any(not file.startswith("tests/full/") for file in files) != (kind == "trap" and number in UNPROVEN_TRAPS)


def test_every_mark_is_an_existing_number(marks: Marks) -> None:
    assert set(marks["requirement"]) <= set(REQUIREMENTS)
    assert set(marks["trap"]) <= set(TRAPS)
