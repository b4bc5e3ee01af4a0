"""docs/fault-injection.md names what the code does."""

import re
from pathlib import Path

import jmespath  # type: ignore[import-untyped]

from healthcare_dr.infra.fault_plan import MANAGED, MINUTES, STOP_ALARM, TEMPLATES
from healthcare_dr.ops.drill.capabilities import OMITTED_ON_AWS, PLAYABLE_ON_AWS
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.faults.api import POLICY
from healthcare_dr.ops.drill.faults.fis import ORDER

PAGE = (Path(__file__).parents[2] / "docs" / "fault-injection.md").read_text(encoding="utf-8")


def section(title: str) -> list[list[str]]:
    """The cells of the rows of a section's tables, headings left out."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].startswith("`")]


def test_every_fault_has_a_row_with_its_targets() -> None:
    played = {
        name: cells[-1] not in ("no", "left out, and the journal says so")
        for cells in section("What can be played where")
        for name in re.findall(r"`([a-z-]+)`", cells[0])
    }
    assert set(played) == set(FAULTS)
    assert {name for name, on_aws in played.items() if on_aws} == set(PLAYABLE_ON_AWS)
    assert set(OMITTED_ON_AWS) < set(played)


def test_every_template_has_a_row() -> None:
    assert [cells[0].strip("`") for cells in section("FIS experiments")] == list(TEMPLATES)
    assert f"`{STOP_ALARM}`" in PAGE
    assert f"after {MINUTES} minutes" in " ".join(PAGE.split())
    assert f"`{MANAGED}`" in PAGE


def test_stop_commands_find_the_experiments_of_a_drill() -> None:
    (query,) = re.findall(r'--query "(.+)"$', PAGE, re.MULTILINE)
    experiments = [
        {"id": "ours", "tags": {ORDER: "1"}, "state": {"status": "running"}},
        {"id": "ended", "tags": {ORDER: "1"}, "state": {"status": "stopped"}},
        {"id": "theirs", "tags": {"Name": "x"}, "state": {"status": "running"}},
    ]
    assert jmespath.search(query.replace('\\"', '"'), {"experiments": experiments}) == ["ours"]
    assert PAGE.count(f"--policy-name {POLICY}") == 2
