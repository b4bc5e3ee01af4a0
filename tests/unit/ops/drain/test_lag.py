"""Whether the embedded replication lets a region be restored."""

from dataclasses import dataclass
from typing import Any, cast

import pytest

from healthcare_dr.ops.drain.preconditions import embedded_lag


@dataclass
class Replicating:
    """The embedded AWS as far as it is asked: `waiting` is answered one value a time, the last one for ever."""

    waiting: list[float]
    tables: bool = True
    documents: bool = True
    lag_seconds: float = 0.5

    def replication(self) -> "Replicating":
        return self

    def waiting_seconds(self) -> float:
        return self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]


def reasons(emulator: Replicating) -> list[str]:
    now = iter(range(1000))
    return embedded_lag(cast(Any, emulator), limit_seconds=60, clock=lambda: float(next(now)), sleep=lambda _: None)


@pytest.mark.parametrize("waiting", [[0.0], [0.4], [2.5], [90.0, 30.0, 0.3]])
def test_writes_on_their_way_hold_nothing_up(waiting: list[float]) -> None:
    assert reasons(Replicating(waiting)) == []


def test_a_write_that_does_not_arrive_does() -> None:
    assert reasons(Replicating([7.0])) == ["a write of 7 s ago has not been replicated"]


def test_so_does_replication_that_is_paused_or_set_to_lag() -> None:
    assert reasons(Replicating([0.0], tables=False)) == ["replication is paused"]
    assert reasons(Replicating([0.0], documents=False)) == ["replication is paused"]
    assert reasons(Replicating([0.0], lag_seconds=61)) == ["replication lags by 61 s"]
