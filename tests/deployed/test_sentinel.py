"""The sentinels of both regions on the deployed platform: heartbeats and metrics.

Scheduled functions are invoked at once. The loss of a region is in `test_failover.py`.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from support.platform import Deployed, eventually
from support.sentinels import PARTITION, heartbeat, newest, watch


def published(deployed: Deployed, region: str, metric: str, *, since: datetime) -> bool:
    return newest(deployed, region, metric, since=since) is not None


@pytest.fixture
def lagging(deployed: Deployed) -> Iterator[float]:
    """Set the lag of table replication, and return it in seconds."""
    deployed.emulator.set_replication(lag_seconds=4)
    yield 4
    deployed.emulator.set_replication(lag_seconds=0.5)
    deployed.settle()


@pytest.mark.trap(7)
@pytest.mark.requirement("R6.1")
def test_heartbeat_measures_the_replication_lag(
    deployed: Deployed, region: str, other_region: str, lagging: float
) -> None:
    before = time.time()
    watch(deployed, region)
    written = heartbeat(deployed, region, at=region)
    assert written == {
        "pk": {"S": PARTITION},
        "sk": {"S": region},
        "at": written["at"],
        "endpoint": {"S": f"https://{deployed.api_id(region)}.execute-api.{region}.amazonaws.com"},
    }
    # It has the time in the response of DynamoDB, in whole seconds.
    assert int(written["at"]["N"]) >= int(before) * 1000
    since = datetime.fromtimestamp(before, UTC)
    eventually(lambda: (newest(deployed, other_region, "ReplicationLag", since=since) or 0) >= lagging)
    # The schedule may have written another heartbeat meanwhile.
    eventually(lambda: heartbeat(deployed, region, at=other_region) == heartbeat(deployed, region, at=region))
    assert int(heartbeat(deployed, region, at=other_region)["at"]["N"]) >= int(written["at"]["N"])


@pytest.mark.requirement("R6.1")
def test_each_region_publishes_metrics_of_its_peer(deployed: Deployed, region: str, other_region: str) -> None:
    watch(deployed, other_region)
    deployed.settle()
    since = datetime.now(UTC) - timedelta(seconds=1)
    watch(deployed, region)
    for metric, expected in (("HeartbeatWritten", 1), ("PeerHealthy", 1)):
        eventually(partial(published, deployed, region, metric, since=since))
        assert newest(deployed, region, metric, since=since) == expected
    age = newest(deployed, region, "HeartbeatAge", since=since)
    assert age is not None
    # In whole seconds, the other region may have written it just now.
    assert 0 <= age < 60


def test_overwritten_heartbeats_are_not_reported_as_tampering(
    deployed: Deployed, region: str, other_region: str
) -> None:
    for _ in range(2):
        watch(deployed, region)
    deployed.settle()
    for place in (region, other_region):
        group = deployed.names.lambda_log_group(deployed.names.of("reconciliation"))
        assert not [
            line for line in deployed.log_messages(place, group) if "must not change" in line and PARTITION in line
        ]
