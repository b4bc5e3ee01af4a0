"""Draining and restoring: what is refused, and what is waited for in which order."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.drain.drain_flag import OperatorAction
from healthcare_dr.ops.drain.switch import WAIT_SECONDS, Drain, Preconditions, Restore, demand_reason, surviving_of

EAST, WEST = "us-east-1", "us-west-2"
ORDER = OperatorAction(id="o-1", at=datetime(2026, 3, 1, tzinfo=UTC), by="operator:eve", reason="a drill")


class World:
    """Both regions, DNS and a clock, with a log of all that was done; also the flag of the region to move."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = 0.0
        self.stands = self.peer_stands = self.peer_drained = False
        self.codes: dict[str, int | None] = {f"{EAST}/health": 200, f"{WEST}/health": 200}
        self.counts: Mapping[str, int] | None = {WEST: 8}
        self.around = Preconditions(
            region=EAST, surviving=WEST, urls={EAST: EAST, WEST: WEST}, ask=self.ask, dns=self.dns, ttl=10,
            clock=lambda: self.now, sleep=self.sleep, say=lambda _: None,
        )  # fmt: skip

    def ask(self, url: str) -> int | None:
        self.log.append(url)
        if url == f"{WEST}/drain/{EAST}":
            return 200 if self.stands else 404
        if url == f"{EAST}/drain/{WEST}":
            return 200 if self.peer_drained else 404
        return self.codes[url]

    def dns(self) -> Mapping[str, int] | None:
        self.log.append("dns")
        return self.counts

    def sleep(self, seconds: float) -> None:
        self.log.append(f"sleep {seconds:g}")
        self.now += seconds

    def is_set(self) -> bool:
        return self.stands

    def set(self, order: OperatorAction) -> bool:
        self.log.append(f"set {order.reason}")
        self.stands = True
        return True

    def clear(self, order: OperatorAction) -> bool:
        self.log.append(f"clear {order.reason}")
        self.stands = False
        return True

    def drain(self) -> Drain:
        peer = World.__new__(World)
        peer.stands = self.peer_stands
        return Drain(around=self.around, flag=self, other=peer)

    def restore(self, *reasons: str) -> Restore:
        return Restore(around=self.around, flag=self, readiness=(lambda: reasons,))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.trap(27)
def test_draining_waits_for_the_flag_then_for_dns_then_for_one_ttl(world: World) -> None:
    assert world.drain().run(ORDER).changed
    rounds = ["dns", "sleep 1"] * 3
    asked = [f"{EAST}/drain/{WEST}", f"{WEST}/health"]
    assert world.log == [*asked, "set a drill", f"{WEST}/drain/{EAST}", *rounds[:-1], "sleep 10"]


@pytest.mark.parametrize("found", ["flag", "answer", "unhealthy", "silent"])
def test_draining_is_refused_unless_forced(world: World, found: str) -> None:
    world.peer_stands, world.peer_drained = found == "flag", found == "answer"
    if found in ("unhealthy", "silent"):
        world.codes[f"{WEST}/health"] = 503 if found == "unhealthy" else None
    said = r"us-west-2 is drained itself" if found in ("flag", "answer") else "us-west-2 is not healthy"
    with pytest.raises(DeploymentError, match=rf"^us-east-1 is not drained: {said}[^\n]+--force --reason TEXT\)$"):
        world.drain().run(ORDER)
    assert not world.stands
    assert world.drain().run(ORDER, force=True).changed
    assert world.stands


def test_repeated_drain_writes_nothing(world: World) -> None:
    assert not world.restore().run(ORDER).changed
    world.stands = True
    assert not world.drain().run(ORDER).changed
    assert world.log == []


@pytest.mark.parametrize("counts", [{EAST: 1, WEST: 7}, None, {}])
def test_dns_that_does_not_leave_the_region_fails_in_the_end(world: World, counts: Mapping[str, int] | None) -> None:
    world.counts = counts
    with pytest.raises(DeploymentError, match=r"^waited 300 s in vain for DNS to leave us-east-1[^\n]+$"):
        world.drain().run(ORDER)
    assert world.now == WAIT_SECONDS
    assert world.stands


def test_nothing_is_waited_for_when_not_wanted(world: World) -> None:
    assert not world.drain().run(ORDER, wait=False).awaited
    assert world.log[-1] == "set a drill"


def test_restoring_waits_until_dns_names_the_region(world: World) -> None:
    world.stands, world.counts = True, {EAST: 1, WEST: 7}
    assert world.restore().run(ORDER).changed
    assert world.log == [f"{EAST}/health", "clear a drill", f"{WEST}/drain/{EAST}", "dns"]


@pytest.mark.parametrize(("code", "reasons"), [(503, ()), (None, ()), (200, ("replication is paused",))])
def test_restoring_is_refused_unless_forced(world: World, code: int | None, reasons: tuple[str, ...]) -> None:
    world.stands, world.codes[f"{EAST}/health"], world.counts = True, code, {EAST: 8}
    with pytest.raises(DeploymentError, match=r"^us-east-1 is not restored: [^\n]+$"):
        world.restore(*reasons).run(ORDER)
    assert world.stands
    assert world.restore(*reasons).run(ORDER, force=True).changed


def test_an_unknown_region_and_a_forced_order_without_reason_are_wrong_usage() -> None:
    assert surviving_of(WEST, (EAST, WEST)) == EAST
    with pytest.raises(SettingsError, match="eu-west-1 is not a region of this platform"):
        surviving_of("eu-west-1", (EAST, WEST))
    with pytest.raises(SettingsError, match="add --reason"):
        demand_reason(" ", force=True)
    demand_reason("", force=False)
