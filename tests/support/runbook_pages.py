"""Read the commands of a page and their expected output from its ```console blocks, and run them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.shell import Shell

BLOCK = re.compile(r"^```console( aws)?\n(.*?)^```", re.S | re.M)


@dataclass(frozen=True)
class Command:
    """A command of a page, with its documented exit code and expected lines."""

    text: str
    code: int
    expected: tuple[str, ...]


def commands(text: str, *, on_aws: bool = False) -> Iterator[Command]:
    """Yield the commands of the tested blocks, or of those for AWS. A line that ends with \\ continues."""
    for aws, block in BLOCK.findall(text):
        if bool(aws) != on_aws:
            continue
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
            typed = "\n".join(lines[: last + 1])
            exits = re.search(r"# exits with (\d+)", typed)
            answers = tuple(plain(line) for line in lines[last + 1 :] if line.strip() not in ("", "…"))
            yield Command(typed, int(exits[1]) if exits else 0, answers)


def text_of(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def plain(line: str) -> str:
    return " ".join(line.split())


def lacking(command: Command, output: Iterable[str]) -> str | None:
    """Return the first expected line that the output lacks; None if it lacks none."""
    rest = iter(plain(line) for line in output)
    for expected in command.expected:
        pattern = ".*".join(re.escape(part) for part in expected.split("…"))
        if not any(re.fullmatch(pattern, line) for line in rest):
            return expected
    return None


def run_commands(shell: Shell, typed: Sequence[Command]) -> None:
    """Run commands in their order. Raises AssertionError for another exit code, or output that lacks a line."""
    for command in typed:
        result = shell.run(command.text)
        answer = f"`{command.text}` ({result.code}) prints:\n" + "\n".join(result.lines)
        assert result.code == command.code, answer
        missing = lacking(command, result.lines)
        assert missing is None, f"`{missing}` is missing: {answer}"
