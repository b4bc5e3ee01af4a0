"""Tests of the generated pages: they equal the output of their generators, and name what the code defines."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import availability_page
import drills_page
import jmespath  # type: ignore[import-untyped] # has no types
import pages
import pytest
import yaml

from healthcare_dr.infra.fault_plan import MANAGED, MINUTES, STOP_ALARM, TEMPLATES
from healthcare_dr.ops.drill import experiment
from healthcare_dr.ops.drill.capabilities import OMITTED_ON_AWS, SUPPORTED_ON_AWS
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.faults.api import POLICY
from healthcare_dr.ops.drill.faults.fis import ORDER
from healthcare_dr.ops.drill.journal import Milestones, Outcome
from healthcare_dr.ops.slo import model
from healthcare_dr.ops.slo.assessment import assess
from healthcare_dr.ops.slo.assumptions import defaults, overrides
from healthcare_dr.ops.slo.measured import given
from healthcare_dr.ops.verify.checks import CATALOG
from unit.command import Run
from unit.ops.drill.sample_journal import journal

AVAILABILITY, DRILLS, FAULT_INJECTION, VERIFY = map(pages.read, ("availability", "drills", "fault-injection", "verify"))


def rows_below(page: str, heading: str) -> dict[str, list[str]]:
    """Return the table rows of a section by the code in their first cell."""
    section = page.split(f"\n{heading}\n", 1)[1]
    section = re.split(rf"^#{{1,{heading.count('#')}}} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([^`]+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


@pytest.mark.parametrize("name", sorted(pages.CONTEXTS.keys() - {"availability"}))
def test_page_equals_the_output_of_its_generator(name: str) -> None:
    assert pages.fill(name, pages.CONTEXTS[name]()) == pages.read(name), "run `make generate`"


@pytest.mark.parametrize("name", pages.CONTEXTS)
def test_every_block_of_a_template_is_on_its_page_once(name: str) -> None:
    assert sorted(pages.blocks_on(name)) == sorted(pages.blocks_of_template(name))


def test_every_check_is_on_the_page() -> None:
    for name in CATALOG:
        assert f"| `{name}`" in VERIFY


# drills.md


def test_every_experiment_is_on_the_page() -> None:
    for name, path in experiment.shipped().items():
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        (line,) = (line for line in DRILLS.splitlines() if line.startswith(f"| `{name}` | {found['title']} |"))
        assert line.endswith(f"| `{found['expect']}` |")


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("### Faults", get_args(experiment.FaultName)),
        ("### Expectations", get_args(experiment.Expectation)),
        ("### Steady-state hypotheses", get_args(experiment.Hypothesis)),
        ("## What is measured", [field.name for field in fields(Milestones)]),
    ],
)
def test_table_names_what_the_code_defines(heading: str, names: Any) -> None:
    assert sorted(rows_below(DRILLS, heading)) == sorted(names)


def test_fault_table_states_whether_a_fault_is_regional() -> None:
    places = {name: cells[-1] for name, cells in rows_below(DRILLS, "### Faults").items()}
    regional = {name for name, place in places.items() if place in ("a region, or both", "one region")}
    assert regional == {name for name, fault in FAULTS.items() if fault.regional}


def dataclasses_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each dataclass in a value with the name of its class."""
    if is_dataclass(value):
        yield type(value).__name__, value
        for field in fields(value):
            yield from dataclasses_in(getattr(value, field.name))
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from dataclasses_in(item)


def test_fields_of_a_journal_are_on_the_page() -> None:
    found = journal()
    seen = {name: {field.name for field in fields(part)} for name, part in dataclasses_in(found)}
    assert set(seen) == {part.__name__ for part in drills_page.PARTS}
    seen["Milestones"] = set(found.document()["milestones"])
    for name, keys in seen.items():
        assert rows_below(DRILLS, f"#### {name}").keys() == keys, name
    assert set(found.document()) == rows_below(DRILLS, "#### Journal").keys()


@pytest.mark.parametrize("part", [*(part.__name__ for part in drills_page.PARTS), "Experiment", "Step", "Load"])
def test_every_field_has_a_meaning(part: str) -> None:
    without = [name for name, cells in rows_below(DRILLS, f"#### {part}").items() if not cells[-1]]
    assert without == [], "add a docstring to the field, or a line to tools/templates/drills.yaml"


def test_version_of_the_journal_is_on_the_page() -> None:
    versions = re.findall(r"^\| (\d+) \| [\d.]+ \|", DRILLS, re.MULTILINE)
    assert versions == [str(number) for number in range(1, journal().schema + 1)]
    assert f"This is schema **{journal().schema}**." in DRILLS


def test_exit_codes_are_those_of_every_outcome() -> None:
    written = re.findall(r"^\| `(\d+)` \| (?:`([a-z ]+)`)? \|", DRILLS, re.MULTILINE)
    assert written == [
        ("0", "passed"),
        ("1", "failed"),
        ("2", ""),
        ("3", "not started"),
        ("4", "inconclusive"),
        ("130", "interrupted"),
    ]
    codes = {outcome: str(code) for outcome, code in drills_page.context()["exit_codes"].items()}
    assert {outcome: code for code, outcome in written if outcome} == codes
    assert codes.keys() == set(get_args(Outcome))


