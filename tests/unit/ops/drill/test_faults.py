"""Faults on the embedded AWS and on AWS: recorded before they are injected, and undone from the record.

On AWS, FIS is checked against its service model. Lambda and IAM are fakes. Their calls run against the embedded AWS in
`tests/full`.
"""

import errno
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.emulator.fault_state import EdgeFault
from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.infra.fault_plan import TEMPLATES
from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal, outstanding
from healthcare_dr.ops.drill.faults.api import POLICY
from healthcare_dr.ops.drill.faults.fault import FAULTS, AwsTarget, EmbeddedTarget
from healthcare_dr.ops.drill.faults.fis import ORDER, FisExperiments
from healthcare_dr.ops.ports import EmbeddedAws
from patient_api.contract.functions import FUNCTIONS
from unit.ops.drill.fakes import EAST, NAMES, WEST, ControlPlanes, FisService

REGIONS = {"primary": EAST, "secondary": WEST}
HOSTS = {EAST: ("abc.execute-api.us-east-1.amazonaws.com", "api.healthcare-dr-it.com")}


@dataclass(frozen=True)
class Replication:
    tables: bool = True
    documents: bool = True
    lag_seconds: float = 0.5


@dataclass
class Embedded(ControlPlanes):
    """The embedded AWS, as far as faults change it."""

    edges: dict[str, EdgeFault] = field(default_factory=lambda: {EAST: EdgeFault(), WEST: EdgeFault()})
    hosts: dict[tuple[str, str], EdgeFault] = field(default_factory=dict)
    settings: Replication = Replication()
    refused: dict[str, bool] = field(default_factory=dict)
    clocks: dict[tuple[str, str], float] = field(default_factory=dict)
    full_disk: set[str] = field(default_factory=set)
    """The regions whose listener cannot be changed."""

    def state(self) -> tuple[object, ...]:
        return (*super().state(), dict(self.edges), self.settings, any(self.refused.values()), dict(self.clocks))

    def set_edge_fault(self, region: str, fault: EdgeFault, *, hosts: Collection[str] = ()) -> None:
        self.change()
        if region in self.full_disk:
            raise OSError(errno.ENOSPC, "No space left on device")
        for host in hosts:
            self.hosts[region, host] = fault
        if not hosts:
            self.edges[region] = fault

    def set_clock_ahead(self, region: str, seconds: float, *, functions: Collection[str]) -> None:
        self.change()
        self.clocks |= {(region, name): seconds for name in functions}
        self.clocks = {function: ahead for function, ahead in self.clocks.items() if ahead}

    def replication(self) -> Replication:
        return self.settings

    def set_replication(self, **changed: Any) -> None:
        self.change()
        self.settings = replace(self.settings, **{name: value for name, value in changed.items() if value is not None})

    def refuse_control_planes(self, *, refused: bool, environment: str) -> None:
        self.change()
        self.refused[environment] = refused

    def faults(self, hosts: Mapping[str, Sequence[str]] = MappingProxyType({})) -> FaultJournal:
        aws = cast(EmbeddedAws, self)
        target = EmbeddedTarget(client=self.client, names=NAMES, regions=REGIONS, aws=aws, hosts=hosts)
        return FaultJournal(target=target, record=self.record)


@dataclass
class Account(ControlPlanes):
    """An AWS account with FIS in both regions."""

    fis: dict[str, FisService] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def client(self, service: str, region: str) -> Any:
        return self.fis[region].client() if service == "fis" else super().client(service, region)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def state(self) -> tuple[object, ...]:
        return (*super().state(), self.running())

    def running(self) -> set[str]:
        return {name for service in self.fis.values() for name in service.running()}

    def faults(self) -> FaultJournal:
        fis = FisExperiments(
            client=self.client, names=NAMES, clock=lambda: self.seconds, sleep=self.sleep, report=self.reported.append
        )
        target = AwsTarget(client=self.client, names=NAMES, regions=REGIONS, fis=fis)
        return FaultJournal(target=target, record=self.record)


@pytest.fixture
def embedded(tmp_path: Path) -> Embedded:
    return Embedded(tmp_path / "drills" / "faults.json")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    fis = {
        region: FisService(region=region, templates=["foreign", *(NAMES.of(kind, region) for kind in TEMPLATES)])
        for region in REGIONS.values()
    }
    return Account(tmp_path / "drills" / "faults.json", fis=fis)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Embedded | Account:
    found: Embedded | Account = request.getfixturevalue(request.param)
    return found


