"""Check the peer region every minute, and write this region's heartbeat.

Results are published in this region, so that each region reports the loss of the other. Each check fails
independently. The alarms on these metrics treat missing data as a failure.
"""

from collections.abc import Callable

from patient_api.contract.metrics import Metric
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.endpoint import api_host
from patient_api.region.heartbeat import Heartbeat, Heartbeats


class Sentinel:
    """Writes the heartbeat, reads the peer's heartbeat, and probes the peer's health.

    `endpoint` is the base address of this region's own API. `probe` returns the reason why a host is unhealthy, or
    None. `now_ms` returns milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        region: str,
        peer_region: str,
        endpoint: str,
        heartbeats: Heartbeats,
        probe: Callable[[str], str | None],
        log: StructuredLog,
        now_ms: Callable[[], int],
    ) -> None:
        self._region = region
        self._peer_region = peer_region
        self._endpoint = endpoint
        self._heartbeats = heartbeats
        self._probe = probe
        self._log = log
        self._now_ms = now_ms
        # The last heartbeat read: the peer is probed even while the table cannot be read.
        self._peer: Heartbeat | None = None

    def __call__(self) -> None:
        """Run the checks once.

        Publishes HeartbeatWritten and PeerHealthy (0 or 1), and HeartbeatAge in seconds where it is known.
        """
        written = self._try(self._write)
        self._log.count({Metric.HEARTBEAT_WRITTEN: int(written)})
        self._try(self._read)
        # The probe runs last, because it can take longest.
        healthy = self._try(self._check_peer)
        self._log.count({Metric.PEER_HEALTHY: int(healthy)})

    def _write(self) -> bool:
        self._heartbeats.write(Heartbeat(self._region, self._now_ms(), self._endpoint))
        return True

    def _read(self) -> bool:
        newest = self._heartbeats.newest(self._peer_region)
        if newest is None:
            self._log.error("no heartbeat of the peer", peer=self._peer_region)
            return False
        self._peer = newest
        age_ms = max(0, self._now_ms() - newest.at_ms)
        self._log.count({Metric.HEARTBEAT_AGE: age_ms / 1000}, unit="Seconds")
        return True

    def _check_peer(self) -> bool:
        host = api_host(self._peer.endpoint, self._peer_region) if self._peer else None
        if host is None:
            self._log.error("the peer's endpoint is not known", peer=self._peer_region)
            return False
        reason = self._probe(host)
        if reason is not None:
            self._log.error("the peer is unhealthy", peer=self._peer_region, failure=reason)
        return reason is None

    def _try(self, check: Callable[[], bool]) -> bool:
        try:
            return check()
        except StorageFault as fault:
            self._log.error("storage fault", operation=fault.operation, code=fault.code)
        except Exception as error:  # noqa: BLE001 - a failed check must not prevent the others
            self._log.unexpected(error)
        return False
