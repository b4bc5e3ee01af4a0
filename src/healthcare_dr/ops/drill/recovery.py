"""Compute recovery milestones from samples and observations. All functions are pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import floor, inf
from typing import Final

from healthcare_dr.ops.drill.journal import ErrorBudget, Milestones, Observation, Requests, Sample

BUDGET_DAYS: Final = 30
DAY_SECONDS: Final = 86_400
DESCRIBED: Final = 3
"""How many failed requests are described: a verdict is one line."""
NOWHERE: Final = "nowhere"
"""In `Requests.by_region`, the requests that found no address."""


def milestones(
    samples: Iterable[Sample],
    observations: Iterable[Observation],
    *,
    fault: float,
    lost: Collection[str],
    window: float,
    patience: float = inf,
) -> Milestones:
    """Return the milestones from `fault` to recovery. `lost` are the regions that the fault takes away; `window` is in
    seconds.

    A request that waited longer than `patience` seconds for one response counts as failed: a client that waits for a
    hanging region has not recovered, even if a retry succeeds.

    Requests count by the time at which they were due, in any order. The outcome of requests in flight is unknown, so
    the result is final only after the longest request can have ended.

    Steady success is the time at which the first request after the last failure was due, if none failed for a whole
    window from then on; a later request shows that the window is complete. A pause between two failures is not
    recovery, however long: clients that hold the surviving region's address notice nothing until it expires. Without
    failures it is the time of the fault.
    """
    after = sorted((sample for sample in samples if sample.at >= fault), key=lambda sample: sample.at)
    seen = sorted(observations, key=lambda observation: observation.at)
    failed = [sample for sample in after if not sample.succeeded or sample.longest_wait > patience]
    return Milestones(
        fault=fault,
        first_failure=failed[0].at if failed else None,
        checks=_checks(seen, fault),
        dns_changed=_dns_changed(seen, fault, lost, window),
        first_success=_first_success(after, failed),
        steady_success=_steady_success(after, [sample.at for sample in failed], fault, window),
        last_failures=tuple(sample.described(fault) for sample in failed[-DESCRIBED:]),
    )


def requests(
    samples: Iterable[Sample], *, fault: float, until: float | None = None, slow_seconds: float = 1.0
) -> Requests:
    """Return the outcomes of requests due from `fault` to `until` inclusive (None: all). A success that took more than
    `slow_seconds` is slow.
    """
    counted = [sample for sample in samples if fault <= sample.at and (until is None or sample.at <= until)]
    failed = [sample for sample in counted if not sample.succeeded]
    return Requests(
        total=len(counted),
        failed=len(failed),
        refused=sum(sample.refused for sample in failed),
        slow=sum(sample.succeeded and sample.seconds > slow_seconds for sample in counted),
        by_region=dict(sorted(Counter(sample.region or NOWHERE for sample in counted).items())),
    )


def error_budget(
    samples: Iterable[Sample],
    *,
    fault: float,
    availability_percent: float,
    time_scale: float = 1.0,
    patience: float = inf,
) -> ErrorBudget:
    """Return the use since `fault` of the unavailability that `availability_percent` allows in 30 days.

    Each second in which requests were due costs the share of them that failed, or waited longer than `patience` seconds
    for one response, times `time_scale`.
    """
    total: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for sample in samples:
        if sample.at >= fault:
            second = floor(sample.at - fault)
            total[second] += 1
            failed[second] += not sample.succeeded or sample.longest_wait > patience
    return ErrorBudget(
        availability_percent=availability_percent,
        budget_seconds=round((100 - availability_percent) / 100 * BUDGET_DAYS * DAY_SECONDS, 3),
        spent_seconds=sum(failed[second] / count for second, count in total.items()) * time_scale,
    )


def _steady_success(after: Sequence[Sample], failures: Sequence[float], fault: float, window: float) -> float | None:
    if not after:
        return None
    last = after[-1].at
    if not failures:
        # A single request, due long after the fault, shows nothing about the window.
        return fault if after[0].at <= fault + window < last else None
    following = next((sample.at for sample in after if sample.at > failures[-1]), last)
    return following if following + window < last else None


def _first_success(after: Sequence[Sample], failures: Sequence[Sample]) -> float | None:
    failed: dict[int, float] = {}
    for sample in failures:
        failed.setdefault(sample.client, sample.at)
    bad = set(map(id, failures))
    for sample in after:
        if id(sample) not in bad and sample.at > failed.get(sample.client, inf):
            return sample.at
    return None


def _checks(seen: Sequence[Observation], fault: float) -> dict[str, float]:
    statuses: dict[str, bool] = {}
    changed: dict[str, float] = {}
    for observation in seen:
        for name, healthy in observation.checks.items():
            if observation.at < fault:
                statuses[name] = healthy
            elif statuses.setdefault(name, healthy) != healthy:
                changed.setdefault(name, observation.at)
    return changed


def _dns_changed(seen: Sequence[Observation], fault: float, lost: Collection[str], window: float) -> float | None:
    if not lost:
        return None
    answered = [observation for observation in seen if observation.at >= fault and observation.dns]
    naming = [observation.at for observation in answered if any(observation.dns.get(region, 0) for region in lost)]
    for observation in answered:
        if observation.at + window > answered[-1].at:
            return None
        # DNS selects answers by weight: one observation without a lost region may be chance, a whole window hardly is.
        following = bisect_left(naming, observation.at)
        if following == len(naming) or naming[following] > observation.at + window:
            return observation.at
    return None
