"""The journal of a simulated drill of 90 seconds: us-east-1 is lost at 20 s and back at 65 s."""

from random import Random

from healthcare_dr.ops.drill.journal import (
    Anomaly,
    Condition,
    Conflicts,
    Consistency,
    ErrorBudget,
    Event,
    Journal,
    Milestones,
    Missing,
    Observation,
    Operation,
    Promise,
    Reading,
    Requests,
    Sample,
    Write,
)
from healthcare_dr.ops.drill.self_monitor import instrument_health

EAST, WEST = "us-east-1", "us-west-2"
NASTY = """<script>alert("1")</script><img src='http://example.invalid/x'>&"""
FAULT, CHANGED, STEADY, HEALED = 20.0, 26.3, 28.1, 65.0


def samples() -> tuple[Sample, ...]:
    dice = Random(3)  # noqa: S311 - repeatable, and no secret
    made = []
    for number in range(90 * 20):
        at = number / 20
        region = EAST if dice.random() < 0.7 else WEST
        down = FAULT <= at < HEALED
        if down and at >= CHANGED + dice.random() * 1.8:
            region = WEST
        status: int | None = 200
        error, attempts, seconds = None, 1, 0.02 + dice.random() * 0.04
        if down and region == EAST:
            attempts = 4
            status, error, seconds = [(None, "ConnectError", 0.7), (503, None, 0.8), (None, "ReadTimeout", 6.0)][
                number % 3
            ]
        made.append(
            Sample(
                at=at,
                seconds=seconds,
                longest_wait=seconds,
                kind="read",
                client=number % 10,
                region=region,
                status=status,
                error=error,
                attempts=attempts,
            )
        )
    return tuple(made)


def observations() -> tuple[Observation, ...]:
    made = []
    for number in range(180):
        at = number / 2
        east = not 25.5 <= at < 70
        made.append(
            Observation(
                at=at,
                checks={
                    f"endpoint {EAST}": east,
                    f"endpoint {WEST}": True,
                    f"health {EAST}": east,
                    f"health {WEST}": True,
                },
                dns={EAST: 7, WEST: 3} if east else {WEST: 10},
                lag={} if at < 3 else {EAST: at - 20 if FAULT < at < HEALED else 0.8, WEST: 0.6},
            )
        )
    return tuple(made)


def readings() -> tuple[Reading, ...]:
    return tuple(
        Reading(
            at=float(at), send_seconds=0.01, loop_seconds=0.02, services_seconds=1.2 if at == 40 else 0.04,
            edge_seconds=0.01, busy_percent=60.0, stolen_percent=0.0, load=1.2,
        )
        for at in range(1, 90)
    )  # fmt: skip


V1, V2, V3 = (f"{number:013d}-0000-{EAST}" for number in (1, 2, 3))
FASTER = Operation(
    client=1, region=EAST, record="p1", kind="append", began=30.1, ended=30.2, named=V1, value="7", status=200,
    version=V2, values=("7",),
)  # fmt: skip
LATER = Operation(
    client=2, region=EAST, record="p1", kind="append", began=30.15, ended=30.3, named=V1, value="8", status=200,
    version=V3, values=("8",),
)  # fmt: skip


def consistency() -> Consistency:
    lost = Anomaly(
        check="register", name="lost update", record="p1", region=EAST,
        explanation=f"{V2} and {V3} both replaced {V1} in one region", operations=(FASTER, LATER),
    )  # fmt: skip
    return Consistency(
        operations=1200, indeterminate=41, records=20, appends=97, session_reads=610,
        found={"register": 1, "append": 0, "session": 0}, anomalies=(lost,),
    )  # fmt: skip


def journal() -> Journal:
    return Journal(
        label="embedded",
        outcome="passed",
        reason="every binding promise was kept",
        started="2026-11-24T02:00:00Z",
        seconds=90.0,
        experiment={"title": f"Lose {EAST}", "method": [{"type": "action", "name": "front door refuses"}]},
        settings={
            "ttl_seconds": 10,
            "time_scale": 10,
            "checker_regions": 3,
            "rate": 18.0,
            "rate_reason": "half of the 36.0 requests per second that this machine served in 4 s",
            "load": {"ignore_ttl": False},
        },
        regions=(EAST, WEST),
        lost=(EAST,),
        steady_state={
            "before": (Condition(name="requests succeed", held=True, seen="100 of 100"),),
            "after": (Condition(name="no conflict is open", held=True, seen="0"),),
        },
        events=(
            Event(at=0, kind="phase", text="steady state"),
            Event(at=FAULT, kind="fault", text="front door refuses", region=EAST),
            Event(at=25.5, kind="check", text=f"health {EAST} is unhealthy"),
            Event(at=HEALED, kind="undo", text="front door refuses", region=EAST),
            Event(at=66, kind="undo", text="replication paused"),
        ),
        samples=samples(),
        observations=observations(),
        writes=(Write(number=1, kind="patient", id="p1", at=19.0, region=EAST),),
        readings=readings(),
        instrument_health=instrument_health(readings()),
        milestones=Milestones(
            fault=FAULT,
            first_failure=20.1,
            checks={f"health {EAST}": 25.5},
            dns_changed=CHANGED,
            first_success=26.9,
            steady_success=STEADY,
        ),
        healed=HEALED,
        floor_seconds=4.0,
        requests=Requests(total=162, failed=108, refused=72, slow=0, by_region={EAST: 108, WEST: 54}),
        missing=(
            Missing(at=29, region=WEST, looked_for=300, numbers=tuple(range(380, 400)), seconds=1.4),
            Missing(at=80, region=WEST, looked_for=300, numbers=(), seconds=0.0),
        ),
        conflicts=Conflicts(found=3, merged=2, left=1),
        consistency=consistency(),
        error_budget=ErrorBudget(availability_percent=99.99, budget_seconds=259.2, spent_seconds=54.0),
        promises=(
            Promise(name="recovery time", limit="< 30.0 s", measured="8.1 s", kept=True),
            Promise(name="recovery time, aim", limit="≤ 6.0 s", measured="8.1 s", kept=False, binding=False),
        ),
        rolled_back=("front door refuses",),
    )


def empty() -> Journal:
    """Return the journal of a drill that did not start."""
    return Journal(
        label="embedded",
        outcome="not started",
        reason="the steady state did not hold",
        started="2026-11-24T02:00:00Z",
        seconds=0.0,
        experiment={},
        settings={},
        regions=(EAST, WEST),
        lost=(),
        floor_seconds=4.0,
        events=(),
        samples=(),
        observations=(),
        writes=(),
    )
