"""How a drill shows what it waits for."""

from healthcare_dr.ops.drill.progress import ProgressView
from unit.ops.drill.made_up_platform import Progress


def test_long_wait_is_said_every_fifteen_seconds_and_short_ones_are_not() -> None:
    told: list[str] = []
    now = [0.0]
    view = ProgressView(progress=Progress(told), clock=lambda: now[0])
    view.begin("method")
    now[0] = 100.0
    for _ in range(3):
        view.show("a moment")
        now[0] += 1.0
    now[0] = 200.0
    for number in range(32):
        view.show(f"{number} changes wait")
        now[0] += 1.0
    assert [text for text in told if text.startswith("waiting")] == [
        "waiting: 15 changes wait",
        "waiting: 30 changes wait",
    ]
