"""Helpers for tests of the `hdr` command."""

from collections.abc import Callable

from typer.testing import Result

Run = Callable[..., Result]


def only_line(result: Result) -> str:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in result.output
    return lines[0]
