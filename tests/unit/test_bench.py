"""What the benchmarks of drills and readiness make of what they measured; and the bare server is one that answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from bench import drill, prober, up, verify
from bench.__main__ import GROUPS, Name
from bench.deployed import Deployed
from bench.processes.prober import LOAD, serving, with_httpx
from bench.running import BenchError, Finished, run

from unit.ops.slo.drilled import journal, left


def of_drill(**changes: Any) -> dict[str, Any]:
    return journal(**changes).document()


def test_every_name_has_its_group() -> None:
    assert list(GROUPS) == list(Name)


def test_recovery_is_compared_with_its_floor() -> None:
    found = drill.measurement(of_drill(rto=44.0, floor_seconds=40.0))
    assert (found.measured.samples, found.reference.samples) == ((44,), (40,))
    assert (found.ratio, found.met, found.embedded) == (1.1, True, True)
    assert drill.measurement(of_drill(rto=53.0, floor_seconds=40.0)).met is False
    assert found.document()["label"] == "embedded"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rto": None, "reason": "DNS went on naming it"}, "measured no recovery time: passed, DNS went on naming it"),
        ({"time_scale": 10.0}, "ran 10 times faster"),
    ],
)
def test_drill_without_recovery_is_no_measurement(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        drill.measurement(of_drill(**changes))
    with pytest.raises(BenchError, match="measured no recovery time"):
        drill.measurement({**of_drill(), "milestones": None})


def test_the_only_journal_is_found(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="0 journals"):
        drill.journal_under(tmp_path)
    left(tmp_path, journal(rto=44.0))
    assert drill.journal_under(tmp_path)["milestones"]["rto_seconds"] == 44
    left(tmp_path / "more", journal())
    (tmp_path / "more" / "2026-11-24T00").rename(tmp_path / "second")
    with pytest.raises(BenchError, match="2 journals"):
        drill.journal_under(tmp_path)


def test_up_from_nothing_and_again_have_an_aim_each() -> None:
    again, first = up.measurements(101.0, [9.0, 10.0, 12.0])
    assert (again.measured.median, again.met) == (10, True)
    assert (first.measured.median, first.reference.median, first.met) == (101, 10, False)


def test_verify_is_compared_with_status() -> None:
    found = verify.measurement([6.0, 4.0, 8.0], [2.0, 2.0, 3.0])
    assert (found.measured.median, found.reference.median, found.ratio, found.met) == (6, 2, 3, True)


def test_an_answer_is_a_document() -> None:
    assert verify.answered(Finished(1.5, '{"ready": true}')) == 1.5
    for output in ("", "hdr: no", "{}", "null"):
        with pytest.raises(BenchError, match="document"):
            verify.answered(Finished(1.5, output))


def test_both_sides_of_the_prober_are_compared() -> None:
    sides = {
        "prober": {"latency": [3.0, 4.0, 5.0], "cpu": [1.2, 1.4]},
        "httpx": {"latency": [4.0], "cpu": [1.0]},
    }
    latency, cpu = prober.measurements(json.loads(json.dumps(sides)))
    assert (latency.ratio, latency.met) == (1, True)
    assert (round(cpu.ratio, 3), cpu.met) == (1.3, True)


def test_a_code_that_is_expected_is_no_failure() -> None:
    assert run(["sh", "-c", "echo done; exit 1"], codes=(0, 1)).output == "done\n"
    with pytest.raises(BenchError, match="ended with 1"):
        run(["sh", "-c", "exit 1"])


def test_benchmark_platform_inherits_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDR_NONSENSE", "refused, were it passed on")
    left(tmp_path / "home" / "drills", journal(rto=44.0))
    answered = Deployed(tmp_path).hdr("slo", "--json", "--runs", "100", codes=(1,))
    assert json.loads(answered.output)["recoveries"] == [44]
    with pytest.raises(BenchError, match="hdr ended with 2: hdr: luck is no input"):
        Deployed(tmp_path).hdr("slo", "--set", "luck=1")


def test_the_bare_server_answers_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.processes.prober.SECONDS", 0.5)
    with serving() as (port, trust):
        latencies, spent = with_httpx(port, trust)
    assert len(latencies) == LOAD["rate"] * 0.5
    assert min(latencies) > 0
    assert spent > 0


def test_the_load_is_a_drills_but_reads_alone() -> None:
    assert LOAD["rate"] == 20
    assert {value for name, value in LOAD.items() if name.endswith("_percent")} == {0}
