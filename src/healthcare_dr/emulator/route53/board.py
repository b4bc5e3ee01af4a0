"""What the health checkers have found so far."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from healthcare_dr.emulator.route53.health import Streak, healthy_share, share_of, verdict
from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, CheckStatus, Observation


class Board:
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
