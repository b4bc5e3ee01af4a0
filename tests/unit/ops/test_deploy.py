"""Plan, deploy and destroy the stacks in their order, with the real Terraform."""

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS
from healthcare_dr.ops import deploy
from healthcare_dr.ops.deploy import Changes, approve_all, prepare_folder, write_plans
from healthcare_dr.ops.terraform.interrupts import Interrupted, Interrupts
from healthcare_dr.ops.terraform.runner import Plan
from unit.ops.conftest import Deploying
from unit.ops.fakes import LocalTarget, RecordingProgress, failing, running, slow, three_stacks


def test_global_stack_is_deployed_after_both_regions(deploying: Deploying, progress: RecordingProgress) -> None:
    stacks = three_stacks()
    for stack in (PRIMARY, SECONDARY):
        stacks[stack]["resource"]["terraform_data"]["key"] |= slow(1)
    deployment = deploying(stacks)
    assert deployment.deploy(approve_all) == Changes(add=3)
    applying = [stack for stack, phase in progress.phases if phase == "applying"]
    assert set(applying[:2]) == {PRIMARY, SECONDARY}
    assert applying[2] == GLOBAL
    order = [stack for stack, result in progress.ended if result == "deployed"]
    began = [progress.phases.index((stack, "applying")) for stack in (PRIMARY, SECONDARY)]
    assert max(began) < progress.phases.index((GLOBAL, "planning"))
    assert order[-1] == GLOBAL
    assert {state.resources for state in deployment.states().values()} == {1}
    (said,) = [text for stack, done, total, text in progress.completed if (stack, done, total) == (PRIMARY, 1, 1)]
    assert re.fullmatch(r"terraform_data\.key created \(\d+ s\)", said)


def test_second_deployment_changes_nothing(deploying: Deploying, progress: RecordingProgress) -> None:
    deploying(three_stacks()).deploy(approve_all)
    progress.phases.clear()
    progress.said.clear()

    def never(plans: Sequence[Plan]) -> bool:
        raise AssertionError(plans)

    assert deploying(three_stacks()).deploy(never) == Changes()
    assert progress.phases.count((GLOBAL, "planning")) == 1
    assert not [phase for _, phase in progress.phases if phase == "applying"]
    assert not [said for said in progress.said if said.startswith("Initializing")]


def test_global_stack_is_planned_again_after_a_change_of_a_region(
    deploying: Deploying, progress: RecordingProgress
) -> None:
    deploying(three_stacks()).deploy(approve_all)
    progress.phases.clear()
    changed = three_stacks()
    changed[PRIMARY]["resource"]["terraform_data"]["key"]["input"] = "new"
    assert deploying(changed).deploy(approve_all) == Changes(change=1)
    assert progress.phases[-1] == (GLOBAL, "planning")
    assert progress.phases.count((GLOBAL, "planning")) == 2


def test_global_stack_is_planned_after_a_region_that_it_requires(deploying: Deploying, tmp_path: Path) -> None:
    """A resource that the global stack looks up was deleted by hand."""
    stacks = three_stacks()
    found = tmp_path / "regional"
    making = {"triggers_replace": "1", "provisioner": [{"local-exec": {"command": f"echo here > {found}"}}]}
    stacks[PRIMARY]["resource"]["terraform_data"]["key"] = making
    stacks[GLOBAL]["resource"]["terraform_data"]["table"]["input"] = f'${{file("{found}")}}'
    deploying(stacks).deploy(approve_all)
    found.unlink()
    making["triggers_replace"] = "2"
    assert deploying(stacks).deploy(approve_all) == Changes(add=1, remove=1)


def test_plans_are_shown_before_confirmation_and_global_stack_separately(deploying: Deploying) -> None:
    shown: list[list[str]] = []

    def confirm(plans: Sequence[Plan]) -> bool:
        shown.append([plan.stack for plan in plans])
        return len(shown) == 1

    deployment = deploying(three_stacks())
    with pytest.raises(DeploymentError, match=f"not confirmed: {GLOBAL} left as it was"):
        deployment.deploy(confirm)
    assert shown == [[PRIMARY, SECONDARY], [GLOBAL]]
    assert {stack: state.deployed for stack, state in deployment.states().items()} == {
        PRIMARY: True,
        SECONDARY: True,
        GLOBAL: False,
    }


def test_nothing_is_changed_without_confirmation(deploying: Deploying, target: LocalTarget) -> None:
    deployment = deploying(three_stacks())
    with pytest.raises(DeploymentError, match="not confirmed"):
        deployment.deploy(lambda _: False)
    assert not any(state.deployed for state in deployment.states().values())
    assert target.remembered == 0
    deployment.deploy(approve_all)
    assert target.remembered > 0


