"""Check the peer region every minute, and write this region's heartbeat.

The probe of the peer has the time limits of Route 53's health checkers.

Results are published in this region, so that each region reports the loss of the other. Each check fails
independently. The alarms on these metrics treat missing data as a failure.
"""

import re
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

from patient_api import https
from patient_api.contract.metrics import Metric
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import Heartbeat, Heartbeats

# https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
CONNECT_SECONDS: Final = 4.0
RESPONSE_SECONDS: Final = 2.0
# As many consecutive failures as the health checks need, so that a single one raises no alarm.
ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 1.0


class Sentinel:
    """Writes the heartbeat, reads the peer's heartbeat, and probes the peer's health.

    `endpoint` is the base address of this region's own API. `probe` returns the reason why a host is unhealthy, or
    None. `now_ms` returns DynamoDB's time in milliseconds since 1970, and raises StorageFault.
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


def api_host(endpoint: str, region: str) -> str | None:
    """Return the host of a region's own HTTP API. None for any other address, such as the shared name (trap 23)."""
    found = re.fullmatch(rf"https://([a-z0-9]+\.execute-api\.{re.escape(region)}\.amazonaws\.com)/?", endpoint)
    return found[1] if found else None


def probe(
    host: str,
    *,
    port: int = 443,
    connect_seconds: float = CONNECT_SECONDS,
    response_seconds: float = RESPONSE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Return None when one of three attempts at `GET /health` has the status 200, else a code of the last failure."""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE_SECONDS)
        failure = _attempt(host, port, connect_seconds, response_seconds)
        if failure is None:
            return None
    return failure


def _attempt(host: str, port: int, connect_seconds: float, response_seconds: float) -> str | None:
    try:
        status, _ = https.get(
            host, "/health", port=port, connect_seconds=connect_seconds, response_seconds=response_seconds
        )
    except (OSError, HTTPException) as error:
        return type(error).__name__
    return None if status == HTTPStatus.OK else f"HTTP{status}"
