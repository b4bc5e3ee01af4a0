"""Which acknowledged writes are missing: those that a region denies after their delivery."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.drill.conflict_resolver import ResolvedConflicts
from healthcare_dr.ops.drill.journal import Missing, Write, Written
from healthcare_dr.ops.drill.load.ledger import Unfinished
from healthcare_dr.ops.drill.progress import STALL_SECONDS
from healthcare_dr.ops.drill.recovery_checks import ARRIVAL_SECONDS, FINAL_SECONDS, HealedData, ReplicationQueue
from healthcare_dr.ops.ports import EmbeddedAws
from unit.ops.drill.fakes import EAST, WEST, NoConflicts, Queue, checks


@dataclass
class Data:
    """A ledger of ten writes, and the data of the secondary region. Only `sleep` advances its clock."""

    now: float = 100.0
    arrives: dict[int, float] = field(default_factory=dict)
    """When a write arrives; others are present."""
    busy_until: float = 0.0
    kinds: dict[int, Written] = field(default_factory=dict)
    final: dict[int, float] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def writes(self) -> tuple[Write, ...]:
        return tuple(
            Write(number=n, kind=self.kinds.get(n, "patient"), id=f"i{n}", at=90.0 + n, region=EAST) for n in range(10)
        )

    def missing(self, region: str, *, at: float, numbers: Collection[int] | None = None, **_: Any) -> Missing:
        wanted = tuple(range(10) if numbers is None else numbers)
        if self.now < self.busy_until:
            return Missing(at=at, region=region, looked_for=len(wanted), numbers=(), seconds=0.0, unanswered=wanted)
        lost = tuple(n for n in wanted if self.arrives.get(n, 0.0) > self.now)
        return Missing(at=at, region=region, looked_for=len(wanted), numbers=lost, seconds=float(len(lost)))

    def unfinished(self, region: str, *, numbers: Collection[int] | None = None) -> Unfinished:
        wanted = self.final if numbers is None else numbers
        if self.now < self.busy_until:
            return Unfinished(numbers=(), unanswered=tuple(wanted))
        return Unfinished(numbers=tuple(n for n in wanted if self.final[n] > self.now))

    def queue(self, until: Callable[[float], float] = lambda now: now, *, held: bool = False) -> Queue:
        return Queue(self.clock, until=until, held=held)


def missing(data: Data, queue: Queue | None, *, own: bool = True, **changed: Any) -> Missing:
    return checks(data, queue, data.shown, **changed).missing(WEST, fault_at=99.0, own=own)


@pytest.mark.requirement("R4.2")
def test_write_that_is_denied_after_its_delivery_is_missing_at_once() -> None:
    data = Data(arrives={5: math.inf})
    found = missing(data, data.queue())
    assert (found.numbers, found.looked_for, found.unanswered, found.undelivered) == ((5,), 10, (), ())
    assert data.now == 100.0


def test_write_that_arrives_after_ten_minutes_of_slow_replication_is_not_missing() -> None:
    # Ten minutes behind, and one second of writes delivered in a minute.
    data = Data(arrives={9: 639.0})
    found = missing(data, data.queue(lambda now: 90.0 + (now - 100.0) / 60.0))
    assert (found.numbers, found.undelivered) == ((), ())
    assert data.now >= 639.0
    assert any("1 of 10 writes are on their way" in text for text in data.shown)


def test_write_that_was_denied_before_its_delivery_is_looked_up_again() -> None:
    data = Data(arrives={9: 103.0})
    found = missing(data, data.queue(lambda now: 98.0 if now < 103.0 else now))
    assert found.numbers == ()


def test_write_that_is_never_delivered_is_distinguished_from_a_lost_one() -> None:
    data = Data(arrives={2: math.inf, 9: math.inf})
    found = missing(data, data.queue(lambda _: 95.0))
    assert (found.numbers, found.undelivered) == ((2, 9), (9,))
    assert data.now == pytest.approx(100.0 + STALL_SECONDS, abs=1.0)


def test_write_is_unanswered_while_the_queue_does_not_respond() -> None:
    data = Data(arrives={9: math.inf})
    found = missing(data, data.queue(lambda _: -math.inf))
    assert (found.numbers, found.unanswered, found.seconds) == ((), (9,), 0.0)


def test_writes_are_unanswered_when_the_region_becomes_busy_before_their_delivery() -> None:
    data = Data(arrives={2: math.inf, 9: math.inf})

    def busy(seconds: float) -> None:
        data.now += seconds
        data.busy_until = data.now + 1000.0

    found = missing(data, data.queue(lambda _: 95.0), sleep=busy)
    assert (found.numbers, set(found.unanswered)) == ((), {2, 9})


def test_writes_on_their_way_are_unanswered_when_the_region_answers_only_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Data()
    partly = Missing(at=100.0, region=WEST, looked_for=10, numbers=(2, 9), seconds=3.0, unanswered=(4,))
    monkeypatch.setattr(data, "missing", lambda *_, **__: partly)
    found = missing(data, data.queue(lambda _: 95.0))
    assert (found.numbers, found.unanswered) == ((2,), (4, 9))


def test_missing_writes_are_not_waited_for_while_a_fault_holds_replication_back() -> None:
    data = Data(arrives={9: math.inf})
    found = missing(data, data.queue(lambda _: 95.0, held=True), own=False)
    assert (found.numbers, data.now) == ((9,), 100.0)


def test_missing_writes_are_waited_for_after_healing() -> None:
    data = Data(arrives={9: 110.0})
    assert missing(data, data.queue(lambda now: 95.0 if now < 110.0 else now, held=True)).numbers == ()


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(("arrives", "lost"), [(100.0 + ARRIVAL_SECONDS - 2, ()), (math.inf, (9,))])
def test_write_on_aws_is_missing_after_the_promised_time_of_answers(arrives: float, lost: tuple[int, ...]) -> None:
    data = Data(arrives={9: arrives})
    assert missing(data, None).numbers == lost
    assert data.now <= 100.0 + ARRIVAL_SECONDS + 1.0


@pytest.mark.parametrize(("arrives", "lost"), [(150.0, ()), (math.inf, (4,))])
def test_delivered_document_has_time_to_be_confirmed(arrives: float, lost: tuple[int, ...]) -> None:
    data = Data(arrives={4: arrives}, kinds={4: "document"})
    assert missing(data, data.queue()).numbers == lost


def test_replication_is_waited_for_as_long_as_it_delivers() -> None:
    data = Data()

    def wait(until: Callable[[float], float]) -> bool:
        queue: Any = data.queue(until)
        return checks(data, queue, data.shown).wait_for_replication(queue, until=100.0)

    assert wait(lambda now: 90.0 + (now - 100.0) / 60.0)
    assert data.now >= 700.0
    assert "3 changes wait for replication" in data.shown
    assert not wait(lambda _: 95.0)


def test_writes_at_recovery_are_not_waited_for_without_a_queue_or_with_a_fault_of_replication() -> None:
    data = Data(arrives={9: 110.0})
    for queue in (None, data.queue(lambda _: 95.0, held=True)):
        assert checks(data, queue, data.shown).at_recovery(WEST, fault_at=99.0).numbers == (9,)
    assert data.now == 100.0


def heal(data: Data, queue: Queue) -> tuple[HealedData, list[str]]:
    noted: list[str] = []
    resolver: Any = NoConflicts()
    checked = checks(data, queue, data.shown)
    return checked.after_healing(resolver, (EAST, WEST), fault_at=99.0, note=noted.append), noted


def test_documents_are_waited_for_as_long_as_further_ones_become_final() -> None:
    data = Data(final={n: 100.0 + (n + 1) * (FINAL_SECONDS - 10) for n in range(5)})
    found, noted = heal(data, data.queue())
    assert (found.unfinished, noted) == (Unfinished(numbers=()), [])
    assert any("documents are not final yet" in text for text in data.shown)


def test_document_that_never_becomes_final_is_unfinished() -> None:
    data = Data(final={3: math.inf})
    found, _ = heal(data, data.queue())
    assert found.unfinished == Unfinished(numbers=(3,))
    assert data.now == pytest.approx(100.0 + FINAL_SECONDS, abs=2.0)


def test_documents_of_a_busy_region_are_unanswered() -> None:
    data = Data(final={3: math.inf}, busy_until=math.inf)
    found, _ = heal(data, data.queue())
    assert found.unfinished == Unfinished(numbers=(), unanswered=(3,))
    assert all(missing.unanswered for missing in found.missing)


def test_stalled_replication_is_noted() -> None:
    data = Data()
    _, noted = heal(data, data.queue(lambda _: 95.0))
    assert noted == ["replication made no progress: 3 changes still wait"]


def test_merges_are_waited_for_before_versions_are_compared() -> None:
    data, merged = Data(), list[float]()

    class Merges(NoConflicts):
        def run(self) -> ResolvedConflicts:
            merged.append(data.now)
            return super().run()

    def until(now: float) -> float:
        """Return what is delivered: merges need 90 s."""
        return now if not merged or now >= merged[0] + 90.0 else merged[0] - 1.0

    resolver: Any = Merges()
    noted: list[str] = []
    checks(data, data.queue(until), data.shown).after_healing(resolver, (EAST, WEST), fault_at=99.0, note=noted.append)
    assert (data.now >= merged[0] + 90.0, noted) == (True, [])


class Aws:
    """The replication queue of an embedded AWS; `waiting` are its results or errors."""

    def __init__(self, waiting: Iterable[float | EmulatorError]) -> None:
        self._waiting = iter(waiting)

    def waiting_seconds(self) -> float:
        found = next(self._waiting)
        if isinstance(found, EmulatorError):
            raise found
        return found

    pending = waiting_seconds


def queue_of(waits: float | EmulatorError) -> ReplicationQueue:
    return ReplicationQueue(cast(EmbeddedAws, Aws([waits])), clock=lambda: 50.0)


@pytest.mark.parametrize(("waits", "until"), [(0.0, 50.0), (2.5, 47.5), (EmulatorError("no response"), -math.inf)])
def test_writes_before_the_oldest_pending_change_are_delivered(waits: float | EmulatorError, until: float) -> None:
    assert queue_of(waits).delivered_until() == until


def test_length_of_a_queue_that_does_not_respond_is_unknown() -> None:
    assert queue_of(EmulatorError("no response")).pending() is None