def test_failed_region_does_not_stop_the_other_and_can_be_continued(deploying: Deploying) -> None:
    broken = three_stacks()
    broken[PRIMARY]["resource"]["terraform_data"]["bad"] = failing()
    broken[SECONDARY]["resource"]["terraform_data"]["key"] |= slow(1)
    deployment = deploying(broken)
    with pytest.raises(DeploymentError, match=rf"^{PRIMARY}: terraform_data\.bad") as e:
        deployment.deploy(approve_all)
    assert "\n" not in str(e.value)
    assert deployment.states()[SECONDARY].deployed
    assert not deployment.states()[GLOBAL].deployed

    repaired = deploying(three_stacks())
    repaired.deploy(approve_all)
    assert {state.resources for state in repaired.states().values()} == {1}


def test_failures_of_both_regions_are_reported(deploying: Deploying) -> None:
    broken = three_stacks()
    for stack in (PRIMARY, SECONDARY):
        broken[stack]["resource"]["terraform_data"]["bad"] = failing()
    with pytest.raises(DeploymentError) as e:
        deploying(broken).deploy(approve_all)
    assert len(re.findall(r"terraform_data\.bad", str(e.value))) == 2


def test_global_stack_is_planned_when_both_regions_exist(deploying: Deploying, progress: RecordingProgress) -> None:
    deployment = deploying(three_stacks())
    assert [plan.stack for plan in deployment.plan()] == [PRIMARY, SECONDARY]
    assert any(said.startswith(f"{GLOBAL} can be planned once") for said in progress.said)
    deployment.deploy(approve_all)
    plans = deployment.plan()
    assert [plan.stack for plan in plans] == list(STACKS)
    assert not any(plan.pending for plan in plans)
    assert set(deployment.show_plans(plans)) == set(STACKS)


@pytest.mark.requirement("D6")
def test_global_stack_is_destroyed_first(deploying: Deploying, progress: RecordingProgress) -> None:
    deployment = deploying(three_stacks())
    deployment.deploy(approve_all)
    progress.ended.clear()
    shown: list[str] = []

    def confirm(plans: Sequence[Plan]) -> bool:
        shown.extend(plan.stack for plan in plans)
        assert all(plan.destroys for plan in plans)
        return True

    assert deployment.destroy(confirm) == Changes(remove=3)
    assert set(shown) == set(STACKS)
    assert next(stack for stack, result in progress.ended if result == "destroyed") == GLOBAL
    assert not any(state.deployed for state in deployment.states().values())
    assert deployment.destroy(confirm) == Changes()
    assert "Nothing is deployed" in progress.said


def test_refused_destruction_changes_nothing(deploying: Deploying) -> None:
    deployment = deploying(three_stacks())
    deployment.deploy(approve_all)
    with pytest.raises(DeploymentError, match="nothing was destroyed"):
        deployment.destroy(lambda _: False)
    assert all(state.deployed for state in deployment.states().values())


def test_preflight_is_the_first_step(deploying: Deploying, target: LocalTarget, progress: RecordingProgress) -> None:
    target.refuses = DeploymentError("wrong account")
    deployment = deploying(three_stacks())
    for step in (deployment.plan, lambda: deployment.deploy(approve_all), lambda: deployment.destroy(approve_all)):
        with pytest.raises(DeploymentError, match="wrong account"):
            step()
    assert not progress.phases


def test_validation_finds_an_invalid_argument_without_the_target(deploying: Deploying, target: LocalTarget) -> None:
    target.refuses = DeploymentError("not used")
    deploying(three_stacks()).validate()
    broken = three_stacks()
    broken[GLOBAL]["resource"]["terraform_data"]["table"]["inptu"] = "x"
    with pytest.raises(DeploymentError, match=rf"^{GLOBAL}: .*inptu"):
        deploying(broken).validate()


WAITS_A_MINUTE = "for _ in $(seq 600); do test -e {0} && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resources of `three_stacks` in place of AWS's."""
    monkeypatch.setattr(deploy, "LOOKED_UP", frozenset({"terraform_data.key"}))
    monkeypatch.setattr(deploy, "REFERRED_TO", frozenset({"terraform_data.function"}))