def step(fault: str, region: str | None = None, **given: Any) -> Step:
    return Step.model_validate({"fault": fault, **({} if region is None else {"region": region}), **given})


EMBEDDED_STEPS = [
    *(step(fault, "primary") for fault in ("refused", "blackhole", "errors", "throttled", "denied")),
    step("slow", "both", delay_seconds=8),
    step("replication-paused"),
    step("replication-paused", documents=False),
    step("replication-lag", lag_seconds=20),
    step("disconnected", "primary"),
    step("disconnected", "both"),
    step("control-planes"),
    step("drained", "primary"),
    step("clock-ahead", "primary", ahead_seconds=120),
]
AWS_STEPS = [
    step("throttled", "primary"),
    step("denied", "secondary"),
    step("drained", "primary"),
    step("replication-paused"),
    step("replication-paused", documents=False),
    step("disconnected", "primary"),
    step("disconnected", "both"),
]
ON_BOTH_TARGETS = pytest.mark.parametrize(
    ("target", "played"),
    [*(("embedded", each) for each in EMBEDDED_STEPS), *(("account", each) for each in AWS_STEPS)],
    indirect=["target"],
    ids=[
        f"{name}-{each.fault}-{each.region}-{number}"
        for name, steps in (("embedded", EMBEDDED_STEPS), ("aws", AWS_STEPS))
        for number, each in enumerate(steps)
    ],
)


def test_every_fault_is_applied_and_undone() -> None:
    assert {each.fault for each in EMBEDDED_STEPS} == {
        name for name, fault in FAULTS.items() if "embedded" in fault.targets
    }
    assert {each.fault for each in AWS_STEPS} == {name for name, fault in FAULTS.items() if "aws" in fault.targets}


