"""What a session demands of the machine."""

import os
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.bootstrap import open_session
from healthcare_dr.settings import load_settings


@pytest.fixture(autouse=True)
def _unknown_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not asked for it yet."""
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_temporary_folder_that_does_not_exist_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Terraform and Node would take it as it is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with open_session(load_settings(home=tmp_path), Console(stderr=True)):
        assert Path(os.environ["TMPDIR"]).is_dir()


def test_temporary_folder_that_can_be_used_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with open_session(load_settings(home=tmp_path / "home"), Console(stderr=True)):
        assert os.environ["TMPDIR"] == str(tmp_path)


def test_machine_without_a_temporary_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with (
        pytest.raises(SettingsError, match="there is no folder for temporary files: set TMPDIR"),
        open_session(load_settings(home=tmp_path), Console(stderr=True)),
    ):
        pass
