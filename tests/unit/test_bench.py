"""Tests of the benchmarks' measurements, child processes and deployed platform."""

import json
from pathlib import Path
from typing import Any

import pytest
from bench import deployed
from bench.__main__ import GROUPS, RESULTS, Name
from bench.deployed import Deployed
from bench.running import BenchError, run

from unit.ops.slo.journals import journal, left


def document(**changes: Any) -> dict[str, Any]:
    return journal(**changes).document()


def test_every_name_has_a_group() -> None:
    assert list(GROUPS) == list(Name)


def test_results_are_those_of_existing_groups() -> None:
    names = [measurement["name"] for measurement in json.loads(RESULTS.read_text(encoding="utf-8"))["measurements"]]
    assert all(name.startswith(tuple(Name)) for name in names)
    assert len(set(names)) == len(names)


def test_recovery_time_is_compared_with_its_floor() -> None:
    found = deployed.drill_measurement(document(rto=44.0, floor_seconds=40.0))
    assert (found.measured.samples, found.reference.samples) == ((44,), (40,))
    assert (found.ratio, found.met, found.embedded) == (1.1, True, True)
    assert deployed.drill_measurement(document(rto=53.0, floor_seconds=40.0)).met is False
    assert found.document()["label"] == "embedded"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rto": None, "reason": "DNS went on naming it"}, "measured no recovery time: passed, DNS went on naming it"),
        ({"time_scale": 10.0}, "ran 10 times faster"),
    ],
)
def test_drill_without_a_recovery_time_is_an_error(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BenchError, match=text):
        deployed.drill_measurement(document(**changes))
    with pytest.raises(BenchError, match="measured no recovery time"):
        deployed.drill_measurement({**document(), "milestones": None})


def test_exactly_one_journal_is_required(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="0 journals"):
        deployed.journal_under(tmp_path)
    left(tmp_path, journal(rto=44.0))
    assert deployed.journal_under(tmp_path)["milestones"]["rto_seconds"] == 44
    left(tmp_path / "more", journal())
    (tmp_path / "more" / "2026-11-24T00").rename(tmp_path / "second")
    with pytest.raises(BenchError, match="2 journals"):
        deployed.journal_under(tmp_path)


def test_up_from_nothing_and_again_have_separate_aims() -> None:
    again, first = deployed.up_measurements(101.0, [9.0, 10.0, 12.0])
    assert (again.measured.median, again.met) == (10, True)
    assert (first.measured.median, first.reference.median, first.met) == (101, 10, False)


def test_unexpected_exit_code_is_an_error() -> None:
    assert run(["sh", "-c", "echo done; exit 1"], codes=(0, 1)).output == "done\n"
    with pytest.raises(BenchError, match="ended with 1"):
        run(["sh", "-c", "exit 1"])


def test_deployed_platform_ignores_settings_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDR_NONSENSE", "an unknown setting is refused")
    left(tmp_path / "home" / "drills", journal(rto=44.0))
    result = Deployed(tmp_path).hdr("slo", "--json", "--runs", "100", codes=(1,))
    assert json.loads(result.output)["recoveries"] == [44]
    with pytest.raises(BenchError, match=r"hdr ended with 2: hdr: .*luck"):
        Deployed(tmp_path).hdr("slo", "--set", "luck=1")
