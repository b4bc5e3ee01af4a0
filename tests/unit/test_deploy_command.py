"""`hdr deploy`: what it passes to the deployment."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from healthcare_dr.cli import app
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.bootstrap import Session
from healthcare_dr.ops.capacity import Units
from healthcare_dr.ops.deploy import Changes
from healthcare_dr.ops.warm_throughput import Approve, Proposal

PROPOSAL = Proposal(increases=(), rate=1000, quota=Units(40_000, 40_000), beyond_quota={})


class Recording:
    """A deployment that records what decides on an increase of throughput."""

    approve: Approve

    def deploy(self, _: Any, *, approve: Approve, **__: Any) -> Changes:
        self.approve = approve
        return Changes()


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recording:
    recording = Recording()
    monkeypatch.setenv("HDR_HOME", str(tmp_path))
    monkeypatch.setattr(Session, "deployment", lambda *_: recording)
    return recording


def test_increase_on_aws_is_not_made_without_approval(deployment: Recording) -> None:
    assert CliRunner().invoke(app, ["deploy", "--target", "aws"]).exit_code == 0
    with pytest.raises(DeploymentError, match="give --auto-approve"):
        deployment.approve(PROPOSAL)


@pytest.mark.parametrize("arguments", [["--target", "aws", "--auto-approve"], ["--target", "embedded"]])
def test_increase_is_made_if_approved_in_advance_or_free(deployment: Recording, arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["deploy", *arguments]).exit_code == 0
    assert deployment.approve(PROPOSAL)
