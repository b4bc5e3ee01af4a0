"""`hdr drill`: rejections before any fault, and output that needs no platform."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from healthcare_dr.cli.drill import REPORTED, _print
from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.fault_state import EdgeFault, FaultState, change, read, set_edge_fault
from healthcare_dr.ops.drill.fault_journal import write
from healthcare_dr.ops.drill.faults import InjectedFault
from healthcare_dr.ops.drill.journal import Promise
from unit.command import Run, only_line
from unit.ops.drill.sample_journal import EAST, V1, V2, V3, journal


def test_experiment_that_aws_cannot_run_is_rejected(hdr: Run) -> None:
    result = hdr("drill", "region-blackhole", "--target", "aws")
    assert result.exit_code == 2
    assert only_line(result).startswith("hdr: AWS cannot run blackhole: it can run throttled, denied")


def test_drill_on_aws_needs_a_delegated_domain(hdr: Run) -> None:
    result = hdr("drill", "api-throttled", "--target", "aws")
    assert result.exit_code == 2
    assert "HDR_DNS_DELEGATED=true" in only_line(result)


def test_heal_without_a_fault_succeeds_without_a_platform(hdr: Run) -> None:
    for _ in range(2):
        result = hdr("drill", "heal")
        assert (result.exit_code, result.stdout) == (0, "nothing is broken by a drill\n")


def test_faults_of_a_killed_drill_are_undone_once(hdr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record and the fault state are written as a drill writes them."""
    emulator, conditions = tmp_path / "home" / "emulator", tmp_path / "home" / "emulator" / "conditions.json"
    environment = {"HDR_HOME": str(tmp_path / "home")}
    broken = [InjectedFault(fault="control-planes", region=None), InjectedFault(fault="refused", region="us-west-2")]
    write(tmp_path / "home" / "embedded" / "dev" / "faults.json", broken)
    emulator.mkdir()
    set_edge_fault(conditions, "us-west-2", EdgeFault(mode="refused"))
    change(conditions, time_scale=10, control_planes_refused=True, environment="dev")
    assert only_line(hdr("drill", "heal", **environment)).startswith("hdr: the embedded AWS does not run")
    monkeypatch.setattr(Emulator, "running", lambda _: True)
    monkeypatch.setattr(Emulator, "start", lambda _: None)
    assert hdr("drill", "heal", **environment).stdout == "healed: refused us-west-2, control-planes\n"
    assert read(conditions) == FaultState(edge_faults={"us-west-2": {}})
    for _ in range(2):
        assert hdr("drill", "heal", **environment).stdout == "nothing is broken by a drill\n"


def test_experiments_of_the_platform_are_listed(hdr: Run) -> None:
    assert "region-refused " in hdr("drill", "list").stdout
    assert {"name", "title", "expect"} == set(json.loads(hdr("drill", "list", "--json").stdout)[0])
    assert json.loads(hdr("drill", "schema").stdout)["properties"]["method"]


@pytest.mark.parametrize("rate", ["0", "1001", "fast"])
def test_rate_out_of_range_is_rejected(hdr: Run, rate: str) -> None:
    assert hdr("drill", "region-refused", "--rate", rate).exit_code == 2


def test_rate_is_in_the_help(hdr: Run) -> None:
    assert "--rate" in hdr("drill", "--help").stdout


@pytest.mark.parametrize(
    ("kept", "binding", "shown"),
    [(True, True, "kept"), (False, True, "BROKEN"), (False, False, "missed"), (None, True, "not judged")],
)
def test_promise_is_printed_with_its_result(
    capsys: pytest.CaptureFixture[str], kept: bool | None, binding: bool, shown: str
) -> None:
    promise = Promise(name="recovery time", limit="< 30 s", measured="41 s", kept=kept, binding=binding)
    _print(replace(journal(), outcome="inconclusive", promises=(promise,)), 10.0)
    printed = capsys.readouterr().out
    assert f"  recovery time: 41 s (< 30 s): {shown}\n" in printed
    assert "  load: 18 requests per second: half of the 36.0" in printed


def test_anomaly_is_printed_with_its_operations_and_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = journal()
    _print(found, 1.0)
    printed = capsys.readouterr().out
    assert f"  lost update, Patient/p1 in {EAST}: {V2} and {V3} both replaced {V1} in one region\n" in printed
    assert f"append 7 with If-Match {V1}: 200, version {V2}\n" in printed
    assert "consistency" in REPORTED
    (anomaly,) = json.loads(json.dumps(found.document(), allow_nan=False))["consistency"]["anomalies"]
    assert [operation["value"] for operation in anomaly["operations"]] == ["7", "8"]
