"""The progress of a drill, and its absence."""

from healthcare_dr.ops.drill.progress import ProgressView, StallDetector
from unit.ops.drill.fakes import Lines


def test_long_wait_is_written_every_fifteen_seconds_and_a_short_one_is_not() -> None:
    lines: list[str] = []
    now = [0.0]
    view = ProgressView(progress=Lines(lines), clock=lambda: now[0])
    view.begin("method")
    now[0] = 100.0
    for _ in range(3):
        view.waiting("a moment")
        now[0] += 1.0
    now[0] = 200.0
    for number in range(32):
        view.waiting(f"{number} changes wait")
        now[0] += 1.0
    waits = [line for line in lines if line.startswith("waiting")]
    assert waits == ["waiting: 15 changes wait", "waiting: 30 changes wait"]


def test_repeated_state_is_no_progress() -> None:
    now = [0.0]
    stall, stalled = StallDetector(lambda: now[0], 10.0), []
    for state in ("a", "b", "a", "b"):
        now[0] += 4.0
        stall.note(state)
        stalled.append(stall.stalled)
    now[0] += 2.0
    stalled.append(stall.stalled)
    stall.note("c")
    assert [*stalled, stall.stalled] == [False, False, False, False, True, False]
