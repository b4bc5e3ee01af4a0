"""Derive the status of health checks from the observations of the checkers.

The rules are those of Route 53 ("How Amazon Route 53 determines whether a health check is healthy", "Values that you
specify when you create or update health checks").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, CheckStatus, Observation

HEALTHY_SHARE = 0.18


@dataclass(frozen=True)
class Streak:
    """One checker's opinion, and how many of its last probes in a row spoke against it.

    It starts healthy: so does a new check, until there is data.
    """

    healthy: bool = True
    against: int = 0

    def after(self, success: bool, *, threshold: int) -> "Streak":
        """The opinion after one more probe; `threshold` in a row against it turn it."""
        if success == self.healthy:
            return Streak(self.healthy)
        if self.against + 1 >= threshold:
            return Streak(success)
        return Streak(self.healthy, self.against + 1)


def share_of(votes: Iterable[bool]) -> float:
    """The share of healthy votes, 0 to 1; 1 where there is none yet."""
    counted = list(votes)
    return sum(counted) / len(counted) if counted else 1.0


def healthy_share(share: float) -> bool:
    """Return whether a check is healthy when this share of its checkers, 0 to 1, finds it so."""
    return share > HEALTHY_SHARE


def verdict(check: CheckConfig, checks: Mapping[str, CheckConfig], shares: Mapping[str, float]) -> bool:
    """Return whether `check` is healthy. A disabled check is healthy unless it is inverted, also for calculated checks.

    Args:
        checks: all checks by id, to find the children of a calculated one.
        shares: by id, the share of checkers that find it healthy; a check without data is missing.
    """
    return _verdict(check, checks, shares, frozenset())


def _verdict(
    check: CheckConfig, checks: Mapping[str, CheckConfig], shares: Mapping[str, float], parents: frozenset[str]
) -> bool:
    return _unless_inverted(check, checks, shares, parents | {check.id}) != check.inverted


def _unless_inverted(
    check: CheckConfig, checks: Mapping[str, CheckConfig], shares: Mapping[str, float], seen: frozenset[str]
) -> bool:
    if check.disabled:
        return True
    if check.type != "CALCULATED":
        return healthy_share(shares.get(check.id, 1.0))
    healthy = sum(
        child in seen or child not in checks or _verdict(checks[child], checks, shares, seen)
        for child in check.children
    )
    return healthy >= check.child_threshold


class CheckBoard:
    """The opinion and last observation of every checker, by check and the checker's region.

    Args:
        regions: the regions whose checkers probe at the moment; only these have a vote.
    """

    def __init__(self, regions: Callable[[], Sequence[str]] = lambda: CHECKER_REGIONS) -> None:
        self._regions = regions
        self._voting = tuple(regions())
        self._streaks: dict[str, dict[str, Streak]] = {}
        self._observations: dict[str, dict[str, Observation]] = {}

    def note(self, check: CheckConfig, observation: Observation, *, success: bool) -> None:
        """Record one probe."""
        self._update_voting()
        streaks = self._streaks.setdefault(check.id, {})
        before = streaks.get(observation.region, Streak())
        streaks[observation.region] = before.after(success, threshold=check.threshold)
        self._observations.setdefault(check.id, {})[observation.region] = observation

    def keep_only(self, ids: Iterable[str]) -> None:
        """Forget all checks but these."""
        kept = set(ids)
        for known in (self._streaks, self._observations):
            for check_id in known.keys() - kept:
                del known[check_id]

    def verdicts(self, checks: Mapping[str, CheckConfig]) -> dict[str, bool]:
        """Return whether each check is healthy, by id."""
        shares = self._shares()
        return {check.id: verdict(check, checks, shares) for check in checks.values()}

    def statuses(self, checks: Mapping[str, CheckConfig]) -> dict[str, CheckStatus]:
        """Return the status of each check, by id."""
        shares = self._shares()
        return {
            check.id: CheckStatus(
                healthy=verdict(check, checks, shares),
                share=shares.get(check.id, 1.0) if check.probed else None,
                name=check.name,
                observations=self._seen(check) if check.probed else (),
            )
            for check in checks.values()
        }

    def _seen(self, check: CheckConfig) -> tuple[Observation, ...]:
        found = self._observations.get(check.id, {})
        return tuple(observation for region, observation in found.items() if region in self._voting)

    def _shares(self) -> dict[str, float]:
        self._update_voting()
        return {check_id: self._share(streaks) for check_id, streaks in self._streaks.items()}

    def _share(self, streaks: Mapping[str, Streak]) -> float:
        # A checker that has not probed yet has a vote too: the first of them does not decide alone.
        return share_of(streaks.get(region, Streak()).healthy for region in self._voting)

    def _update_voting(self) -> None:
        """Let checkers that begin to probe start with the verdict of those that did: their own opinion is old."""
        regions = tuple(self._regions())
        if regions == self._voting:
            return
        for streaks in self._streaks.values():
            joining = Streak(healthy_share(self._share(streaks)))
            streaks.update({region: joining for region in regions if region not in self._voting})
        self._voting = regions