def test_example_is_an_experiment(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", DRILLS, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    found = experiment.load(path)
    assert (found.lost(), found.counts_from().at) == (("secondary",), 20)


def test_commands_on_the_page_exist(tmp_path: Path, hdr: Run) -> None:
    listed = re.findall(r"^([a-z-]+) +\S", hdr("drill", "list").stdout, re.MULTILINE)
    assert listed == list(experiment.shipped())
    assert json.loads(hdr("drill", "schema").stdout) == experiment.schema()
    shown = hdr("drill", "--help").stdout
    for word in ("list", "schema", "heal", *re.findall(r"hdr drill \S+ (--[a-z-]+)", DRILLS)):
        assert word in shown
    (tmp_path / "mine.yaml").write_text("title: t\n", encoding="utf-8")
    wrong = hdr("drill", "mine.yaml")
    assert wrong.exit_code == 2
    assert len(wrong.stderr.splitlines()) == 1


# fault-injection.md


def test_fault_table_states_what_aws_can_inject() -> None:
    on_aws = {name: cells[-1] for name, cells in rows_below(FAULT_INJECTION, "## Faults by target").items()}
    assert on_aws.keys() == FAULTS.keys()
    omitted = {name for name, how in on_aws.items() if how.startswith("left out")}
    assert omitted == set(OMITTED_ON_AWS)
    assert {name for name, how in on_aws.items() if how != "not possible"} - omitted == set(SUPPORTED_ON_AWS)


def test_every_fis_template_has_a_row() -> None:
    assert list(rows_below(FAULT_INJECTION, "## FIS experiments")) == list(TEMPLATES)
    assert f"`{STOP_ALARM}`" in FAULT_INJECTION
    assert f"after {MINUTES} minutes" in " ".join(FAULT_INJECTION.split())
    assert f"`{MANAGED}`" in FAULT_INJECTION


def test_stop_commands_find_the_experiments_of_a_drill() -> None:
    (query,) = re.findall(r'--query "(.+)"$', FAULT_INJECTION, re.MULTILINE)
    experiments = [
        {"id": "ours", "tags": {ORDER: "1"}, "state": {"status": "running"}},
        {"id": "ended", "tags": {ORDER: "1"}, "state": {"status": "stopped"}},
        {"id": "theirs", "tags": {"Name": "x"}, "state": {"status": "running"}},
    ]
    assert jmespath.search(query.replace('\\"', '"'), {"experiments": experiments}) == ["ours"]
    assert FAULT_INJECTION.count(f"--policy-name {POLICY}") == 2


# availability.md


def test_availability_and_its_figure_equal_the_output_of_the_command(tmp_path: Path) -> None:
    figure = tmp_path / "availability.svg"
    assert pages.fill("availability", availability_page.context(figure=figure)) == AVAILABILITY, "run `make generate`"
    assert figure.read_bytes() == availability_page.FIGURE.read_bytes(), "run `make generate`"
    assert "](figures/availability.svg)" in AVAILABILITY


def test_every_assumption_is_on_the_page_with_its_source() -> None:
    assumed = defaults()
    table = AVAILABILITY.split("<!-- inputs -->")[1].split("<!-- end -->")[0]
    for name, entry in assumed.inputs.items():
        (line,) = (line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert entry.source in line
    sources = [promise.source for promise in (*assumed.promises, *assumed.shared)]
    for source in (*sources, *(outage.source for outage in assumed.history.outages)):
        assert source in AVAILABILITY


def test_availability_of_other_inputs_is_labelled(tmp_path: Path) -> None:
    inputs, figure = tmp_path / "measured.yaml", tmp_path / "figure.svg"
    inputs.write_text(
        "recoveries: [{seconds: 41.2, label: embedded, date: 2026-11-24, experiment: refused}]\n", encoding="utf-8"
    )
    page = pages.fill("availability", availability_page.context(inputs, figure))
    assert "**99.99 % is not supported (embedded): " in page
    assert "no recovery has been measured" not in page
    assert "1 measured recovery (embedded), 2026-11-24" in figure.read_text(encoding="utf-8")


def test_example_is_a_file_of_inputs(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", AVAILABILITY, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    found = overrides(path)
    assert defaults().with_stated(found).value("failover_fails") == 0.02
    assert found.recoveries is not None
    assert found.recoveries[0].label == "aws"


def test_short_recovery_times_alone_do_not_meet_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    # The sensitivity to each input takes most of the time, and does not affect the result.
    monkeypatch.setattr(model, "SWING_RUNS", 100)
    assert "Short recovery times alone are not sufficient." in AVAILABILITY
    assert not assess(given([0.1] * 500, date="2026-11-24"), defaults(), seed=1, runs=2000).carried


def test_supposed_inputs_meet_the_target() -> None:
    found = availability_page.supposed()
    assert found["carried"] is True
    assert (found["trials"], found["label"]) == (70, "given")
    assert f"seventy drilled failovers of {availability_page.SECONDS} s each without a miss" in AVAILABILITY
    assert found["verdict"] in AVAILABILITY
