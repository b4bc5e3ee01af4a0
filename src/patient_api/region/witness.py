"""Tells operators of each verdict on the region's health."""

from patient_api.journal import Journal
from patient_api.region.health import Verdict


class JournalWitness:
    """As `health.Witness`: a line for what failed, and metrics."""

    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal

    def verdict(self, verdict: Verdict) -> None:
        """As `health.Witness`."""
        if not verdict.healthy:
            self._journal.error("unhealthy", failures=dict(verdict.failures))
        counts = {"KeyFailures": verdict.key_failures, "StorageFailures": verdict.storage_failures}
        self._journal.count({"Healthy": int(verdict.healthy), **{name: n for name, n in counts.items() if n}})
