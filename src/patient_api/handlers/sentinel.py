"""The Lambda entry point of the sentinel. Every minute it writes the region's heartbeat and checks the peer.

It publishes its results in its own region, so that the loss of a region is reported by the other one. Each check fails
independently. Its alarms treat missing data as a failure.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache

from patient_api.aws import Clients
from patient_api.contract.functions import SENTINEL, Environment
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.endpoint import api_host, probe
from patient_api.region.heartbeat import Heartbeat, Heartbeats


class Sentinel:
    """Writes the heartbeat, reads the peer's heartbeat, and probes the peer's health.

    `endpoint` is the base address of this region's own API. `failure` returns the reason why a host is unhealthy, or
    None. `now_ms` returns milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        region: str,
        peer_region: str,
        endpoint: str,
        heartbeats: Heartbeats,
        failure: Callable[[str], str | None],
        log: StructuredLog,
        now_ms: Callable[[], int],
    ) -> None:
        self._region = region
        self._peer_region = peer_region
        self._endpoint = endpoint
        self._heartbeats = heartbeats
        self._failure = failure
        self._log = log
        self._now_ms = now_ms
        # A replica that cannot be read must not keep it from looking at the peer.
        self._peer: Heartbeat | None = None

    def __call__(self) -> None:
        """One round: `HeartbeatWritten` and `PeerHealthy` (0 or 1), `HeartbeatAge` (seconds) where there is one."""
        written = self._tried(self._write)
        self._log.count({"HeartbeatWritten": int(written)})
        self._tried(self._read)
        # Last, since it may take longest.
        healthy = self._tried(self._probe)
        self._log.count({"PeerHealthy": int(healthy)})

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
        self._log.count({"HeartbeatAge": age_ms / 1000}, unit="Seconds")
        return True

    def _probe(self) -> bool:
        host = api_host(self._peer.endpoint, self._peer_region) if self._peer else None
        if host is None:
            self._log.error("the peer's endpoint is not known", peer=self._peer_region)
            return False
        reason = self._failure(host)
        if reason is not None:
            self._log.error("the peer is unhealthy", peer=self._peer_region, failure=reason)
        return reason is None

    def _tried(self, part: Callable[[], bool]) -> bool:
        try:
            return part()
        except StorageFault as fault:
            self._log.error("storage fault", operation=fault.operation, code=fault.code)
        except Exception as error:  # noqa: BLE001 - one part must not hide what the others find
            self._log.unexpected(error)
        return False


def wire(variables: Mapping[str, str]) -> Sentinel:
    """The sentinel as Lambda's environment describes it. Raises KeyError with the name of what is not set."""
    environment = Environment.of(variables, SENTINEL)
    return Sentinel(
        region=environment.region,
        peer_region=environment.peer_region,
        endpoint=str(environment.endpoint),
        heartbeats=Heartbeats(client=Clients(region=environment.region).dynamodb(), table=environment.records_table),
        failure=probe,
        log=StructuredLog(service=SENTINEL.name, region=environment.region, level=environment.log_level),
        now_ms=lambda: time.time_ns() // 1_000_000,
    )


@cache
def _wired() -> Sentinel:
    return wire(os.environ)


def handler(event: object, context: object) -> None:  # noqa: ARG001 - Lambda's signature
    """One round."""
    _wired()()
