"""Read the commands of a runbook, and compare their output with the page."""

import os
from collections.abc import Iterator

import pytest

from support.runbook_pages import Command, commands, lacking
from support.shell import Shell, opened

PAGE = """
Text.
```console
$ first
one … three

…
last
$ second \\
    goes on # exits with 3
```
```console aws
$ elsewhere
```
```
$ no command
```
"""


@pytest.fixture
def shell() -> Iterator[Shell]:
    with opened({"PATH": os.environ["PATH"]}) as found:
        yield found


def test_commands_have_their_answers_and_exit_codes() -> None:
    assert list(commands(PAGE)) == [
        Command("first", 0, ("one … three", "last")),
        Command("second \\\n    goes on # exits with 3", 3, ()),
    ]
    assert [command.text for command in commands(PAGE, on_aws=True)] == ["elsewhere"]


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (["before", "one  two three", "between", "last"], None),
        (["one three", "last"], "one … three"),
        (["last", "one two three"], "last"),
        (["one two three", "the last"], "last"),
        (["one two", "three", "last"], "one … three"),
        ([], "one … three"),
    ],
)
def test_expected_lines_match_whole_lines_in_order(lines: list[str], missing: str | None) -> None:
    assert lacking(Command("x", 0, ("one … three", "last")), lines) == missing


def test_shell_keeps_its_state_between_commands(shell: Shell) -> None:
    assert shell.run("name=value; false").code == 1
    assert shell.run("echo $name; echo wrong >&2; printf unfinished").lines == ["value", "wrong", "unfinished"]


def test_command_cannot_read_the_next_command(shell: Shell) -> None:
    assert shell.run("cat").lines in ([], [""])
    assert shell.run("echo next").lines[0] == "next"


def test_processes_of_a_shell_end_with_it() -> None:
    with opened({"PATH": os.environ["PATH"]}) as shell:
        pid = int(shell.run("sleep 60 & echo $!").lines[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
