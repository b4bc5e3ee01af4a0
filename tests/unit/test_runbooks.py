"""Every runbook has the required sections, and sends no request to a lost region. `tests/full` runs the commands."""

import re
from pathlib import Path

import pytest

from support.platform import REGIONS, ROOT
from support.runbook_pages import BLOCK, commands, text_of

FOLDER = ROOT / "docs" / "runbooks"
START = FOLDER / "README.md"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != START)
SECTIONS = ("Trigger", "Preconditions", "Steps", "How to stop", "How to undo", "What to record")
LEAVING = ("automatic-failover", "planned-failover")


def test_all_runbooks_exist() -> None:
    names = {page.stem for page in PAGES}
    assert names == {
        *("automatic-failover", "planned-failover", "failback", "drill"),
        *("conflicting-writes", "lost-documents", "total-loss", "undelivered-notifications"),
        "wrong-clock",
    }
    assert set(re.findall(r"\(([\w-]+)\.md\)", text_of(START))) == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runbook_has_all_required_sections(page: Path) -> None:
    assert re.findall(r"^## (.*)$", text_of(page), re.M) == list(SECTIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_aws_command_names_its_region(page: Path) -> None:
    typed = [*commands(text_of(page)), *commands(text_of(page), on_aws=True)]
    for command in typed:
        for call in re.split(r"\baws (?=[a-z0-9-]+ )", command.text)[1:]:
            assert "--region" in call.split("|")[0], command.text


@pytest.mark.parametrize("page", [START, *PAGES], ids=lambda page: page.stem)
def test_every_block_names_its_target(page: Path) -> None:
    text = text_of(page)
    blocks = [found.start() for found in BLOCK.finditer(text)]
    assert blocks
    for start in blocks:
        line = text[:start].splitlines()[-1]
        assert re.fullmatch(r"Contacts: .+:", line), f"`{line}` stands before a block"


@pytest.mark.trap(27)
@pytest.mark.parametrize("page", LEAVING)
def test_failover_commands_do_not_contact_the_lost_region(page: str) -> None:
    text = text_of(FOLDER / f"{page}.md")
    for command in (*commands(text), *commands(text, on_aws=True)):
        assert f"--region {REGIONS[0]}" not in command.text
        assert not re.search(r"\baws (route53|iam)\b|\bhdr (deploy|plan|destroy)\b|\bterraform\b", command.text)
