"""Plan, deploy and destroy the stacks in their order, with the real Terraform."""

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS
from healthcare_dr.ops import deploy
from healthcare_dr.ops.deploy import Changes, approve_all, prepare_folder, write_plans
from healthcare_dr.ops.terraform import protection
from healthcare_dr.ops.terraform.interrupts import Interrupted, Interrupts
from healthcare_dr.ops.terraform.runner import Plan
from healthcare_dr.ops.terraform.workspace import state_file
from unit.ops.conftest import DOMAIN, Deploying
from unit.ops.fakes import FakeRoute53, LocalTarget, RecordingProgress, Stack, failing, running, slow, three_stacks


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


@pytest.mark.requirement("R4.1")
@pytest.mark.parametrize("step", ["plan", "deploy"])
def test_domain_with_a_zone_of_another_owner_is_refused(deploying: Deploying, target: LocalTarget, step: str) -> None:
    target.route53 = FakeRoute53(zones=(DOMAIN, "zone-after.org"))
    deployment = deploying(three_stacks())
    with pytest.raises(DeploymentError, match=rf"already has a hosted zone {DOMAIN} \(Z0\).*set HDR_DOMAIN") as caught:
        _ = deployment.plan() if step == "plan" else deployment.deploy(approve_all)
    assert "\n" not in str(caught.value)
    assert not any(state.deployed for state in deployment.states().values())
    assert not (target.root / "synth").exists()


@pytest.mark.parametrize(
    "route53",
    [FakeRoute53(zones=("clinic-one.org", "z-one.org")), FakeRoute53(zones=(DOMAIN,), private=True)],
    ids=["others", "private"],
)
def test_zones_that_clients_do_not_confuse_are_accepted(
    deploying: Deploying, target: LocalTarget, route53: FakeRoute53
) -> None:
    target.route53 = route53
    assert deploying(three_stacks()).deploy(approve_all) == Changes(add=3)
    assert route53.calls == 1


def test_own_zone_is_accepted_without_a_call(deploying: Deploying, target: LocalTarget) -> None:
    target.route53 = FakeRoute53(zones=(DOMAIN,), fails=AssertionError("called"))
    zone = {"mode": "managed", "type": "aws_route53_zone", "instances": [{"attributes": {"name": DOMAIN}}]}
    file = state_file(target.root, GLOBAL)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"version": 4, "serial": 1, "lineage": "a", "resources": [zone], "outputs": {}}))
    assert len(deploying(three_stacks()).plan()) == 2


def test_zones_that_cannot_be_read_stop_a_deployment(deploying: Deploying, target: LocalTarget) -> None:
    target.route53 = FakeRoute53(fails=EndpointConnectionError(endpoint_url="https://route53.amazonaws.com"))
    with pytest.raises(DeploymentError, match="the hosted zones of the account cannot be read: Could not connect"):
        deploying(three_stacks()).deploy(approve_all)


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


def test_quotas_are_required_until_a_stack_is_deployed_and_warnings_are_shown(
    deploying: Deploying, target: LocalTarget, progress: RecordingProgress
) -> None:
    target.warnings = ("us-east-1 allows 10",)
    deployment = deploying(three_stacks())
    deployment.plan()
    deployment.deploy(approve_all)
    deployment.deploy(approve_all)
    assert target.quotas_required == [False, True, False]
    assert progress.said.count("warning: us-east-1 allows 10") == 3
    deployment.destroy(approve_all)
    assert len(target.quotas_required) == 3, "destroying needs no quota"


def test_throughput_is_raised_after_the_stacks_are_deployed(deploying: Deploying) -> None:
    deployed: list[bool] = []
    inner = deploying(three_stacks())
    deployment = replace(
        inner, raise_throughput=lambda _: deployed.extend(state.deployed for state in inner.states().values())
    )
    for confirm in (approve_all, None):
        deployment.deploy(confirm)
        assert deployed == [True] * 3
        deployed.clear()
    changed = three_stacks()
    changed[PRIMARY]["resource"]["terraform_data"]["key"]["input"] = "new"
    with pytest.raises(DeploymentError, match="not confirmed"):
        replace(deployment, synthesize=deploying(changed).synthesize).deploy(lambda _: False)
    assert deployed == []


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