@pytest.mark.usefixtures("overlapping")
def test_first_unattended_deployment_applies_the_global_stack_before_the_regions_are_complete(
    deploying: Deploying, tmp_path: Path, progress: RecordingProgress
) -> None:
    stacks, function, table = three_stacks(), tmp_path / "function", tmp_path / "table"
    for stack in (PRIMARY, SECONDARY):
        stacks[stack]["resource"]["terraform_data"] |= {
            "function": running(f"touch {function}-{stack}") | {"depends_on": ["terraform_data.key"]},
            # Ends after the global stack has created its table.
            "tail": running(WAITS_A_MINUTE.format(table)),
        }
    stacks[GLOBAL]["resource"]["terraform_data"]["table"] |= running(
        f"test -e {function}-{PRIMARY} && test -e {function}-{SECONDARY} && touch {table}"
    )
    deployment = deploying(stacks)
    assert deployment.deploy(None) == Changes(add=7)
    assert {stack: state.resources for stack, state in deployment.states().items()} == {
        PRIMARY: 3,
        SECONDARY: 3,
        GLOBAL: 1,
    }
    assert (PRIMARY, 3, 3) in [(stack, done, total) for stack, done, total, _ in progress.completed]
    assert {stack for stack, result in progress.ended if result == "deployed"} == {PRIMARY, SECONDARY, GLOBAL}
    assert deployment.deploy(None) == Changes()


@pytest.mark.usefixtures("overlapping")
def test_global_stack_is_not_deployed_after_an_early_failure_of_a_region(
    deploying: Deploying, progress: RecordingProgress
) -> None:
    broken = three_stacks()
    broken[PRIMARY]["resource"]["terraform_data"]["function"] = failing()
    deployment = deploying(broken)
    with pytest.raises(DeploymentError, match=rf"^{PRIMARY}: terraform_data\.function"):
        deployment.deploy(None)
    assert (GLOBAL, "applying") not in progress.phases
    assert not deployment.states()[GLOBAL].deployed
    deploying(three_stacks()).deploy(None)
    assert deployment.states()[GLOBAL].deployed


@pytest.mark.usefixtures("overlapping")
def test_late_failure_of_a_region_fails_the_deployment(deploying: Deploying, tmp_path: Path) -> None:
    broken, table = three_stacks(), tmp_path / "table"
    for stack in (PRIMARY, SECONDARY):
        broken[stack]["resource"]["terraform_data"]["function"] = {"depends_on": ["terraform_data.key"]}
    broken[SECONDARY]["resource"]["terraform_data"]["tail"] = running(
        f"{WAITS_A_MINUTE.format(table)}".replace("exit 0", "exit 3")
    )
    broken[GLOBAL]["resource"]["terraform_data"]["table"] |= running(f"touch {table}")
    deployment = deploying(broken)
    with pytest.raises(DeploymentError, match=rf"^{SECONDARY}: terraform_data\.tail"):
        deployment.deploy(None)
    assert deployment.states()[GLOBAL].deployed
    repaired = deploying(three_stacks())
    repaired.deploy(None)
    assert repaired.states()[SECONDARY].deployed


def test_first_unattended_deployment_ends_without_the_expected_resources(deploying: Deploying) -> None:
    assert deploying(three_stacks()).deploy(None) == Changes(add=3)


@pytest.mark.usefixtures("overlapping")
def test_interrupted_first_deployment_can_be_continued(
    deploying: Deploying, progress: RecordingProgress, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = three_stacks()
    for stack in (PRIMARY, SECONDARY):
        stacks[stack]["resource"]["terraform_data"] |= {
            "function": {"depends_on": ["terraform_data.key"]},
            "tail": running("sleep 60"),
        }
    stacks[GLOBAL]["resource"]["terraform_data"]["zone"] = running("sleep 60")
    complete = progress.complete

    def interrupting(stack: str, *, done: int, total: int, resource: str) -> None:
        complete(stack, done=done, total=total, resource=resource)
        if stack == GLOBAL:
            interrupts._handle(signal.SIGINT, None)

    monkeypatch.setattr(progress, "complete", interrupting)
    deployment = deploying(stacks)
    with pytest.raises(Interrupted):
        deployment.deploy(None)
    assert all(state.deployed for state in deployment.states().values())
    assert not progress.ended or all(result != "deployed" for _, result in progress.ended)
    monkeypatch.undo()
    interrupts._received.clear()
    deploying(three_stacks()).deploy(None)
    assert {state.resources for state in deployment.states().values()} == {1}


def test_plans_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    prepare_folder(folder)
    former = folder / f"{PRIMARY}.json"
    former.write_text("former, and longer")
    former.chmod(0o644)
    write_plans({PRIMARY: {"a": 1}, GLOBAL: {}}, folder)
    assert json.loads(former.read_text()) == {"a": 1}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    (folder / f"{SECONDARY}.json").mkdir()
    with pytest.raises(DeploymentError, match=r"cannot be written: Is a directory"):
        write_plans({SECONDARY: {}}, folder)
