"""When a health check is healthy, by the rules of Route 53 ("How Amazon Route 53 determines whether a health check
is healthy", "Values that you specify when you create or update health checks"). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from healthcare_dr.emulator.route53.model import CheckConfig

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
    """Whether `check` is healthy. One that is disabled is, unless it is inverted, also for those calculated from it.

    Args:
        checks: all checks by id, to find the children of a calculated one.
        shares: by id, the share of checkers that find it healthy; a check that is missing here has no data yet.
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