@pytest.fixture
def protected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terraform's built-in resource is protected like a bucket."""
    bucket = protection.KINDS["aws_s3_bucket"]
    monkeypatch.setattr(protection, "KINDS", {"terraform_data": bucket})


def replacing(*stacks: str) -> dict[str, Stack]:
    """Return the stacks with a replaced resource in some of them."""
    changed = three_stacks()
    for stack in stacks:
        (resource,) = changed[stack]["resource"]["terraform_data"].values()
        resource["triggers_replace"] = "new"
    return changed


def states_of(deployment: deploy.Deployment) -> dict[str, object]:
    return {stack: state.document for stack, state in deployment.states().items()}


KEYS = [f"{PRIMARY}:terraform_data.key", f"{SECONDARY}:terraform_data.key"]
TABLE = f"{GLOBAL}:terraform_data.table"


@pytest.mark.usefixtures("protected")
@pytest.mark.parametrize("approve", [approve_all, None], ids=["approved", "unattended"])
def test_destruction_of_a_protected_resource_needs_its_name(
    deploying: Deploying, progress: RecordingProgress, approve: deploy.Confirm | None
) -> None:
    deploying(three_stacks()).deploy(approve_all)
    deployment = deploying(replacing(PRIMARY, SECONDARY))
    before = states_of(deployment)
    for named, missing in (((), "2 of what it destroys are"), (KEYS[:1], "1 of what it destroys is")):
        with pytest.raises(DeploymentError, match=f"the plan was not carried out, because {missing} not named") as e:
            deployment.deploy(approve, allow_destroy=named)
        assert str(e.value).endswith(f"`hdr deploy --allow-destroy {KEYS[0]} --allow-destroy {KEYS[1]}`")
        assert "\n" not in str(e.value)
    heading = progress.said.index(protection.HEADING)
    assert progress.said[heading + 1].startswith(f"  {KEYS[0]} (replace): bucket")
    assert states_of(deployment) == before
    assert deployment.deploy(approve, allow_destroy=KEYS) == Changes(add=2, remove=2)


@pytest.mark.usefixtures("protected")
def test_destruction_in_the_global_stack_is_refused_before_a_region_is_changed(deploying: Deploying) -> None:
    deploying(three_stacks()).deploy(approve_all)
    changed = replacing(GLOBAL)
    changed[PRIMARY]["resource"]["terraform_data"]["new"] = {}
    deployment = deploying(changed)
    before = states_of(deployment)
    with pytest.raises(DeploymentError, match=f"`hdr deploy --allow-destroy {TABLE}`"):
        deployment.deploy(approve_all)
    assert states_of(deployment) == before
    # The global stack is planned twice, and its resource is named once.
    assert deployment.deploy(approve_all, allow_destroy=[TABLE]) == Changes(add=2, remove=1)


@pytest.mark.usefixtures("protected")
def test_destruction_that_follows_from_a_change_of_a_region_is_refused(deploying: Deploying, tmp_path: Path) -> None:
    """The first plan of the global stack does not contain it yet."""
    found = tmp_path / "regional"
    found.write_text("old")
    stacks = three_stacks()
    stacks[GLOBAL]["resource"]["terraform_data"]["table"]["triggers_replace"] = f'${{file("{found}")}}'
    deploying(stacks).deploy(approve_all)
    stacks[PRIMARY]["resource"]["terraform_data"]["new"] = running(f"echo new > {found}")
    deployment = deploying(stacks)
    table = states_of(deployment)[GLOBAL]
    with pytest.raises(DeploymentError, match=f"`hdr deploy --allow-destroy {TABLE}`"):
        deployment.deploy(approve_all)
    assert states_of(deployment)[GLOBAL] == table
    assert deployment.deploy(approve_all, allow_destroy=[TABLE]) == Changes(add=1, remove=1)


@pytest.mark.usefixtures("protected")
@pytest.mark.parametrize(
    "name", ["terraform_data.key", f"{PRIMARY}:terraform_data.kye", f"{GLOBAL}:terraform_data.key"]
)
def test_name_of_no_resource_is_refused(deploying: Deploying, name: str) -> None:
    deploying(three_stacks()).deploy(approve_all)
    deployment = deploying(replacing(PRIMARY))
    before = states_of(deployment)
    with pytest.raises(DeploymentError, match=rf"--allow-destroy {name} is not the name .* could name {KEYS[0]}$") as e:
        deployment.deploy(approve_all, allow_destroy=[name, KEYS[0]])
    assert "\n" not in str(e.value)
    assert states_of(deployment) == before


