"""Judge the steady-state hypothesis by the samples and observations of the last seconds. All functions are pure."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import takewhile
from typing import Final

from healthcare_dr.ops.drill.journal import Condition, Observation, Sample

LAG_SECONDS: Final = 10.0
HANGING_SECONDS: Final = 2.0
"""Longer than health checkers wait for a response."""


def conditions(
    hypotheses: Sequence[str],
    samples: Iterable[Sample],
    observations: Iterable[Observation],
    *,
    regions: tuple[str, str],
    now: float,
    window: float,
    waiting_since: float | None,
    awaited: Collection[str] = (),
) -> tuple[Condition, ...]:
    """Judge each condition of an experiment's `steady_state` by the last `window` seconds before `now`.

    `waiting_since` is the time at which the oldest request in flight was due: a request that hangs has no sample yet.
    `awaited` are the regions in which nothing has arrived that another region acknowledged: their lag is unknown.
    """
    sent = [sample for sample in samples if now - window <= sample.at <= now]
    seen = [observation for observation in observations if now - window <= observation.at <= now]
    judged = {
        "requests-succeed": _requests(sent, 0.0 if waiting_since is None else now - waiting_since),
        "checks-healthy": _checks(seen),
        "dns-names-both": _dns(seen, regions),
        "replication-caught-up": _lag(seen, awaited),
    }
    return tuple(Condition(name=name, held=judged[name][0], seen=judged[name][1]) for name in hypotheses)


def recent(samples: Sequence[Sample], since: float) -> list[Sample]:
    """Return the samples due since a time. `samples` are in the order of their ends, so only the newest are read."""
    ended = takewhile(lambda sample: sample.at + sample.seconds >= since, reversed(samples))
    return [sample for sample in ended if sample.at >= since]


def progress_of(
    found: Sequence[Condition], observations: Sequence[Observation], *, delivered_until: float | None
) -> Hashable:
    """Return a state that changes when the platform makes progress towards its steady state.

    It contains the conditions that hold, the health checks, the regions in DNS, and, while replication is behind, the
    time up to which it has delivered.
    """
    seen = observations[-1] if observations else None
    held = frozenset(condition.name for condition in found if condition.held)
    behind = "replication-caught-up" not in held and delivered_until is not None
    return (
        held,
        frozenset(seen.checks.items()) if seen else None,
        frozenset(seen.dns) if seen else None,
        int(delivered_until) if behind and delivered_until is not None and delivered_until > 0 else None,
    )


def _requests(sent: list[Sample], waiting: float) -> tuple[bool, str]:
    failed = sum(not sample.succeeded for sample in sent)
    hanging = waiting > HANGING_SECONDS
    text = f"{failed} of {len(sent)} requests failed" + (f", one waits for {waiting:.1f} s" if hanging else "")
    return bool(sent) and not failed and not hanging, text


def _checks(seen: list[Observation]) -> tuple[bool, str]:
    checks = seen[-1].checks if seen else {}
    unhealthy = sorted(name for name, healthy in checks.items() if not healthy)
    return bool(
        checks
    ) and not unhealthy, f"unhealthy: {', '.join(unhealthy)}" if unhealthy else f"{len(checks)} checks are healthy"


def _dns(seen: list[Observation], regions: tuple[str, str]) -> tuple[bool, str]:
    named = {region for observation in seen for region, times in observation.dns.items() if times}
    return named == set(regions), f"DNS names {', '.join(sorted(named)) or 'nothing'}"


def _lag(seen: list[Observation], awaited: Collection[str]) -> tuple[bool, str]:
    lag = seen[-1].lag if seen else {}
    if awaited or not lag:
        return False, f"nothing was replicated yet to {', '.join(sorted(awaited)) or 'any region'}"
    worst = max(lag.values())
    return worst <= LAG_SECONDS, f"replication takes {worst:.1f} s"
