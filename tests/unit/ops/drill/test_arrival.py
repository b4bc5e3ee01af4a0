"""When an acknowledged write is missing: a region denies it after replication has delivered it."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.drill.journal import Missing, Write, Written
from healthcare_dr.ops.drill.load.ledger import OnAnswer, Unfinished
from healthcare_dr.ops.drill.recovery_checks import (
    ARRIVAL_SECONDS,
    FINAL_SECONDS,
    EmbeddedDelivery,
    drained,
    healed,
    settled,
)
from healthcare_dr.ops.drill.waiting import STALL_SECONDS, StallDetector
from unit.ops.drill.made_up_platform import EAST, WEST, Merging


@dataclass
class Data:
    """The secondary region's data, on a clock that only `sleep` moves forward."""

    now: float = 100.0
    arrives: dict[int, float] = field(default_factory=dict)
    """When a write is there; those not named are."""
    busy_until: float = 0.0
    kinds: dict[int, Written] = field(default_factory=dict)
    final: dict[int, float] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def awaited(self) -> frozenset[str]:
        return frozenset()

    def writes(self) -> tuple[Write, ...]:
        return tuple(
            Write(number=n, kind=self.kinds.get(n, "patient"), id=f"i{n}", at=90.0 + n, region=EAST) for n in range(10)
        )

    def missing(
        self,
        region: str,
        *,
        at: float,
        fault_at: float,
        numbers: Collection[int] | None = None,
        own: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Missing:
        wanted = list(range(10) if numbers is None else numbers)
        if self.now < self.busy_until:
            return Missing(
                at=at, region=region, looked_for=len(wanted), numbers=(), seconds=0.0, unanswered=tuple(wanted)
            )
        lost = tuple(n for n in wanted if self.arrives.get(n, 0.0) > self.now)
        return Missing(at=at, region=region, looked_for=len(wanted), numbers=lost, seconds=float(len(lost)))

    def unfinished(
        self, region: str, *, numbers: Collection[int] | None = None, on_answer: OnAnswer | None = None
    ) -> Unfinished:
        wanted = self.final if numbers is None else numbers
        if self.now < self.busy_until:
            return Unfinished(numbers=(), unanswered=tuple(wanted))
        return Unfinished(numbers=tuple(n for n in wanted if self.final[n] > self.now))


@dataclass
class Queue:
    """What replication has delivered at a time."""

    data: Data
    until: Callable[[float], float] = lambda now: now
    held: bool = False

    def delivered_until(self) -> float:
        return self.until(self.data.now)

    def pending(self) -> int | None:
        return 3

    def held_back(self) -> bool:
        return self.held


def look(data: Data, queue: Queue | None, *, own: bool = True) -> Missing:
    return settled(
        data,
        WEST,
        fault_at=99.0,
        own=own,
        delivery=queue,
        clock=data.clock,
        sleep=data.sleep,
        report=data.shown.append,
    )


@pytest.mark.requirement("R4.2")
def test_write_that_is_denied_after_its_delivery_is_missing_at_once() -> None:
    data = Data(arrives={5: math.inf})
    found = look(data, Queue(data))
    assert (found.numbers, found.looked_for, found.unanswered, found.undelivered) == ((5,), 10, (), ())
    assert data.now == 100.0


def test_write_that_arrives_while_the_queue_is_slow_is_not_missing_however_long_it_takes() -> None:
    # Ten minutes behind, and one second of writes delivered in a minute.
    data = Data(arrives={9: 639.0})
    found = look(data, Queue(data, until=lambda now: 90.0 + (now - 100.0) / 60.0))
    assert (found.numbers, found.undelivered) == ((), ())
    assert data.now >= 639.0
    assert any("1 of 10 writes are on their way" in text for text in data.shown)


def test_write_that_was_denied_before_its_delivery_is_asked_for_again() -> None:
    data = Data(arrives={9: 103.0})
    found = look(data, Queue(data, until=lambda now: 98.0 if now < 103.0 else now))
    assert found.numbers == ()


def test_write_that_is_never_delivered_is_told_from_one_that_is_lost() -> None:
    data = Data(arrives={2: math.inf, 9: math.inf})
    found = look(data, Queue(data, until=lambda _: 95.0))
    assert (found.numbers, found.undelivered) == ((2, 9), (9,))
    assert data.now == pytest.approx(100.0 + STALL_SECONDS, abs=1.0)


def test_nothing_is_known_while_the_queue_cannot_be_asked() -> None:
    data = Data(arrives={9: math.inf})
    found = look(data, Queue(data, until=lambda _: -math.inf))
    assert (found.numbers, found.unanswered, found.seconds) == ((), (9,), 0.0)


def test_region_that_becomes_busy_before_a_write_was_delivered_leaves_nothing_known() -> None:
    data = Data(arrives={2: math.inf, 9: math.inf})
    queue = Queue(data, until=lambda _: 95.0)

    def busy(seconds: float) -> None:
        data.now += seconds
        data.busy_until = data.now + 1000.0

    found = settled(
        data, WEST, fault_at=99.0, own=True, delivery=queue, clock=data.clock, sleep=busy, report=data.shown.append
    )
    assert (found.numbers, set(found.unanswered)) == ((), {2, 9})


def test_region_that_answers_for_some_writes_only_leaves_those_on_the_way_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = Data()
    partly = Missing(at=100.0, region=WEST, looked_for=10, numbers=(2, 9), seconds=3.0, unanswered=(4,))
    monkeypatch.setattr(data, "missing", lambda *_, **__: partly)
    found = look(data, Queue(data, until=lambda _: 95.0))
    assert (found.numbers, found.unanswered) == ((2,), (4, 9))


def test_while_a_fault_holds_replication_back_nothing_is_waited_for() -> None:
    data = Data(arrives={9: math.inf})
    found = look(data, Queue(data, until=lambda _: 95.0, held=True), own=False)
    assert (found.numbers, data.now) == ((9,), 100.0)


def test_after_healing_every_delivery_is_waited_for() -> None:
    data = Data(arrives={9: 110.0})
    assert look(data, Queue(data, until=lambda now: 95.0 if now < 110.0 else now, held=True)).numbers == ()


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(("arrives", "missing"), [(100.0 + ARRIVAL_SECONDS - 2, ()), (math.inf, (9,))])
def test_on_aws_a_write_has_the_promised_time_in_which_the_region_answers(
    arrives: float, missing: tuple[int, ...]
) -> None:
    data = Data(arrives={9: arrives})
    assert look(data, None).numbers == missing
    assert data.now <= 100.0 + ARRIVAL_SECONDS + 1.0


@pytest.mark.parametrize(("arrives", "missing"), [(150.0, ()), (math.inf, (4,))])
def test_document_that_was_delivered_has_time_to_be_confirmed(arrives: float, missing: tuple[int, ...]) -> None:
    data = Data(arrives={4: arrives}, kinds={4: "document"})
    assert look(data, Queue(data)).numbers == missing


def test_queue_is_waited_for_as_long_as_it_delivers() -> None:
    data = Data()

    def wait(queue: Queue) -> bool:
        return drained(queue, until=100.0, clock=data.clock, sleep=data.sleep, report=data.shown.append)

    assert wait(Queue(data, until=lambda now: 90.0 + (now - 100.0) / 60.0))
    assert data.now >= 700.0
    assert "3 changes wait for replication" in data.shown
    assert not wait(Queue(data, until=lambda _: 95.0))


def heal(data: Data, queue: Queue | None) -> Any:
    noted: list[str] = []
    found = healed(
        data,
        Merging(),
        (EAST, WEST),
        fault_at=99.0,
        delivery=queue,
        clock=data.clock,
        sleep=data.sleep,
        report=data.shown.append,
        note=noted.append,
    )
    return found, noted


def test_documents_are_waited_for_as_long_as_one_after_the_other_becomes_final() -> None:
    data = Data(final={n: 100.0 + (n + 1) * (FINAL_SECONDS - 10) for n in range(5)})
    found, noted = heal(data, Queue(data))
    assert (found.unfinished, noted) == (Unfinished(numbers=()), [])
    assert any("documents are not final yet" in text for text in data.shown)


def test_document_that_never_becomes_final_is_told() -> None:
    data = Data(final={3: math.inf})
    found, _ = heal(data, Queue(data))
    assert found.unfinished == Unfinished(numbers=(3,))
    assert data.now == pytest.approx(100.0 + FINAL_SECONDS, abs=2.0)


def test_busy_region_leaves_nothing_known_of_documents() -> None:
    data = Data(final={3: math.inf}, busy_until=math.inf)
    found, _ = heal(data, Queue(data))
    assert found.unfinished == Unfinished(numbers=(), unanswered=(3,))
    assert all(missing.unanswered for missing in found.missing)


def test_replication_that_stands_still_is_noted() -> None:
    data = Data()
    _, noted = heal(data, Queue(data, until=lambda _: 95.0))
    assert noted == ["replication made no progress: 3 changes still wait"]


class Aws:
    """The replication queue of an embedded AWS; `waiting` is what it says, or what it raises."""

    def __init__(self, waiting: Iterable[float | EmulatorError]) -> None:
        self._waiting = iter(waiting)

    def waiting_seconds(self) -> float:
        found = next(self._waiting)
        if isinstance(found, EmulatorError):
            raise found
        return found

    pending = waiting_seconds


@pytest.mark.parametrize(
    ("waits", "until"), [(0.0, 50.0), (2.5, 47.5), (EmulatorError("it does not answer"), -math.inf)]
)
def test_everything_older_than_the_oldest_change_that_waits_was_delivered(
    waits: float | EmulatorError, until: float
) -> None:
    assert EmbeddedDelivery(Aws([waits]), clock=lambda: 50.0).delivered_until() == until  # type: ignore[arg-type]


def test_queue_that_does_not_answer_has_an_unknown_length() -> None:
    busy = EmulatorError("it does not answer")
    assert EmbeddedDelivery(Aws([busy]), clock=lambda: 50.0).pending() is None  # type: ignore[arg-type]


def test_state_that_was_seen_before_is_no_progress() -> None:
    now = [0.0]
    stall, over = StallDetector(lambda: now[0], 10.0), []
    for state in ("a", "b", "a", "b"):
        now[0] += 4.0
        stall.note(state)
        over.append(stall.over)
    now[0] += 2.0
    over.append(stall.over)
    stall.note("c")
    assert [*over, stall.over] == [False, False, False, False, True, False]
