"""States are read as Terraform writes them, and plans are written for scanners."""

import json
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.ops.deploy import prepare_folder, write_plans
from healthcare_dr.ops.terraform.state import StackState, read_settled, read_state


def test_state_counts_managed_resources() -> None:
    raw = {
        "version": 4,
        "outputs": {"o": {"value": 1, "type": "number"}},
        "resources": [
            {"mode": "managed", "instances": [{}, {}]},
            {"mode": "data", "instances": [{}]},
        ],
    }
    assert read_state(PRIMARY, json.dumps(raw).encode()) == StackState(resources=2, outputs={"o": 1})
    assert read_state(PRIMARY, None) == StackState()
    assert read_state(PRIMARY, b'{"version": 4, "resources": null, "outputs": null}') == StackState()


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"version": 4, "resources": [1]}', "is damaged"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"version": 3}', "format 3"),
        (b'{"version": 5}', "format 5, but only 4 is known here: a newer Terraform wrote it, so use a newer version"),
    ],
)
def test_unreadable_state_prints_one_line(raw: bytes, line: str) -> None:
    with pytest.raises(DeploymentError, match=f"the state of {PRIMARY} .*{line}"):
        read_state(PRIMARY, raw)


def test_a_state_that_is_just_being_written_is_read_again() -> None:
    whole = b'{"version": 4, "resources": [{"mode": "managed", "instances": [{}]}]}'
    answers = iter([b"", whole[:20], whole])
    assert read_settled(PRIMARY, lambda: next(answers)).resources == 1


def test_damaged_state_is_reported_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healthcare_dr.ops.terraform.state.PATIENCE_SECONDS", 0.2)
    with pytest.raises(DeploymentError, match="is damaged, or another command is writing it"):
        read_settled(PRIMARY, lambda: b"{")
    assert read_settled(PRIMARY, lambda: b"") == StackState()


def test_plans_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    prepare_folder(folder)
    former = folder / f"{PRIMARY}.json"
    former.write_text("former, and longer")
    former.chmod(0o644)
    write_plans({PRIMARY: {"a": 1}, GLOBAL: {}}, folder)
    assert json.loads(former.read_text()) == {"a": 1}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    (folder / f"{SECONDARY}.json").mkdir()
    with pytest.raises(DeploymentError, match=r"cannot be written: Is a directory"):
        write_plans({SECONDARY: {}}, folder)
