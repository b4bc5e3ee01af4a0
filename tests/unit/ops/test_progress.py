"""Report progress in logs and on terminals."""

import os
import pty
from io import StringIO

import pytest
from rich.console import Console

from healthcare_dr.naming import PRIMARY
from healthcare_dr.ops.progress import LiveProgress, PlainProgress, quiet, reporting


def test_plain_progress_prints_events_without_polling() -> None:
    out = StringIO()
    progress = PlainProgress(console=Console(file=out, width=40))
    progress.begin(PRIMARY, "applying")
    for _ in range(100):
        progress.advance(PRIMARY, done=0, total=1, current="aws_kms_key.data")
    progress.complete(PRIMARY, done=1, total=1, resource="aws_kms_key.data created (13 s), a line longer than wide")
    progress.end(PRIMARY, "deployed")
    assert out.getvalue().splitlines() == [
        "healthcare-dr-primary: applying",
        "healthcare-dr-primary: 1/1 aws_kms_key.data created (13 s), a line longer than wide",
        "healthcare-dr-primary: deployed (0 s)",
    ]


def test_terminal_shows_live_lines_and_keeps_results() -> None:
    out = StringIO()
    console = Console(file=out, width=200, force_terminal=True, legacy_windows=False, color_system=None)
    with reporting(console) as progress:
        assert isinstance(progress, LiveProgress)
        progress.begin(PRIMARY, "planning")
        progress.end(PRIMARY, "1 to add")
        progress.begin(PRIMARY, "applying")
        progress.advance(PRIMARY, done=0, total=1, current="aws_kms_key.data")
        with quiet(progress):
            console.print("a question")
        progress.complete(PRIMARY, done=1, total=1, resource="aws_kms_key.data [created]")
        # A stack whose phase failed was never ended.
        progress.begin(PRIMARY, "applying")
        progress.end(PRIMARY, "deployed")
    for part in ("✓ healthcare-dr-primary: 1 to add", "a question", "✓ healthcare-dr-primary: deployed (0 s)"):
        assert part in out.getvalue()


def test_log_contains_plain_lines() -> None:
    with reporting(Console(file=StringIO())) as progress:
        assert isinstance(progress, PlainProgress)
        with quiet(progress):
            pass


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_closed_terminal_is_ignored(kind: type[PlainProgress] | type[LiveProgress]) -> None:
    """A drill whose terminal is closed still undoes its faults."""
    operators_side, ours = pty.openpty()
    terminal = os.fdopen(ours, "w", encoding="utf-8")
    progress = kind(console=Console(file=terminal, force_terminal=True))
    progress.say("before")
    os.close(operators_side)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(ours, b"after")
    progress.say("after")
    with pytest.raises(OSError, match="Input/output error"):
        terminal.close()
