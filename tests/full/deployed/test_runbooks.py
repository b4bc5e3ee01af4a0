"""The commands of the runbooks run in their order, and give the documented output.

A block of `console` is run, in one shell for a whole page, after the first block of README.md; one of `console aws` is
for AWS only and is not run. A command exits with 0 unless the page states `# exits with N`. An expected line has to
appear as a whole line, in order; `…` matches anything. Each page finds its trouble prepared, and restores the platform.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.platform import HDR, ROOT, Deployed
from support.runbook_cases import TROUBLES, found, restore
from support.runbook_pages import Command, commands, lacking, text_of
from support.shell import Shell, opened

FOLDER = ROOT / "docs" / "runbooks"
START = FOLDER / "README.md"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != START)


def type_in(shell: Shell, typed: Sequence[Command]) -> None:
    for command in typed:
        told = shell.run(command.text)
        answer = f"`{command.text}` ({told.code}) answers:\n" + "\n".join(told.lines)
        assert told.code == command.code, answer
        missing = lacking(command, told.lines)
        assert missing is None, f"there is no `{missing}`: {answer}"


@pytest.fixture
def as_it_was(deployed: Deployed) -> Iterator[Deployed]:
    """The platform ten times as fast; a page that leaves a trace fails, and the trace is removed."""
    deployed.settle_conflicts()
    deployed.emulator.set_time_scale(10)
    before = found(deployed)
    try:
        yield deployed
        assert found(deployed) == before, "the page does not leave the platform as it found it"
    finally:
        restore(deployed)


@pytest.mark.requirement("C1", "C6")
@pytest.mark.trap(27)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_runbook_give_its_output(page: Path, as_it_was: Deployed) -> None:
    text = text_of(page)
    typed = list(commands(text))
    assert typed
    if "dig " in text and shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    deployed = as_it_was
    variables = deployed.variables | {"PATH": f"{HDR.parent}:{deployed.variables['PATH']}", "COLUMNS": "160"}
    with TROUBLES[page.stem](deployed) as own, opened({**variables, **own}) as shell:
        type_in(shell, list(commands(text_of(START).partition("\n## On AWS")[0])))
        # Nothing of a control plane may be needed to leave a region; a drill refuses them by itself.
        deployed.emulator.refuse_control_planes(refused=page.stem == "planned-failover")
        try:
            type_in(shell, typed)
        finally:
            deployed.emulator.refuse_control_planes(refused=False)