@pytest.mark.usefixtures("protected")
def test_deployment_that_failed_is_repeated_with_the_same_names(
    deploying: Deploying, progress: RecordingProgress
) -> None:
    deploying(three_stacks()).deploy(approve_all)
    stacks = replacing(PRIMARY, GLOBAL)
    stacks[SECONDARY]["resource"]["terraform_data"]["failing"] = running("exit 1")
    with pytest.raises(DeploymentError):
        deploying(stacks).deploy(approve_all, allow_destroy=[KEYS[0], TABLE])
    done = f"{KEYS[0]}: nothing to destroy, or it is done already"
    assert done not in progress.said
    names = [KEYS[0], TABLE]
    # What failed was created, and is destroyed.
    failed = f"{SECONDARY}:terraform_data.failing"
    deploying(replacing(PRIMARY, GLOBAL)).deploy(approve_all, allow_destroy=[*names, failed])
    assert [said for said in progress.said if "done already" in said] == [done]
    # Of a resource that is not in the configuration any more, until it is destroyed.
    del stacks[SECONDARY]["resource"]["terraform_data"]["failing"]
    stacks[PRIMARY]["resource"]["terraform_data"] = {"other": {}}
    deploying(stacks).deploy(approve_all, allow_destroy=names)
    with pytest.raises(DeploymentError, match="If an earlier deployment has destroyed it, leave it out"):
        deploying(stacks).deploy(approve_all, allow_destroy=names)


def test_replica_that_was_removed_already_may_be_named(progress: RecordingProgress) -> None:
    table = f"{GLOBAL}:aws_dynamodb_table.patient_records"
    protection.DestructionGuard([f"{table}.replica.us-west-2"], progress, existing=[table]).check(())
    assert progress.said == [f"{table}.replica.us-west-2: nothing to destroy, or it is done already"]


def test_first_deployment_may_name_what_is_in_the_configuration(deploying: Deploying) -> None:
    deployment = deploying(three_stacks())
    with pytest.raises(DeploymentError, match="could name nothing: leave the option out"):
        deployment.deploy(None, allow_destroy=[f"{TABLE}s"])
    assert not any(state.deployed for state in deployment.states().values())
    deployment.deploy(None, allow_destroy=[TABLE])
    assert all(state.deployed for state in deployment.states().values())


@pytest.mark.usefixtures("protected")
def test_plans_contain_what_they_destroy(deploying: Deploying) -> None:
    stacks = three_stacks()
    stacks[PRIMARY]["resource"]["terraform_data"]["forgotten"] = {}
    stacks[PRIMARY]["resource"]["terraform_data"]["moved"] = {}
    deploying(stacks).deploy(approve_all)
    del stacks[PRIMARY]["resource"]["terraform_data"]
    stacks[PRIMARY]["resource"]["terraform_data"] = {"elsewhere": {}, "updated": {}}
    stacks[PRIMARY]["removed"] = [{"from": "terraform_data.forgotten", "lifecycle": {"destroy": False}}]
    stacks[PRIMARY]["moved"] = [{"from": "terraform_data.moved", "to": "terraform_data.elsewhere"}]
    stacks[SECONDARY]["resource"]["terraform_data"]["key"] |= {"input": "changed"}
    (primary, secondary, spanning) = deploying(stacks).plan()
    assert {(change.address, change.action) for change in primary.protected} == {
        (KEYS[0], "destroy"),
        (f"{PRIMARY}:terraform_data.forgotten", "forget"),
    }
    assert (secondary.change, secondary.protected, spanning.protected) == (1, (), ())


