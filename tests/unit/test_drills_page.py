"""docs/drills.md says what the code says: experiments, faults, limits, the journal's fields, exit codes."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import drills_page as tool
import pytest
import yaml
from blocks import filled, named
from typer.testing import CliRunner, Result

from healthcare_dr.cli import app
from healthcare_dr.cli.drill import EXIT_CODES
from healthcare_dr.ops.drill import experiment
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.journal import Milestones, Outcome
from unit.ops.drill.report.made_up import journal

PAGE = tool.PAGE.read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The first cell of each row of the table under a heading."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def hdr(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(autouse=True)
def _of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("HDR_", "ENVIRONMENT_SUFFIX"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_page_is_what_the_code_says() -> None:
    assert filled(PAGE, tool.BLOCKS) == PAGE, "run tools/drills_page.py"
    assert sorted(named(PAGE)) == sorted(tool.BLOCKS)


def test_every_experiment_that_is_shipped_is_on_the_page() -> None:
    for name, path in experiment.shipped().items():
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` | {found['title']} |"))
        assert line.endswith(f"| `{found['expect']}` |")


def test_what_is_written_by_hand_names_what_there_is() -> None:
    assert first_cells("### Faults") == list(get_args(experiment.FaultName))
    assert first_cells("### Expectations") == list(get_args(experiment.Expectation))
    assert first_cells("### Steady-state hypotheses") == list(get_args(experiment.Hypothesis))
    assert sorted(first_cells("## What is measured")) == sorted(field.name for field in fields(Milestones))


def test_fault_table_states_whether_a_fault_is_regional() -> None:
    lines = [line for line in PAGE.splitlines() if line.endswith(("| a region, or both |", "| one region |"))]
    regional = [name for name, fault in FAULTS.items() if fault.regional]
    assert [re.findall(r"`([^`]+)`", line)[0] for line in lines] == regional


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Each dataclass in a value, with itself as JSON."""
    if is_dataclass(value):
        yield type(value).__name__, value
        for field in fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from parts(one)
    elif isinstance(value, dict):
        yield from parts(list(value.values()))


def test_the_journal_of_a_drill_is_made_of_what_is_on_the_page() -> None:
    found = journal()
    seen = {name: {field.name for field in fields(part)} for name, part in parts(found)}
    assert set(seen) == {part.__name__ for part in tool.PARTS}
    seen["Milestones"] = set(found.document()["milestones"])
    for name, keys in seen.items():
        assert set(first_cells(f"#### {name}")) == keys, name
    assert set(found.document()) == set(first_cells("#### Journal"))


@pytest.mark.parametrize("part", tool.PARTS, ids=lambda part: part.__name__)
def test_every_field_of_a_journal_means_something(part: type) -> None:
    silent = [name for name, said in tool.documented(part).items() if not said]
    assert silent == [], f"give {part.__name__}'s field a docstring, or a line in tools/drills_page.py"


def test_every_field_of_an_experiment_means_something() -> None:
    for line in PAGE.split("<!-- schema -->")[1].split("<!-- end -->")[0].splitlines():
        assert not line.endswith("|  |"), line


def test_the_version_of_the_journal_is_on_the_page() -> None:
    versions = re.findall(r"^\| (\d+) \| [\d.]+ \|", PAGE, re.MULTILINE)
    assert versions == [str(number) for number in range(1, journal().schema + 1)]
    assert f"This is schema **{journal().schema}**." in PAGE


def test_exit_codes_are_those_of_every_outcome() -> None:
    assert set(EXIT_CODES) | {"interrupted"} == set(get_args(Outcome)) == set(tool.OUTCOMES)
    written = re.findall(r"^\| `(\d+)` \| (?:`([a-z ]+)`)? \|", PAGE, re.MULTILINE)
    assert written == [
        ("0", "passed"),
        ("1", "failed"),
        ("2", ""),
        ("3", "not started"),
        ("4", "inconclusive"),
        ("130", "interrupted"),
    ]


def test_the_example_is_an_experiment(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    found = experiment.load(path)
    assert (found.lost(), found.counts_from().at) == (("secondary",), 20)


def test_the_commands_on_the_page_exist(tmp_path: Path) -> None:
    listed = re.findall(r"^([a-z-]+) +\S", hdr("drill", "list").stdout, re.MULTILINE)
    assert listed == list(experiment.shipped())
    assert json.loads(hdr("drill", "schema").stdout) == experiment.schema()
    shown = hdr("drill", "--help").stdout
    for word in ("list", "schema", "heal"):
        assert word in shown
    for option in re.findall(r"hdr drill \S+ (--[a-z-]+)", PAGE):
        assert option in shown
    (tmp_path / "mine.yaml").write_text("title: t\n", encoding="utf-8")
    wrong = hdr("drill", "mine.yaml")
    assert wrong.exit_code == 2
    assert len(wrong.stderr.splitlines()) == 1
