"""Faults on AWS: FIS against its service model, Lambda and IAM as fakes (they are proven on the embedded AWS)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.infra.fault_plan import TEMPLATES
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal, outstanding
from healthcare_dr.ops.drill.faults.fault import AwsTarget
from healthcare_dr.ops.drill.faults.fis import ORDER, FisExperiments
from unit.ops.drill.fis_service import FisService

EAST, WEST = "us-east-1", "us-west-2"
NAMES = Names("it")


def named(kind: str, region: str) -> str:
    return NAMES.of(kind, region)


@dataclass
class Account:
    """Both regions' FIS, and the API's limit and roles. At every change the record has to be there."""

    record: Path
    fis: dict[str, FisService]
    limits: dict[str, int] = field(default_factory=dict)
    policies: dict[tuple[str, str], str] = field(default_factory=dict)
    flags: set[tuple[str, str]] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def client(self, service: str, region: str) -> Any:
        return self.fis[region].client() if service == "fis" else Control(self, region)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def state(self) -> tuple[object, ...]:
        return dict(self.limits), dict(self.policies), set(self.flags), self.running()

    def running(self) -> set[str]:
        return {name for service in self.fis.values() for name in service.running()}

    def faults(self) -> FaultJournal:
        fis = FisExperiments(
            client=self.client, names=NAMES, clock=lambda: self.seconds, sleep=self.sleep, say=self.said.append
        )
        target = AwsTarget(client=self.client, names=NAMES, regions={"primary": EAST, "secondary": WEST}, fis=fis)
        return FaultJournal(target=target, record=self.record)

    def changes(self) -> None:
        assert json.loads(self.record.read_text(encoding="utf-8")), "changed before it was on record"


@dataclass(frozen=True)
class Control:
    """Lambda's and IAM's control planes, and the table with the drain flags."""

    account: Account
    region: str

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, int]:  # noqa: N803
        assert FunctionName == NAMES.of("patient-api")
        limit = self.account.limits.get(self.region)
        return {} if limit is None else {"ReservedConcurrentExecutions": limit}

    def put_function_concurrency(self, *, FunctionName: str, ReservedConcurrentExecutions: int) -> None:  # noqa: N803
        self.account.changes()
        assert FunctionName == NAMES.of("patient-api")
        self.account.limits[self.region] = ReservedConcurrentExecutions

    def delete_function_concurrency(self, *, FunctionName: str) -> None:  # noqa: N803
        self.account.changes()
        assert FunctionName == NAMES.of("patient-api")
        self.account.limits.pop(self.region, None)

    def put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:  # noqa: N803
        self.account.changes()
        self.account.policies[RoleName, PolicyName] = PolicyDocument

    def delete_role_policy(self, *, RoleName: str, PolicyName: str) -> None:  # noqa: N803
        self.account.changes()
        if self.account.policies.pop((RoleName, PolicyName), None) is None:
            raise ClientError({"Error": {"Code": "NoSuchEntity", "Message": "none"}}, "DeleteRolePolicy")

    def get_item(self, *, TableName: str, Key: dict[str, Any], ConsistentRead: bool) -> dict[str, Any]:  # noqa: N803
        assert (TableName, ConsistentRead) == (NAMES.records_table, True)
        return {"Item": {}} if (self.region, Key["sk"]["S"]) in self.account.flags else {}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]], ClientRequestToken: str) -> None:  # noqa: N803
        self.account.changes()
        flag, audited = TransactItems
        assert audited["Put"]["Item"]["event"] == {"S": ClientRequestToken}
        if "Put" in flag:
            self.account.flags.add((self.region, flag["Put"]["Item"]["sk"]["S"]))
        else:
            self.account.flags.discard((self.region, flag["Delete"]["Key"]["sk"]["S"]))


@pytest.fixture
def account(tmp_path: Path) -> Account:
    fis = {
        region: FisService(region=region, templates=["foreign", *(named(kind, region) for kind in TEMPLATES)])
        for region in (EAST, WEST)
    }
    return Account(record=tmp_path / "faults.json", fis=fis)


def step(fault: str, **given: Any) -> Step:
    """Without validation: this is about what is done, not about what a file may say."""
    made: Step = Step.model_construct(**{"fault": fault, "region": "both", "tables": True, "documents": True, **given})  # type: ignore[assignment] # pydantic takes the base class
    return made


STEPS = [
    step("throttled", region="primary"),
    step("denied", region="secondary"),
    step("drained", region="primary"),
    step("replication-paused"),
    step("replication-paused", documents=False),
    step("disconnected", region="primary"),
    step("disconnected"),
]
IDS = [f"{each.fault} {each.region}" for each in STEPS]


@pytest.mark.parametrize("played", STEPS, ids=IDS)
@pytest.mark.parametrize("limit", [None, 50])
def test_another_process_undoes_what_one_has_broken(account: Account, played: Step, limit: int | None) -> None:
    if limit is not None:
        account.limits[EAST] = limit
    before = account.state()
    account.faults().apply(played)
    assert account.state() != before
    assert account.faults().undo_all()
    assert account.state() == before
    assert not account.record.exists()
    assert account.faults().undo_all() == ()


@pytest.mark.parametrize("played", STEPS, ids=IDS)
def test_a_fault_played_twice_is_healed_in_any_order(account: Account, played: Step) -> None:
    before, broken = account.state(), account.faults()
    first, second = broken.apply(played), broken.apply(played)
    assert len(account.running()) == len([name for service in account.fis.values() for name in service.running()])
    broken.undo(first)
    broken.undo(second)
    assert account.state() == before


@pytest.mark.parametrize(
    ("played", "running"),
    [
        (step("replication-paused"), {("pause-tables", EAST), ("pause-documents", EAST), ("pause-tables", WEST),
                                      ("pause-documents", WEST)}),
        (step("replication-paused", tables=False), {("pause-documents", EAST), ("pause-documents", WEST)}),
        (step("disconnected", region="secondary"), {("disconnect", WEST)}),
    ],
)  # fmt: skip
def test_fis_runs_the_templates_of_a_fault(account: Account, played: Step, running: set[tuple[str, str]]) -> None:
    account.faults().apply(played)
    assert account.running() == {named(*each) for each in running}


def test_one_pause_ends_without_the_other(account: Account) -> None:
    broken = account.faults()
    tables = broken.apply(step("replication-paused", documents=False))
    broken.apply(step("replication-paused", tables=False))
    broken.undo(tables)
    assert account.running() == {named("pause-documents", EAST), named("pause-documents", WEST)}


def test_a_disconnected_region_cannot_use_the_role_of_its_peer(account: Account) -> None:
    broken = account.faults()
    first = broken.apply(step("disconnected", region="primary"))
    broken.apply(step("disconnected", region="secondary"))
    roles = {named("documents-peer", EAST), named("documents-peer", WEST)}
    assert {role for role, _ in account.policies} == roles
    assert all(json.loads(policy)["Statement"][0]["Effect"] == "Deny" for policy in account.policies.values())
    broken.undo(first)
    assert {role for role, _ in account.policies} == roles
    broken.undo_all()
    assert not account.policies


def test_experiments_of_others_go_on(account: Account) -> None:
    account.fis[EAST].StartExperiment("theirs", "EXT1", {"Name": named("pause-tables", EAST)})
    account.fis[EAST].GetExperiment("EXP1")
    account.faults().apply(step("replication-paused"))
    account.faults().undo_all()
    assert account.running() == {named("pause-tables", EAST)}


def test_what_died_before_fis_answered_is_stopped(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_: FisService, id: str) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FisService, "GetExperiment", dies)
        with pytest.raises(KeyboardInterrupt):
            account.faults().apply(step("replication-paused"))
    assert account.fis[EAST].experiments
    assert account.faults().undo_all()
    states = {each["state"]["status"] for service in account.fis.values() for each in service.experiments.values()}
    assert states == {"stopped"}


def test_without_templates_it_is_told_how_to_get_them(account: Account) -> None:
    account.fis[WEST].templates.remove(named("pause-documents", WEST))
    said = (
        r"us-west-2 has no FIS template healthcare-dr-pause-documents-us-west-2-it: set HDR_FAULT_INJECTION=true, "
        r"deploy with `hdr deploy --target aws`"
    )
    with pytest.raises(DeploymentError, match=said):
        account.faults().apply(step("replication-paused"))
    assert not account.record.exists()
    assert not any(service.experiments for service in account.fis.values())


def test_an_experiment_that_fails_is_told_and_leaves_nothing_running(account: Account) -> None:
    account.fis[WEST].doomed.add(named("pause-tables", WEST))
    with pytest.raises(
        DeploymentError, match=r"healthcare-dr-pause-tables-us-west-2-it \(EXP1\) ended: failed \(no right\)"
    ):
        account.faults().apply(step("replication-paused"))
    assert len(account.faults().undo_all()) == 2
    assert not account.running()


def test_an_experiment_that_never_runs_is_given_up(account: Account) -> None:
    account.fis[EAST].stuck = True
    with pytest.raises(DeploymentError, match=r"is initiating after 300 s: look at it with `aws fis get-experiment"):
        account.faults().apply(step("disconnected", region="primary"))
    assert [str(entry) for entry in outstanding(account.record)] == ["disconnected us-east-1"]


def test_an_experiment_that_its_alarm_has_stopped_is_told_and_healed(account: Account) -> None:
    account.faults().apply(step("disconnected", region="primary"))
    account.fis[EAST].experiments["EXP1"]["state"] = {"status": "stopped", "reason": "stop condition"}
    account.faults().undo_all()
    assert account.said == ["the FIS experiment EXP1 in us-east-1 had ended before: stopped (stop condition)"]
    assert not account.policies
    assert "StopExperiment" not in account.fis[EAST].calls


def test_a_region_is_drained_in_the_other_one_and_a_flag_of_somebody_else_stays(account: Account) -> None:
    account.flags.add((WEST, EAST))
    account.faults().apply(step("drained", region="both"))
    assert account.flags == {(WEST, EAST), (EAST, WEST)}
    assert account.faults().left() == (f"drained {EAST}", f"drained {WEST}")
    account.faults().undo_all()
    assert account.flags == {(WEST, EAST)}


def test_the_control_planes_are_left_alone(account: Account) -> None:
    assert account.faults().apply(step("control-planes")) == ()
    assert not account.record.exists()


def test_what_aws_cannot_play_breaks_nothing(account: Account) -> None:
    with pytest.raises(SettingsError, match="AWS cannot play blackhole"):
        account.faults().apply(step("blackhole", region="primary"))
    assert not account.record.exists()


@pytest.mark.requirement("R9.1")
def test_experiments_are_tagged(account: Account) -> None:
    account.faults().apply(step("disconnected", region="primary"))
    (tags,) = [each["tags"] for each in account.fis[EAST].experiments.values()]
    assert tags.pop(ORDER)
    assert tags == {"Environment": "Production", "DisasterRecovery": "Enabled", "Name": named("disconnect", EAST)}


def test_a_refusal_of_aws_is_told_in_one_line(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(service: str, region: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "two\nlines"}}, "Any")

    monkeypatch.setattr(account, "client", refused)
    with pytest.raises(DeploymentError, match=r"may you do this\? See docs/fault-injection\.md") as caught:
        account.faults().apply(step("throttled", region="primary"))
    assert "\n" not in str(caught.value)
