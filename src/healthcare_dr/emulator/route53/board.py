"""What the checkers have found so far; any thread may look."""

from collections.abc import Iterable, Mapping
from threading import Lock

from healthcare_dr.emulator.route53.health import Streak, share_of, verdict
from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, CheckStatus, Observation


class Board:
    """The opinion and last observation of every checker, by check and the checker's region."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._streaks: dict[str, dict[str, Streak]] = {}
        self._observations: dict[str, dict[str, Observation]] = {}

    def note(self, check: CheckConfig, observation: Observation, *, success: bool) -> None:
        """One probe is over."""
        with self._lock:
            streaks = self._streaks.setdefault(check.id, {})
            before = streaks.get(observation.region, Streak())
            streaks[observation.region] = before.after(success, threshold=check.threshold)
            self._observations.setdefault(check.id, {})[observation.region] = observation

    def keep_only(self, ids: Iterable[str]) -> None:
        """Forget all checks but these."""
        kept = set(ids)
        with self._lock:
            for known in (self._streaks, self._observations):
                for check_id in known.keys() - kept:
                    del known[check_id]

    def verdicts(self, checks: Mapping[str, CheckConfig]) -> dict[str, bool]:
        """Whether each check is healthy, by id."""
        shares = self._shares()
        return {check.id: verdict(check, checks, shares) for check in checks.values()}

    def statuses(self, checks: Mapping[str, CheckConfig]) -> dict[str, CheckStatus]:
        """All about each check, by id."""
        shares = self._shares()
        with self._lock:
            seen = {check_id: tuple(found.values()) for check_id, found in self._observations.items()}
        return {
            check.id: CheckStatus(
                healthy=verdict(check, checks, shares),
                share=shares.get(check.id, 1.0) if check.probed else None,
                name=check.name,
                observations=seen.get(check.id, ()) if check.probed else (),
            )
            for check in checks.values()
        }

    def _shares(self) -> dict[str, float]:
        # A checker that has not probed yet has a vote too: the first of them does not decide alone.
        with self._lock:
            return {
                check_id: share_of(streaks.get(region, Streak()).healthy for region in CHECKER_REGIONS)
                for check_id, streaks in self._streaks.items()
            }
