"""Faults of a drill: on record before they are applied, and undone by whoever reads the record."""

import errno
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.drill.experiment import Step
from healthcare_dr.ops.drill.fault_journal import FaultJournal, outstanding
from healthcare_dr.ops.drill.faults.api import POLICY
from healthcare_dr.ops.drill.faults.fault import EmbeddedTarget
from healthcare_dr.ops.ports import EdgeFault, EmbeddedAws

EAST, WEST = "us-east-1", "us-west-2"
STEPS: list[dict[str, Any]] = [
    *({"fault": name, "region": "primary"} for name in ("refused", "blackhole", "errors", "throttled", "denied")),
    {"fault": "slow", "region": "both", "delay_seconds": 8},
    {"fault": "replication-paused"},
    {"fault": "replication-paused", "documents": False},
    {"fault": "replication-lag", "lag_seconds": 20},
    {"fault": "disconnected", "region": "primary"},
    {"fault": "disconnected", "region": "both"},
    {"fault": "control-planes"},
    {"fault": "drained", "region": "primary"},
]


@dataclass(frozen=True)
class Replication:
    tables: bool = True
    documents: bool = True
    lag_seconds: float = 0.5


class World:
    """An embedded AWS and its clients, as far as faults touch them. At every change the record has to be there."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.doors = {EAST: EdgeFault(), WEST: EdgeFault()}
        self.set = Replication()
        self.hosts: dict[tuple[str, str], EdgeFault] = {}
        self.refused: dict[str, bool] = {}
        self.limits: dict[str, int] = {}
        self.policies: dict[tuple[str, str], str] = {}
        self.flags: set[tuple[str, str]] = set()
        self.fails = False
        self.full: set[str] = set()
        """The regions whose door cannot be changed, since the disk is full."""

    def state(self) -> tuple[object, ...]:
        return (
            dict(self.doors),
            self.set,
            any(self.refused.values()),
            dict(self.limits),
            dict(self.policies),
            set(self.flags),
        )

    def _change(self) -> None:
        assert json.loads(self.record.read_text(encoding="utf-8")), "changed before it was on record"
        if self.fails:
            raise ClientError({"Error": {"Code": "Boom", "Message": "two\nlines"}}, "Any")

    def set_edge_fault(self, region: str, fault: EdgeFault, *, hosts: Collection[str] = ()) -> None:
        self._change()
        if region in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        for host in hosts:
            self.hosts[region, host] = fault
        if not hosts:
            self.doors[region] = fault

    def replication(self) -> Replication:
        return self.set

    def set_replication(self, **changed: Any) -> None:
        self._change()
        self.set = replace(self.set, **{name: value for name, value in changed.items() if value is not None})

    def refuse_control_planes(self, *, refused: bool, environment: str) -> None:
        self._change()
        self.refused[environment] = refused

    def client(self, service: str, region: str) -> "Client":
        assert service in ("lambda", "iam", "dynamodb")
        return Client(self, region)


@dataclass(frozen=True)
class Client:
    world: World
    region: str

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, int]:  # noqa: N803
        assert FunctionName == "healthcare-dr-patient-api-it"
        limit = self.world.limits.get(self.region)
        return {} if limit is None else {"ReservedConcurrentExecutions": limit}

    def put_function_concurrency(self, *, FunctionName: str, ReservedConcurrentExecutions: int) -> None:  # noqa: N803
        assert FunctionName == "healthcare-dr-patient-api-it"
        self.world._change()
        self.world.limits[self.region] = ReservedConcurrentExecutions

    def delete_function_concurrency(self, *, FunctionName: str) -> None:  # noqa: N803
        assert FunctionName == "healthcare-dr-patient-api-it"
        self.world._change()
        self.world.limits.pop(self.region, None)

    def get_item(self, *, TableName: str, Key: dict[str, Any], ConsistentRead: bool) -> dict[str, Any]:  # noqa: N803
        return {"Item": {}} if (self.region, Key["sk"]["S"]) in self.world.flags else {}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]], ClientRequestToken: str) -> None:  # noqa: N803
        self.world._change()
        (flag, audited) = TransactItems
        assert audited["Put"]["Item"]["reason"] == {"S": "drill"}
        if "Put" in flag:
            self.world.flags.add((self.region, flag["Put"]["Item"]["sk"]["S"]))
        else:
            self.world.flags.discard((self.region, flag["Delete"]["Key"]["sk"]["S"]))

    def put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> None:  # noqa: N803
        self.world._change()
        self.world.policies[RoleName, PolicyName] = PolicyDocument

    def delete_role_policy(self, *, RoleName: str, PolicyName: str) -> None:  # noqa: N803
        self.world._change()
        if self.world.policies.pop((RoleName, PolicyName), None) is None:
            raise ClientError({"Error": {"Code": "NoSuchEntity", "Message": "none"}}, "DeleteRolePolicy")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "drills" / "faults.json")


def faults(world: World, hosts: Mapping[str, Sequence[str]] = MappingProxyType({})) -> FaultJournal:
    target = EmbeddedTarget(
        client=world.client,
        names=Names("it"),
        regions={"primary": EAST, "secondary": WEST},
        aws=cast(EmbeddedAws, world),
        hosts=hosts,
    )
    return FaultJournal(target=target, record=world.record)


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["fault"])
@pytest.mark.parametrize("limit", [None, 0, 50])
def test_another_process_undoes_what_one_has_broken(world: World, step: dict[str, Any], limit: int | None) -> None:
    if limit is not None:
        world.limits[EAST] = limit
    before = world.state()
    faults(world).apply(Step.model_validate(step))
    if not (step["fault"] == "throttled" and limit == 0):
        assert world.state() != before
    assert faults(world).undo_all()
    assert world.state() == before
    assert not world.record.exists()
    assert faults(world).undo_all() == ()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["fault"])
def test_what_died_while_it_was_applied_is_undone_as_well(world: World, step: dict[str, Any]) -> None:
    before, world.fails = world.state(), True
    with pytest.raises(DeploymentError, match=r"cannot (apply|write)") as caught:
        faults(world).apply(Step.model_validate(step))
    assert "\n" not in str(caught.value)
    world.fails = False
    assert len(faults(world).undo_all()) == 1
    assert world.state() == before


def test_a_fault_breaks_the_region_it_names(world: World) -> None:
    faults(world).apply(Step.model_validate({"fault": "slow", "region": "secondary", "delay_seconds": 8}))
    faults(world).apply(Step.model_validate({"fault": "denied", "region": "secondary"}))
    assert world.doors == {EAST: EdgeFault(), WEST: EdgeFault(mode="slow", delay_seconds=8)}
    ((role, policy),) = world.policies
    assert (role, policy) == ("healthcare-dr-patient-api-us-west-2-it", POLICY)
    assert json.loads(world.policies[role, policy])["Statement"][0]["Effect"] == "Deny"


def test_a_door_keeps_the_fault_that_is_still_on_record(world: World) -> None:
    broken = faults(world)
    first = broken.apply(Step.model_validate({"fault": "refused", "region": "primary"}))
    broken.apply(Step.model_validate({"fault": "errors", "region": "primary"}))
    broken.undo(first)
    assert world.doors[EAST] == EdgeFault(mode="errors")
    broken.undo(first)
    assert broken.undo_all() == ("errors us-east-1",)
    assert world.doors[EAST] == EdgeFault()


def test_door_that_other_environments_share_fails_to_the_own_clients_alone(world: World) -> None:
    """Also when another process heals it, which finds the environment alone behind the door by then."""
    hosts = {EAST: ("abc.execute-api.us-east-1.amazonaws.com", "api.healthcare-dr-it.com")}
    shared, step = faults(world, hosts=hosts), {"fault": "refused", "region": "primary"}
    shared.apply(Step.model_validate(step))
    assert world.doors == {EAST: EdgeFault(), WEST: EdgeFault()}
    assert world.hosts == {(EAST, host): EdgeFault(mode="refused") for host in hosts[EAST]}
    faults(world).apply(Step.model_validate({"fault": "errors", "region": "primary"}))
    assert faults(world).undo_all() == ("errors us-east-1", "refused us-east-1")
    assert world.hosts == {(EAST, host): EdgeFault() for host in hosts[EAST]}
    assert world.doors == {EAST: EdgeFault(), WEST: EdgeFault()}


def test_control_planes_are_refused_to_the_own_environment(world: World) -> None:
    broken = faults(world)
    broken.apply(Step.model_validate({"fault": "control-planes"}))
    assert world.refused == {"it": True}
    broken.undo_all()
    assert world.refused == {"it": False}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["fault"])
def test_a_fault_played_twice_is_healed_in_any_order(world: World, step: dict[str, Any]) -> None:
    before, broken = world.state(), faults(world)
    first, second = (broken.apply(Step.model_validate(step)) for _ in range(2))
    broken.undo(first)
    broken.undo(second)
    assert world.state() == before
    assert not world.record.exists()


def test_what_cannot_be_undone_stays_on_record(world: World) -> None:
    broken = faults(world)
    broken.apply(Step.model_validate({"fault": "refused", "region": "both"}))
    world.fails = True
    with pytest.raises(DeploymentError, match="cannot undo refused us-west-2"):
        broken.undo_all()
    assert [str(entry) for entry in outstanding(world.record)] == ["refused us-east-1", "refused us-west-2"]


def test_what_a_full_disk_keeps_from_being_undone_stays_on_record(world: World) -> None:
    before, broken = world.state(), faults(world)
    broken.apply(Step.model_validate({"fault": "control-planes"}))
    broken.apply(Step.model_validate({"fault": "refused", "region": "both"}))
    world.full.add(WEST)
    with pytest.raises(DeploymentError, match=r"cannot undo refused us-west-2 \(.*No space left on device\)") as caught:
        broken.undo_all()
    assert "\n" not in str(caught.value)
    assert broken.left() == (f"refused {WEST}",)
    world.full.clear()
    assert broken.undo_all() == (f"refused {WEST}",)
    assert world.state() == before


def test_nothing_is_broken_that_cannot_be_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = world.state()
    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(DeploymentError, match=r"cannot be written \(No space left on device\); nothing is broken"):
        faults(world).apply(Step.model_validate({"fault": "refused", "region": "both"}))
    assert world.state() == before


@pytest.mark.parametrize("text", ["", "{", "3", '[{"what": 1}]', "[3]", '[{"fault": "unknown", "region": null}]'])
def test_a_damaged_record_is_told_in_one_line(world: World, text: str) -> None:
    world.record.parent.mkdir()
    world.record.write_text(text, encoding="utf-8")
    with pytest.raises(DeploymentError, match=r"faults\.json cannot be read") as caught:
        faults(world).undo_all()
    assert "\n" not in str(caught.value)


def test_a_flag_that_somebody_else_has_set_stays(world: World) -> None:
    world.flags.add((WEST, EAST))
    broken = faults(world)
    broken.apply(Step.model_validate({"fault": "drained", "region": "primary"}))
    assert broken.left() == (f"drained {EAST}",)
    broken.undo_all()
    assert world.flags == {(WEST, EAST)}
    assert broken.left() == ()