@pytest.mark.usefixtures("protected")
def test_confirmation_of_a_destruction_receives_what_is_lost(deploying: Deploying) -> None:
    deployment = deploying(three_stacks())
    deployment.deploy(approve_all)
    lost: list[str] = []

    def confirm(plans: Sequence[Plan]) -> bool:
        lost.extend(change.address for plan in plans for change in plan.protected)
        return False

    with pytest.raises(DeploymentError, match="nothing was destroyed"):
        deployment.destroy(confirm)
    assert sorted(lost) == sorted([*KEYS, TABLE])
    assert deployment.destroy(None) == Changes(remove=3)


INACTIVE = (
    "modifying EC2 VPC Peering Connection (pcx-1) Options: operation error EC2: ModifyVpcPeeringConnectionOptions, "
    "https response error StatusCode: 400, RequestID: 1, api error OperationNotPermitted: Peering pcx-1 is not active. "
    "Peering options can be added only to active peerings."
)


def inactive_until(attempt: int, attempts: Path) -> dict[str, Any]:
    """Return a resource whose creation fails like peering options, before the given attempt."""
    message = f'echo "{INACTIVE}"; exit 1'
    return running(f"echo >> {attempts}; test $(wc -l < {attempts}) -ge {attempt} || {{ {message}; }}")


@pytest.mark.usefixtures("overlapping")
@pytest.mark.parametrize("approve", [approve_all, None], ids=["approved", "first"])
def test_inactive_peering_connection_is_retried_once(
    deploying: Deploying, progress: RecordingProgress, tmp_path: Path, approve: deploy.Confirm | None
) -> None:
    stacks = three_stacks()
    stacks[GLOBAL]["resource"]["terraform_data"]["options"] = inactive_until(2, tmp_path / "attempts")
    deployment = deploying(stacks)
    assert deployment.deploy(approve) == Changes(add=4)
    assert {stack: state.resources for stack, state in deployment.states().items()} == {
        PRIMARY: 1,
        SECONDARY: 1,
        GLOBAL: 2,
    }
    assert [said for said in progress.said if "the peering connection was not active yet" in said] == [
        f"{GLOBAL}: the peering connection was not active yet: repeating what is left"
    ]
    assert progress.ended[-1] == (GLOBAL, "deployed")
    assert not any(plan.pending for plan in deployment.plan())


def test_peering_connection_that_stays_inactive_fails_the_deployment(deploying: Deploying, tmp_path: Path) -> None:
    stacks, attempts = three_stacks(), tmp_path / "attempts"
    stacks[GLOBAL]["resource"]["terraform_data"]["options"] = inactive_until(9, attempts)
    with pytest.raises(DeploymentError, match="the peering connection is not active in both regions yet") as e:
        deploying(stacks).deploy(approve_all)
    assert "\n" not in str(e.value)
    assert len(attempts.read_text().splitlines()) == 2


def test_other_errors_beside_an_inactive_peering_connection_are_not_retried(
    deploying: Deploying, tmp_path: Path
) -> None:
    stacks, attempts = three_stacks(), tmp_path / "attempts"
    stacks[GLOBAL]["resource"]["terraform_data"] |= {"options": inactive_until(2, attempts), "other": failing()}
    with pytest.raises(DeploymentError, match=r"\(and 1 more\)"):
        deploying(stacks).deploy(approve_all)
    assert len(attempts.read_text().splitlines()) == 1


@pytest.mark.usefixtures("protected")
def test_retry_changes_nothing_that_was_not_approved(deploying: Deploying, tmp_path: Path) -> None:
    """A table that another program changed meanwhile is not replaced by the retry."""
    stacks, found = three_stacks(), tmp_path / "found"
    found.write_text("old")
    stacks[GLOBAL]["resource"]["terraform_data"]["table"]["triggers_replace"] = f'${{file("{found}")}}'
    deploying(stacks).deploy(approve_all)
    options = inactive_until(2, tmp_path / "attempts")
    options["provisioner"].insert(0, {"local-exec": {"command": f"echo new > {found}"}})
    stacks[GLOBAL]["resource"]["terraform_data"]["options"] = options
    deployment = deploying(stacks)
    with pytest.raises(DeploymentError, match="the peering connection is not active in both regions yet"):
        deployment.deploy(approve_all)
    (table,) = [
        resource["instances"][0]["attributes"]["triggers_replace"]["value"]
        for resource in deployment.states()[GLOBAL].document["resources"]
        if resource["name"] == "table"
    ]
    assert table == "old"


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
