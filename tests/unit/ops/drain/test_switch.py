"""Drain and restore: preconditions, and the order of the steps."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.drain.drain_flag import OperatorAction
from healthcare_dr.ops.drain.switch import WAIT_SECONDS, TrafficSwitch, require_reason, surviving_of

EAST, WEST = "us-east-1", "us-west-2"
ACTION = OperatorAction(id="o-1", at=datetime(2026, 3, 1, tzinfo=UTC), by="operator:eve", reason="a drill")


class Flag:
    """A drain flag."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.present = False

    def is_set(self) -> bool:
        return self.present

    def set(self, action: OperatorAction) -> bool:
        self.log.append(f"set {action.reason}")
        self.present = True
        return True

    def clear(self, action: OperatorAction) -> bool:
        self.log.append(f"clear {action.reason}")
        self.present = False
        return True


class World:
    """Both regions, DNS and a clock, with a log of all steps."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = 0.0
        self.flag, self.surviving_flag = Flag(self.log), Flag(self.log)
        self.codes: dict[str, int | None] = {f"{EAST}/health": 200, f"{WEST}/health": 200, f"{EAST}/drain/{WEST}": 404}
        self.counts: Mapping[str, int] | None = {WEST: 8}
        self.reasons: list[str] = []

    def switch(self) -> TrafficSwitch:
        return TrafficSwitch(
            region=EAST, surviving=WEST, urls={EAST: EAST, WEST: WEST}, flag=cast(Any, self.flag),
            surviving_flag=cast(Any, self.surviving_flag), readiness=(lambda: self.reasons,), probe=self.probe,
            dns=self.dns, ttl=10, say=lambda _: None, clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip

    def probe(self, url: str) -> int | None:
        self.log.append(url)
        if url == f"{WEST}/drain/{EAST}":
            return 200 if self.flag.present else 404
        return self.codes[url]

    def dns(self) -> Mapping[str, int] | None:
        self.log.append("dns")
        return self.counts

    def sleep(self, seconds: float) -> None:
        self.log.append(f"sleep {seconds:g}")
        self.now += seconds


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def drained(world: World) -> World:
    world.flag.present, world.counts = True, {EAST: 1, WEST: 7}
    return world


@pytest.mark.trap(27)
def test_drain_waits_for_the_flag_then_for_dns_then_for_one_ttl(world: World) -> None:
    assert world.switch().drain(ACTION).changed
    rounds = ["dns", "sleep 1"] * 3
    checked = [f"{EAST}/drain/{WEST}", f"{WEST}/health"]
    assert world.log == [*checked, "set a drill", f"{WEST}/drain/{EAST}", *rounds[:-1], "sleep 10"]


@pytest.mark.parametrize(
    ("flag", "codes", "reason"),
    [
        (True, {}, "us-west-2 is drained itself"),
        (False, {f"{EAST}/drain/{WEST}": 200}, "us-west-2 is drained itself"),
        (False, {f"{WEST}/health": 503}, "us-west-2 is not healthy"),
        (False, {f"{WEST}/health": None}, "us-west-2 is not healthy"),
    ],
)
def test_drain_is_refused_unless_forced(world: World, flag: bool, codes: dict[str, int | None], reason: str) -> None:
    world.surviving_flag.present = flag
    world.codes |= codes
    with pytest.raises(DeploymentError, match=rf"^us-east-1 is not drained: {reason}[^\n]+--force --reason TEXT\)$"):
        world.switch().drain(ACTION)
    assert not world.flag.present
    assert world.switch().drain(ACTION, force=True).changed
    assert world.flag.present


def test_repeated_drain_or_restore_writes_nothing(world: World) -> None:
    assert not world.switch().restore(ACTION).changed
    world.flag.present = True
    assert not world.switch().drain(ACTION).changed
    assert world.log == []


@pytest.mark.parametrize("counts", [{EAST: 1, WEST: 7}, None, {}])
def test_drain_fails_if_dns_does_not_leave_the_region(world: World, counts: Mapping[str, int] | None) -> None:
    world.counts = counts
    with pytest.raises(DeploymentError, match=r"^waited 300 s without success for DNS to leave us-east-1[^\n]+$"):
        world.switch().drain(ACTION)
    assert world.now == WAIT_SECONDS
    assert world.flag.present


def test_drain_without_wait_ends_after_the_flag_is_set(world: World) -> None:
    assert not world.switch().drain(ACTION, wait=False).awaited
    assert world.log[-1] == "set a drill"


def test_restore_waits_until_dns_names_the_region(drained: World) -> None:
    assert drained.switch().restore(ACTION).changed
    assert drained.log == [f"{EAST}/health", "clear a drill", f"{WEST}/drain/{EAST}", "dns"]


@pytest.mark.parametrize(("code", "reasons"), [(503, []), (None, []), (200, ["replication is paused"])])
def test_restore_is_refused_unless_forced(drained: World, code: int | None, reasons: list[str]) -> None:
    drained.codes[f"{EAST}/health"], drained.reasons = code, reasons
    with pytest.raises(DeploymentError, match=r"^us-east-1 is not restored: [^\n]+$"):
        drained.switch().restore(ACTION)
    assert drained.flag.present
    assert drained.switch().restore(ACTION, force=True).changed


def test_unknown_region_and_force_without_reason_are_wrong_usage() -> None:
    assert surviving_of(WEST, (EAST, WEST)) == EAST
    with pytest.raises(SettingsError, match="eu-west-1 is not a region of this platform"):
        surviving_of("eu-west-1", (EAST, WEST))
    with pytest.raises(SettingsError, match="add --reason"):
        require_reason(" ", force=True)
    require_reason("", force=False)
