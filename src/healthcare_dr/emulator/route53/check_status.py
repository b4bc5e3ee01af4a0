"""Derive the status of health checks from the probes of the checkers.

The rules are those of Route 53 ("How Amazon Route 53 determines whether a health check is healthy", "Values that you
specify when you create or update health checks").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, CheckStatus, Observation

# A check is healthy when more than this share of its checkers reports it healthy.
HEALTHY_SHARE = 0.18


@dataclass(frozen=True)
class Streak:
    """The result of one checker, and the number of its last consecutive probes with the opposite result.

    A checker starts healthy, and so does a new check.
    """

    healthy: bool = True
    opposite: int = 0

    def after(self, success: bool, *, threshold: int) -> "Streak":
        """Return the streak after one more probe; `threshold` consecutive opposite probes change the result."""
        if success == self.healthy:
            return Streak(self.healthy)
        if self.opposite + 1 >= threshold:
            return Streak(success)
        return Streak(self.healthy, self.opposite + 1)


def share_of(votes: Iterable[bool]) -> float:
    """Return the share of healthy results, 0 to 1; 1 without any."""
    counted = list(votes)
    return sum(counted) / len(counted) if counted else 1.0


def is_healthy(
    check: CheckConfig,
    checks: Mapping[str, CheckConfig],
    shares: Mapping[str, float],
    parents: frozenset[str] = frozenset(),
) -> bool:
    """Return whether `check` is healthy. A disabled check is healthy unless it is inverted, also for calculated checks.

    Args:
        checks: all checks by id, to find the children of a calculated one.
        shares: by id, the share of checkers that find it healthy; a check without data is missing.
        parents: the calculated checks that include it. Inside themselves, they count as healthy.
    """
    seen = parents | {check.id}
    if check.disabled:
        healthy = True
    elif check.type == "CALCULATED":
        children = (
            child in seen or child not in checks or is_healthy(checks[child], checks, shares, seen)
            for child in check.children
        )
        healthy = sum(children) >= check.child_threshold
    else:
        healthy = shares.get(check.id, 1.0) > HEALTHY_SHARE
    return healthy != check.inverted


class ProbeResults:
    """The result and last observation of every checker, by check and the checker's region.

    Args:
        regions: returns the regions whose checkers probe at the moment; only their results count.
    """

    def __init__(self, regions: Callable[[], Sequence[str]] = lambda: CHECKER_REGIONS) -> None:
        self._regions = regions
        self._active_regions = tuple(regions())
        self._streaks: dict[str, dict[str, Streak]] = {}
        self._observations: dict[str, dict[str, Observation]] = {}

    def record(self, check: CheckConfig, observation: Observation, *, success: bool) -> None:
        """Record one probe."""
        self._update_active_regions()
        streaks = self._streaks.setdefault(check.id, {})
        before = streaks.get(observation.region, Streak())
        streaks[observation.region] = before.after(success, threshold=check.threshold)
        self._observations.setdefault(check.id, {})[observation.region] = observation

    def keep_only(self, ids: Iterable[str]) -> None:
        """Remove all checks except these."""
        kept = set(ids)
        for results in (self._streaks, self._observations):
            for check_id in results.keys() - kept:
                del results[check_id]

    def health(self, checks: Mapping[str, CheckConfig]) -> dict[str, bool]:
        """Return whether each check is healthy, by id."""
        shares = self._shares()
        return {check.id: is_healthy(check, checks, shares) for check in checks.values()}

    def statuses(self, checks: Mapping[str, CheckConfig]) -> dict[str, CheckStatus]:
        """Return the status of each check, by id."""
        shares = self._shares()
        return {
            check.id: CheckStatus(
                healthy=is_healthy(check, checks, shares),
                share=shares.get(check.id, 1.0) if check.probed else None,
                name=check.name,
                observations=self._observations_of(check) if check.probed else (),
            )
            for check in checks.values()
        }

    def _observations_of(self, check: CheckConfig) -> tuple[Observation, ...]:
        found = self._observations.get(check.id, {})
        return tuple(observation for region, observation in found.items() if region in self._active_regions)

    def _shares(self) -> dict[str, float]:
        self._update_active_regions()
        return {check_id: self._share(streaks) for check_id, streaks in self._streaks.items()}

    def _share(self, streaks: Mapping[str, Streak]) -> float:
        # A checker counts before its first probe, so that the first of them does not decide alone.
        return share_of(streaks.get(region, Streak()).healthy for region in self._active_regions)

    def _update_active_regions(self) -> None:
        """Initialize checkers that start to probe with the present result of the others: their own is outdated."""
        regions = tuple(self._regions())
        if regions == self._active_regions:
            return
        for streaks in self._streaks.values():
            joining = Streak(self._share(streaks) > HEALTHY_SHARE)
            streaks.update({region: joining for region in regions if region not in self._active_regions})
        self._active_regions = regions
