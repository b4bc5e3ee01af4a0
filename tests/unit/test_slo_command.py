"""`hdr slo`: exit codes, sources of recovery times, and one line for every error."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from healthcare_dr.cli import app
from healthcare_dr.ops.slo import model
from unit.ops.slo.journals import journal, left

Run = Callable[..., Result]
BENIGN = [
    f"--set={name}=0"
    for name in (
        "failover_fails",
        "both_regions_share",
        "dns_outages_per_year",
        "idp_outages_per_year",
        "bad_changes_per_year",
    )
]


@pytest.fixture
def slo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command in a folder of its own."""
    for name in [name for name in os.environ if name.startswith(("HDR_", "ENVIRONMENT_SUFFIX"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model, "SWING_RUNS", 100)

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, ["slo", "--runs", "200", *arguments], env=environment, catch_exceptions=False)

    return run


def answer(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_help_lists_the_command() -> None:
    assert " slo " in CliRunner().invoke(app, ["--help"]).stdout


def test_nothing_is_claimed_without_a_drill(slo: Run) -> None:
    result = slo()
    assert result.exit_code == 1
    assert result.stdout.startswith("Nothing is claimed: no recovery was measured")


def test_drills_in_the_home_folder_are_read(slo: Run, tmp_path: Path) -> None:
    left(tmp_path / ".hdr" / "drills", journal(rto=41.5), journal(rto=4, time_scale=10), journal(experiment="flapping"))
    result = slo("--json")
    found = answer(result)
    assert result.exit_code == 1
    assert found["recoveries"] == [41.5]
    assert (found["label"], found["trials"], len(found["ignored"])) == ("embedded", 2, 2)
    assert found["verdict"].startswith("99.99 % is not supported (embedded)")
    shown = slo().stdout
    assert "Not counted: " in shown
    assert "Which assumption decides the result" in shown


def test_recovery_without_a_cost_counts_as_measured(slo: Run) -> None:
    assert "not measured" in slo().stdout
    shown = slo("--recovery-seconds", "0").stdout
    assert "not measured" not in shown
    assert "any number" in shown


def test_target_can_be_supported(slo: Run) -> None:
    times = [f"--recovery-seconds={45 + number % 5}" for number in range(150)]
    result = slo(*times, *BENIGN, "--json")
    assert answer(result)["carried"] is True
    assert result.exit_code == 0
    assert slo(*times, "--json").exit_code == 1, "these recovery times alone do not support it"


def test_file_of_inputs_overrides_the_drills_of_the_home_folder(slo: Run, tmp_path: Path) -> None:
    left(tmp_path / ".hdr" / "drills", journal())
    (tmp_path / "mine.yaml").write_text("inputs: {idp_share: 0.25}\nrecoveries: []\n", encoding="utf-8")
    found = answer(slo("--inputs", "mine.yaml", "--set", "blip_seconds=7", "--json"))
    assert found["recoveries"] == []
    inputs = found["assumptions"]["inputs"]
    assert (inputs["idp_share"]["value"], inputs["idp_share"]["source"]) == (0.25, "--inputs")
    assert (inputs["blip_seconds"]["value"], inputs["blip_seconds"]["source"]) == (7, "--set")
    (tmp_path / "mine.yaml").write_text("inputs: {idp_share: 0.25}\n", encoding="utf-8")
    assert answer(slo("--inputs", "mine.yaml", "--json"))["recoveries"] == [42]


def test_weights_are_those_of_the_settings(slo: Run) -> None:
    found = answer(slo("--json", HDR_PRIMARY_WEIGHT="50", HDR_SECONDARY_WEIGHT="50"))
    assert found["assumptions"]["inputs"]["primary_share"]["value"] == 0.5


def test_figure_is_written(slo: Run, tmp_path: Path) -> None:
    assert slo("--figure", "figures/mine.svg").exit_code == 1
    assert (tmp_path / "figures" / "mine.svg").read_text(encoding="utf-8").startswith("<svg ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "luck=1"], "luck is no input"),
        (["--set", "idp_share"], "write it as name=number"),
        (["--recovery-seconds", "-1"], "no recovery time"),
        (["--recovery-seconds", "1", "--drills", "."], "exclude each other"),
        (["--drills", "none"], "none is not a folder"),
        (["--inputs", "none.yaml"], "none.yaml cannot be read"),
        (["--figure", "/dev/null/mine.svg"], "cannot be written"),
    ],
)
def test_wrong_usage_prints_one_line_and_exits_with_2(slo: Run, arguments: list[str], message: str) -> None:
    result = slo(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
