"""`hdr verify`: its preflight and its report."""

from collections.abc import Callable
from typing import cast

import pytest
from botocore.exceptions import ConnectTimeoutError

from healthcare_dr.cli.verify import _preflight, print_verification
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.check import Finding, Verification
from unit.ops.fakes import RecordingProgress


class Refusing:
    """A target whose preflight fails."""

    def __init__(self, cause: Exception | None) -> None:
        self._cause = cause

    def preflight(self) -> None:
        raise DeploymentError("the identity cannot be read") from self._cause


def test_unresponsive_region_does_not_end_the_command() -> None:
    progress = RecordingProgress()
    _preflight(cast("Target", Refusing(ConnectTimeoutError(endpoint_url="https://x"))), progress)
    assert progress.said == ["the identity cannot be read; going on, since nothing is changed"]


@pytest.mark.parametrize("cause", [None, ValueError()])
def test_wrong_account_is_rejected(cause: Exception | None) -> None:
    with pytest.raises(DeploymentError):
        _preflight(cast("Target", Refusing(cause)), RecordingProgress())


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Returns what is printed for findings."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*findings: Finding, suffix: str = "dev") -> str:
        done = Verification(target="embedded", suffix=suffix, checks=("a", "b"), findings=findings, seconds=1.5)
        print_verification(done)
        return capsys.readouterr().out

    return run


def test_findings_are_rows_and_the_result_is_the_last_line(printed: Callable[..., str]) -> None:
    wrong = Finding(check="bucket-policy", severity="failure", region="us-west-2", problem="[no] policy", why="because",
                    numbers=("C6", "trap 19"), fix="fix it")  # fmt: skip
    text = printed(wrong)
    for part in ("failure", "bucket-policy", "C6, trap 19", "us-west-2: [no] policy", "because", "fix it"):
        assert part in text
    assert text.splitlines()[-1] == (
        "recovery would NOT work as designed now (embedded, suffix dev): 2 checks in 1.5 s"
    )


def test_fix_command_names_its_environment(printed: Callable[..., str]) -> None:
    wrong = Finding(check="c", severity="failure", region="", problem="p", why="w", numbers=(), fix="`hdr deploy`")
    assert "→ `hdr deploy`" in printed(wrong)
    assert "→ `ENVIRONMENT_SUFFIX=bee hdr deploy`" in printed(wrong, suffix="bee")


def test_no_findings_prints_one_line(printed: Callable[..., str]) -> None:
    assert printed() == "recovery would work now (embedded, suffix dev): 2 checks in 1.5 s\n"
