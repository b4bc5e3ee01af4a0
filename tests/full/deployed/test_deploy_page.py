"""The commands of docs/deploy.md deploy, change and destroy an environment, in the order of the page.

The page's environment is deployed beside the one of the tests. Blocks of `console aws` are not run.
"""

from collections.abc import Iterator

import pytest

from support.platform import HDR, ROOT, Deployed
from support.runbook_pages import commands, run_commands, text_of
from support.shell import opened

PAGE = ROOT / "docs" / "deploy.md"
ENVIRONMENT = "rehearsal"


@pytest.fixture
def without_environment(deployed: Deployed) -> Iterator[Deployed]:
    """The tests' embedded AWS, on which a page that stopped half-way leaves no environment."""
    yield deployed
    deployed.hdr("destroy", "--target", "embedded", ENVIRONMENT_SUFFIX=ENVIRONMENT)


@pytest.mark.requirement("D6", "D8", "D9")
def test_commands_of_the_deployment_page_give_its_output(without_environment: Deployed) -> None:
    deployed = without_environment
    variables = deployed.variables | {"PATH": f"{HDR.parent}:{deployed.variables['PATH']}", "COLUMNS": "160"}
    with opened(variables) as shell:
        run_commands(shell, list(commands(text_of(PAGE))))
    states = (deployed.home / "embedded" / ENVIRONMENT / "state").glob("*.tfstate")
    assert [state for state in states if '"mode": "managed"' in state.read_text(encoding="utf-8")] == []
