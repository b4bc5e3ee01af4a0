"""A drill on AWS needs the consent of an operator."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.confirm import drill_consent
from unit.ops.fakes import RecordingProgress


class Terminal(StringIO):
    """A terminal with typed text."""

    def isatty(self) -> bool:
        return True


def consent(answer: StringIO, monkeypatch: pytest.MonkeyPatch, *, yes: bool = False) -> str:
    monkeypatch.setattr(sys, "stdin", answer)
    out = StringIO()
    drill_consent(Console(file=out, width=120), RecordingProgress(), yes=yes)(
        ["[bold]throttled in us-east-1", "it costs"]
    )
    return out.getvalue()


@pytest.mark.parametrize("typed", ["yes\n", " yes \n"])
def test_yes_is_consent(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    shown = consent(Terminal(typed), monkeypatch)
    assert shown.startswith("[bold]throttled in us-east-1\nit costs\nBreak this on AWS?")


@pytest.mark.parametrize("typed", ["y\n", "\n", "YES\n", "no\n"])
def test_any_other_answer_is_no_consent(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    with pytest.raises(DeploymentError, match="nothing was broken: the answer was not 'yes'"):
        consent(Terminal(typed), monkeypatch)


def test_consent_without_a_terminal_needs_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="approval requires a terminal, so nothing was broken: give --yes"):
        consent(StringIO("yes\n"), monkeypatch)
    assert "Break this" not in consent(StringIO(), monkeypatch, yes=True)
