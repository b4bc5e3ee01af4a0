"""Fixture that runs the `hdr` command in an empty folder."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from healthcare_dr.cli import app
from unit.command import Run


@pytest.fixture
def hdr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `hdr` in an empty folder, without settings of the user."""
    for name in [name for name in os.environ if name.startswith(("HDR_", "AWS_", "ENVIRONMENT_SUFFIX"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)

    return run
