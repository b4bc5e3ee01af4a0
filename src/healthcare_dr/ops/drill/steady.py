"""The steady state: whether the last seconds were as they should be. Pure."""

from collections.abc import Iterable, Sequence

from healthcare_dr.ops.drill.journal import Condition
from healthcare_dr.ops.drill.model import Observation, Sample

LAG_SECONDS = 10.0


def conditions(
    hypotheses: Sequence[str],
    samples: Iterable[Sample],
    observations: Iterable[Observation],
    *,
    regions: tuple[str, str],
    now: float,
    window: float,
) -> tuple[Condition, ...]:
    """Each of an experiment's `steady_state`, judged by what was seen in the last `window` seconds before `now`."""
    sent = [sample for sample in samples if now - window <= sample.at <= now]
    seen = [observation for observation in observations if now - window <= observation.at <= now]
    judged = {
        "requests-succeed": _requests(sent),
        "checks-healthy": _checks(seen),
        "dns-names-both": _dns(seen, regions),
        "replication-caught-up": _lag(seen),
    }
    return tuple(Condition(name=name, held=judged[name][0], seen=judged[name][1]) for name in hypotheses)


def _requests(sent: list[Sample]) -> tuple[bool, str]:
    failed = sum(not sample.succeeded for sample in sent)
    return bool(sent) and not failed, f"{failed} of {len(sent)} requests failed"


def _checks(seen: list[Observation]) -> tuple[bool, str]:
    checks = seen[-1].checks if seen else {}
    ill = sorted(name for name, healthy in checks.items() if not healthy)
    return bool(checks) and not ill, f"unhealthy: {', '.join(ill)}" if ill else f"{len(checks)} checks are healthy"


def _dns(seen: list[Observation], regions: tuple[str, str]) -> tuple[bool, str]:
    named = {region for observation in seen for region, times in observation.dns.items() if times}
    return named == set(regions), f"DNS names {', '.join(sorted(named)) or 'nothing'}"


def _lag(seen: list[Observation]) -> tuple[bool, str]:
    lag = seen[-1].lag if seen else {}
    worst = max(lag.values(), default=0.0)
    return worst <= LAG_SECONDS, f"replication takes {worst:.1f} s" if lag else "nothing was replicated yet"
