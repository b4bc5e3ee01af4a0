"""Nothing is broken on AWS before a person has said yes."""

import sys
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.confirm import drill_consent
from unit.ops.fakes import RecordingProgress


class Terminal(StringIO):
    """A person at a keyboard."""

    def isatty(self) -> bool:
        return True


def ask(answer: StringIO, monkeypatch: pytest.MonkeyPatch, *, yes: bool = False) -> str:
    monkeypatch.setattr(sys, "stdin", answer)
    out = StringIO()
    drill_consent(Console(file=out, width=120), RecordingProgress(), yes=yes)(
        ["[bold]throttled in us-east-1", "it costs"]
    )
    return out.getvalue()


@pytest.mark.parametrize("typed", ["yes\n", " yes \n"])
def test_yes_lets_it_go_on(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    shown = ask(Terminal(typed), monkeypatch)
    assert shown.startswith("[bold]throttled in us-east-1\nit costs\nBreak this on AWS?")


@pytest.mark.parametrize("typed", ["y\n", "\n", "YES\n", "no\n"])
def test_anything_else_does_not(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    with pytest.raises(DeploymentError, match="nothing was broken: the answer was not 'yes'"):
        ask(Terminal(typed), monkeypatch)


def test_without_a_terminal_it_has_to_be_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentError, match="no terminal to ask for consent, so nothing was broken: give --yes"):
        ask(StringIO("yes\n"), monkeypatch)
    assert "Break this" not in ask(StringIO(), monkeypatch, yes=True)
