"""The runbooks: what they tell an operator to type is typed, in its order, and answers what they say.

A block of `console` is run, in one shell for a whole page, after the first block of README.md; one of `console aws` is
for AWS alone and is not. A command ends with 0 unless it says `# exits with N`. An expected line has to appear as one
line, in its order; `…` in it stands for anything. Each page finds its trouble there, and leaves the platform as it was.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.platform import HDR, REGIONS, ROOT, Deployed
from support.runbook_cases import TROUBLES, found, mend
from support.runbook_pages import BLOCK, Command, commands, lacking
from support.shell import Shell, opened

pytestmark = pytest.mark.measures_time
FOLDER = ROOT / "docs" / "runbooks"
START = FOLDER / "README.md"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != START)
SECTIONS = ("Trigger", "Preconditions", "Steps", "How to stop", "How to undo", "What to record")
LEAVING = ("automatic-failover", "planned-failover")


def type_in(shell: Shell, typed: Sequence[Command]) -> None:
    for command in typed:
        told = shell.run(command.text)
        answer = f"`{command.text}` ({told.code}) answers:\n" + "\n".join(told.lines)
        assert told.code == command.code, answer
        missing = lacking(command, told.lines)
        assert missing is None, f"there is no `{missing}`: {answer}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


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
        mend(deployed)


def test_every_runbook_is_there() -> None:
    names = {page.stem for page in PAGES}
    assert names == {
        *("automatic-failover", "planned-failover", "failback", "drill"),
        *("conflicting-writes", "lost-documents", "total-loss"),
    }
    assert set(re.findall(r"\(([\w-]+)\.md\)", text_of(START))) == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_has_what_an_operator_needs(page: Path) -> None:
    assert re.findall(r"^## (.*)$", text_of(page), re.M) == list(SECTIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_call_of_aws_names_its_region(page: Path) -> None:
    typed = [*commands(text_of(page)), *commands(text_of(page), on_aws=True)]
    for command in typed:
        for call in re.split(r"\baws (?=[a-z0-9-]+ )", command.text)[1:]:
            assert "--region" in call.split("|")[0], command.text


@pytest.mark.parametrize("page", [START, *PAGES], ids=lambda page: page.stem)
def test_every_block_says_whom_it_talks_to(page: Path) -> None:
    text = text_of(page)
    blocks = [found.start() for found in BLOCK.finditer(text)]
    assert blocks
    for start in blocks:
        line = text[:start].splitlines()[-1]
        assert re.fullmatch(r"Talks to: .+:", line), f"`{line}` stands before a block"


@pytest.mark.trap(27)
@pytest.mark.parametrize("page", LEAVING)
def test_nothing_of_the_lost_region_is_asked_to_leave_it(page: str) -> None:
    text = text_of(FOLDER / f"{page}.md")
    for command in (*commands(text), *commands(text, on_aws=True)):
        assert f"--region {REGIONS[0]}" not in command.text
        assert not re.search(r"\baws (route53|iam)\b|\bhdr (deploy|plan|destroy)\b|\bterraform\b", command.text)


@pytest.mark.measures_time
@pytest.mark.requirement("C1", "C6")
@pytest.mark.trap(27)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_runbook_do_what_it_says(page: Path, as_it_was: Deployed) -> None:
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
