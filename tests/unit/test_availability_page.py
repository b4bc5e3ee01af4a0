"""docs/availability.md and its figure are what `hdr slo` says of docs/availability.yaml."""

import re
from pathlib import Path

import availability_page as tool
import pytest
from blocks import named

from healthcare_dr.ops.slo import model
from healthcare_dr.ops.slo.assessment import assess
from healthcare_dr.ops.slo.assumptions import defaults, overrides
from healthcare_dr.ops.slo.measured import given

PAGE = tool.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[tool.Found, Path]:
    figure = tmp_path_factory.mktemp("figure") / "availability.svg"
    return tool.told(tool.INPUTS, figure), figure


def test_page_equals_the_output_of_the_command(redrawn: tuple[tool.Found, Path]) -> None:
    assert tool.filled(PAGE, redrawn[0]) == PAGE, "run tools/availability_page.py"


def test_figure_equals_the_output_of_the_command(redrawn: tuple[tool.Found, Path]) -> None:
    assert redrawn[1].read_bytes() == tool.FIGURE.read_bytes(), "run tools/availability_page.py"
    assert "](figures/availability.svg)" in PAGE


def test_every_block_is_on_the_page_once() -> None:
    assert sorted(named(PAGE)) == sorted(tool.BLOCKS)


def test_every_assumption_is_on_the_page_with_its_source() -> None:
    assumed = defaults()
    table = PAGE.split("<!-- inputs -->")[1].split("<!-- end -->")[0]
    for name, entry in assumed.inputs.items():
        (line,) = (line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert entry.source in line
    sources = [promise.source for promise in (*assumed.promises, *assumed.shared)]
    for source in (*sources, *(outage.source for outage in assumed.history.outages)):
        assert source in PAGE


def test_page_of_measurements_is_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which input moves the result how far is not looked at here, and is most of the work.
    monkeypatch.setattr(model, "SWING_RUNS", 100)
    inputs = tmp_path / "measured.yaml"
    inputs.write_text(
        "recoveries: [{seconds: 41.2, label: embedded, date: 2026-11-24, experiment: refused}]\n", encoding="utf-8"
    )
    page = tool.filled(PAGE, tool.told(inputs, tmp_path / "figure.svg"))
    assert "**99.99 % is not carried (embedded): " in page
    assert "Nothing was measured" not in page
    assert tool.filled(page, tool.told(inputs, tmp_path / "figure.svg")) == page
    assert "1 measured recovery (embedded), 2026-11-24" in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_the_example_is_a_file_of_inputs(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    found = overrides(path)
    assert defaults().with_stated(found).value("failover_fails") == 0.02
    assert found.recoveries is not None
    assert found.recoveries[0].label == "aws"


def test_recovery_times_alone_do_not_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SWING_RUNS", 100)
    assert "Short recovery times alone are not sufficient." in PAGE
    assert not assess(given([0.1] * 500, date="2026-11-24"), defaults(), seed=1, runs=2000).carried


def test_stated_requirements_support_the_target() -> None:
    found = tool.supposed()
    assert found["carried"] is True
    assert (found["trials"], found["label"]) == (70, "given")
    assert f"seventy drilled failovers of {tool.SECONDS} s each without a miss" in PAGE
    assert found["verdict"] in PAGE
