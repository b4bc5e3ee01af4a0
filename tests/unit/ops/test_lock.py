"""Commands that exclude each other."""

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from healthcare_dr.cli import app
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.bootstrap import claim_of
from healthcare_dr.ops.lock import claimed
from healthcare_dr.settings import Settings, load_settings

BUSY = r"another hdr command \(process \d+\) works in "


def settings(home: Path, suffix: str) -> Settings:
    return load_settings(home=home, environment_suffix=suffix)


def test_lock_of_the_first_folder_is_released_if_the_second_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "b"), pytest.raises(DeploymentError, match=BUSY), claimed(tmp_path / "a", tmp_path / "b"):
        pass
    with claimed(tmp_path / "a", tmp_path / "b"):
        pass


def test_folder_on_a_full_disk_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hdr down` frees space."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with (
        claimed(tmp_path),
        pytest.raises(DeploymentError, match=r"another hdr command \(process unknown\)"),
        claimed(tmp_path),
    ):
        pass


def test_lock_file_with_any_content_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".claim").write_bytes(b"\xff\n\x00")
    with claimed(tmp_path), pytest.raises(DeploymentError, match=BUSY), claimed(tmp_path):
        pass


def test_environment_has_one_command_and_the_embedded_aws_one_drill(tmp_path: Path) -> None:
    one, other = settings(tmp_path, "one"), settings(tmp_path, "other")
    with claim_of(one, "embedded", drills=True):
        with claim_of(other, "embedded"), claim_of(one, "aws"), claim_of(other, "aws", drills=True):
            pass
        for claim, folder in (
            (claim_of(one, "embedded"), "/embedded"),
            (claim_of(other, "embedded", drills=True), "/embedded"),
        ):
            with pytest.raises(DeploymentError, match=f"{BUSY}.*{folder}"), claim:
                pass


def test_environment_may_be_named_claim(tmp_path: Path) -> None:
    with claim_of(settings(tmp_path, "claim"), "embedded"), claim_of(settings(tmp_path, "claim"), "aws"):
        pass


@pytest.mark.parametrize(
    ("command", "suffix"),
    [
        (["plan"], "one"),
        (["deploy"], "one"),
        (["destroy"], "one"),
        (["synth", "--validate"], "one"),
        (["drill", "heal"], "one"),
        (["drill", "heal"], "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_commands_are_refused_during_a_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # `synth` locks the environment after the synthesis.
    monkeypatch.setattr("healthcare_dr.cli.stacks.synthesize", lambda *_: None)
    environment = {"HDR_HOME": str(tmp_path / "home"), "ENVIRONMENT_SUFFIX": suffix}
    with claim_of(settings(tmp_path / "home", "one"), "embedded", drills=True):
        result = CliRunner().invoke(app, command, env=environment, catch_exceptions=False)
    assert result.exit_code == 1
    assert "another hdr command (process" in result.stderr