@contextmanager
def one_line_error(match: str) -> Iterator[None]:
    with pytest.raises(DeploymentError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.mark.requirement("R4.2")
@ON_BOTH_TARGETS
@pytest.mark.parametrize("limit", [None, 0, 50])
def test_another_process_undoes_faults(target: Embedded | Account, played: Step, limit: int | None) -> None:
    if limit is not None:
        target.limits[EAST] = limit
    before = target.state()
    target.faults().apply(played)
    if not (played.fault == "throttled" and limit == 0):
        assert target.state() != before
    assert target.faults().undo_all()
    assert target.state() == before
    assert not target.record.exists()
    assert target.faults().undo_all() == ()


@ON_BOTH_TARGETS
def test_fault_that_is_injected_twice_is_undone_in_any_order(target: Embedded | Account, played: Step) -> None:
    before, faults = target.state(), target.faults()
    first, second = faults.apply(played), faults.apply(played)
    faults.undo(first)
    faults.undo(second)
    assert target.state() == before
    assert not target.record.exists()


@pytest.mark.parametrize("played", EMBEDDED_STEPS, ids=lambda each: each.fault)
def test_fault_whose_injection_failed_is_undone(embedded: Embedded, played: Step) -> None:
    before, embedded.fails = embedded.state(), True
    with one_line_error(r"cannot (apply|write)"):
        embedded.faults().apply(played)
    embedded.fails = False
    assert len(embedded.faults().undo_all()) == 1
    assert embedded.state() == before


def test_fault_breaks_only_the_region_it_names(embedded: Embedded) -> None:
    embedded.faults().apply(step("slow", "secondary", delay_seconds=8))
    embedded.faults().apply(step("denied", "secondary"))
    assert embedded.edges == {EAST: EdgeFault(), WEST: EdgeFault(mode="slow", delay_seconds=8)}
    ((role, policy),) = embedded.policies
    assert (role, policy) == ("healthcare-dr-patient-api-us-west-2-it", POLICY)
    assert json.loads(embedded.policies[role, policy])["Statement"][0]["Effect"] == "Deny"


def test_listener_keeps_the_fault_that_is_still_recorded(embedded: Embedded) -> None:
    faults = embedded.faults()
    first = faults.apply(step("refused", "primary"))
    faults.apply(step("errors", "primary"))
    faults.undo(first)
    assert embedded.edges[EAST] == EdgeFault(mode="responds")
    faults.undo(first)
    assert faults.undo_all() == ("errors us-east-1",)
    assert embedded.edges[EAST] == EdgeFault()


def test_clocks_of_all_functions_of_one_region_are_wrong(embedded: Embedded) -> None:
    faults = embedded.faults()
    first = faults.apply(step("clock-ahead", "secondary", ahead_seconds=60))
    second = faults.apply(step("clock-ahead", "secondary", ahead_seconds=200))
    assert embedded.clocks == {(WEST, NAMES.of(spec.name)): 200 for spec in FUNCTIONS}
    faults.undo(second)
    assert set(embedded.clocks.values()) == {60}
    faults.undo(first)
    assert embedded.clocks == {}


def test_shared_listener_fails_only_for_the_environments_own_hosts(embedded: Embedded) -> None:
    """The process that undoes the fault may find no other environment behind the listener any more."""
    embedded.faults(HOSTS).apply(step("refused", "primary"))
    assert embedded.edges == {EAST: EdgeFault(), WEST: EdgeFault()}
    assert embedded.hosts == {(EAST, host): EdgeFault(mode="refused") for host in HOSTS[EAST]}
    embedded.faults().apply(step("errors", "primary"))
    assert embedded.faults().undo_all() == ("errors us-east-1", "refused us-east-1")
    assert embedded.hosts == {(EAST, host): EdgeFault() for host in HOSTS[EAST]}
    assert embedded.edges == {EAST: EdgeFault(), WEST: EdgeFault()}


def test_control_planes_are_denied_to_the_own_environment(embedded: Embedded) -> None:
    faults = embedded.faults()
    faults.apply(step("control-planes"))
    assert embedded.refused == {"it": True}
    faults.undo_all()
    assert embedded.refused == {"it": False}


def test_fault_that_cannot_be_undone_stays_recorded(embedded: Embedded) -> None:
    faults = embedded.faults()
    faults.apply(step("refused", "both"))
    embedded.fails = True
    with one_line_error("cannot undo refused us-west-2"):
        faults.undo_all()
    assert [str(entry) for entry in outstanding(embedded.record)] == ["refused us-east-1", "refused us-west-2"]


def test_fault_that_a_full_disk_prevents_from_being_undone_stays_recorded(embedded: Embedded) -> None:
    before, faults = embedded.state(), embedded.faults()
    faults.apply(step("control-planes"))
    faults.apply(step("refused", "both"))
    embedded.full_disk.add(WEST)
    with one_line_error(r"cannot undo refused us-west-2 \(.*No space left on device\)"):
        faults.undo_all()
    assert faults.left() == (f"refused {WEST}",)
    embedded.full_disk.clear()
    assert faults.undo_all() == (f"refused {WEST}",)
    assert embedded.state() == before


def test_fault_that_cannot_be_recorded_is_not_injected(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = embedded.state()
    monkeypatch.setattr(Path, "write_text", fail)
    with one_line_error(r"cannot be written \(No space left on device\); nothing is broken"):
        embedded.faults().apply(step("refused", "both"))
    assert embedded.state() == before


@pytest.mark.parametrize("text", ["", "{", "3", '[{"what": 1}]', "[3]", '[{"fault": "unknown", "region": null}]'])
def test_damaged_record_is_reported_in_one_line(embedded: Embedded, text: str) -> None:
    embedded.record.parent.mkdir()
    embedded.record.write_text(text, encoding="utf-8")
    with one_line_error(r"faults\.json cannot be read"):
        embedded.faults().undo_all()


@pytest.mark.parametrize("target", ["embedded", "account"], indirect=True)
def test_drain_flag_that_an_operator_has_set_stays(target: Embedded | Account) -> None:
    target.flags.add((WEST, EAST))
    faults = target.faults()
    faults.apply(step("drained", "both"))
    assert target.flags == {(WEST, EAST), (EAST, WEST)}
    assert faults.left() == (f"drained {EAST}", f"drained {WEST}")
    faults.undo_all()
    assert target.flags == {(WEST, EAST)}
    assert faults.left() == ()


@pytest.mark.parametrize(
    ("played", "running"),
    [
        (
            step("replication-paused"),
            {("pause-tables", EAST), ("pause-documents", EAST), ("pause-tables", WEST), ("pause-documents", WEST)},
        ),
        (step("replication-paused", tables=False), {("pause-documents", EAST), ("pause-documents", WEST)}),
        (step("disconnected", "secondary"), {("disconnect", WEST)}),
    ],
)
def test_fis_runs_the_templates_of_a_fault(account: Account, played: Step, running: set[tuple[str, str]]) -> None:
    account.faults().apply(played)
    assert account.running() == {NAMES.of(*each) for each in running}


def test_one_pause_ends_without_the_other(account: Account) -> None:
    faults = account.faults()
    tables = faults.apply(step("replication-paused", documents=False))
    faults.apply(step("replication-paused", tables=False))
    faults.undo(tables)
    assert account.running() == {NAMES.of("pause-documents", EAST), NAMES.of("pause-documents", WEST)}


def test_disconnected_region_cannot_use_the_role_of_its_peer(account: Account) -> None:
    faults = account.faults()
    first = faults.apply(step("disconnected", "primary"))
    faults.apply(step("disconnected", "secondary"))
    roles = {NAMES.of("documents-peer", EAST), NAMES.of("documents-peer", WEST)}
    assert {role for role, _ in account.policies} == roles
    assert all(json.loads(policy)["Statement"][0]["Effect"] == "Deny" for policy in account.policies.values())
    faults.undo(first)
    assert {role for role, _ in account.policies} == roles
    faults.undo_all()
    assert not account.policies


def test_fis_experiments_of_others_continue(account: Account) -> None:
    account.fis[EAST].StartExperiment("theirs", "EXT1", {"Name": NAMES.of("pause-tables", EAST)})
    account.fis[EAST].GetExperiment("EXP1")
    account.faults().apply(step("replication-paused"))
    account.faults().undo_all()
    assert account.running() == {NAMES.of("pause-tables", EAST)}


def test_fis_experiment_of_a_process_that_was_killed_is_stopped(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: FisService, id: str) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FisService, "GetExperiment", interrupt)
        with pytest.raises(KeyboardInterrupt):
            account.faults().apply(step("replication-paused"))
    assert account.fis[EAST].experiments
    assert account.faults().undo_all()
    states = {each["state"]["status"] for service in account.fis.values() for each in service.experiments.values()}
    assert states == {"stopped"}


def test_missing_template_is_reported_with_the_setting_that_deploys_it(account: Account) -> None:
    account.fis[WEST].templates.remove(NAMES.of("pause-documents", WEST))
    with one_line_error(
        r"us-west-2 has no FIS template healthcare-dr-pause-documents-us-west-2-it: set HDR_FAULT_INJECTION=true, "
        r"deploy with `hdr deploy --target aws`"
    ):
        account.faults().apply(step("replication-paused"))
    assert not account.record.exists()
    assert not any(service.experiments for service in account.fis.values())


def test_fis_experiment_that_fails_is_reported_and_nothing_stays_running(account: Account) -> None:
    account.fis[WEST].doomed.add(NAMES.of("pause-tables", WEST))
    with one_line_error(r"healthcare-dr-pause-tables-us-west-2-it \(EXP1\) ended: failed \(no right\)"):
        account.faults().apply(step("replication-paused"))
    assert len(account.faults().undo_all()) == 2
    assert not account.running()


def test_fis_experiment_that_never_runs_is_given_up(account: Account) -> None:
    account.fis[EAST].stuck = True
    with one_line_error(r"is initiating after 300 s: look at it with `aws fis get-experiment"):
        account.faults().apply(step("disconnected", "primary"))
    assert [str(entry) for entry in outstanding(account.record)] == ["disconnected us-east-1"]


def test_fis_experiment_that_its_alarm_has_stopped_is_reported_and_undone(account: Account) -> None:
    account.faults().apply(step("disconnected", "primary"))
    account.fis[EAST].experiments["EXP1"]["state"] = {"status": "stopped", "reason": "stop condition"}
    account.faults().undo_all()
    assert account.reported == ["the FIS experiment EXP1 in us-east-1 had ended before: stopped (stop condition)"]
    assert not account.policies
    assert "StopExperiment" not in account.fis[EAST].calls


def test_control_planes_are_not_denied_on_aws(account: Account) -> None:
    assert account.faults().apply(step("control-planes")) == ()
    assert not account.record.exists()


def test_fault_that_aws_cannot_inject_changes_nothing(account: Account) -> None:
    with pytest.raises(SettingsError, match="AWS cannot run blackhole"):
        account.faults().apply(step("blackhole", "primary"))
    assert not account.record.exists()


@pytest.mark.requirement("R9.1")
def test_fis_experiments_are_tagged(account: Account) -> None:
    account.faults().apply(step("disconnected", "primary"))
    (tags,) = [each["tags"] for each in account.fis[EAST].experiments.values()]
    assert tags.pop(ORDER)
    assert tags == {"Environment": "Production", "DisasterRecovery": "Enabled", "Name": NAMES.of("disconnect", EAST)}


def test_error_of_aws_is_reported_in_one_line(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(service: str, region: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "two\nlines"}}, "Any")

    monkeypatch.setattr(account, "client", refused)
    with one_line_error(r"may you do this\? See docs/fault-injection\.md"):
        account.faults().apply(step("throttled", "primary"))
