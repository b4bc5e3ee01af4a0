"""The sentinel: what it writes, reads and probes, and that each check fails independently."""

from typing import cast

import pytest

from patient_api.aws import Clients, DynamoDB
from patient_api.bootstrap import sentinel
from patient_api.contract.keys import HEARTBEAT_PARTITION
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import Heartbeat, Heartbeats
from patient_api.region.sentinel import Sentinel
from unit.patient_api.fakes.aws import ENVIRONMENT, PEER, RECORDS, REGION, START_MS, FakeDynamoDB, client_error
from unit.patient_api.fakes.log import FakeLog

OWN = f"https://abc123.execute-api.{REGION}.amazonaws.com"
THERE = f"def456.execute-api.{PEER}.amazonaws.com"


class SentinelFixture:
    """A sentinel of REGION. Its replica has a heartbeat of PEER, `age_ms` old, unless that is None."""

    def __init__(self, *, age_ms: int | None = 1_000, endpoint: str = f"https://{THERE}") -> None:
        self.store = FakeDynamoDB()
        self.log = FakeLog()
        self.probed: list[str] = []
        self.probe_result: str | Exception | None = None
        heartbeats = Heartbeats(client=cast("DynamoDB", self.store), table=RECORDS)
        if age_ms is not None:
            heartbeats.write(Heartbeat(PEER, START_MS - age_ms, endpoint))
        self.run = Sentinel(
            region=REGION,
            peer_region=PEER,
            endpoint=OWN,
            heartbeats=heartbeats,
            probe=self._probe,
            log=StructuredLog(service="sentinel", region=REGION, stream=self.log),
            now_ms=lambda: START_MS,
        )

    def _probe(self, host: str) -> str | None:
        self.probed.append(host)
        if isinstance(self.probe_result, Exception):
            raise self.probe_result
        return self.probe_result

    def messages(self) -> list[str]:
        return [str(line["message"]) for line in self.log.messages()]


def test_run_writes_the_heartbeat_in_its_format() -> None:
    sentinel = SentinelFixture()
    sentinel.run()
    sentinel.run()
    assert {line["service"] for line in sentinel.log.lines()} == {"sentinel"}
    assert sentinel.store.tables[RECORDS][HEARTBEAT_PARTITION, REGION] == {
        "pk": {"S": "$platform#heartbeat"},
        "sk": {"S": REGION},
        "at": {"N": str(START_MS)},
        "endpoint": {"S": OWN},
    }


@pytest.mark.trap(7)
@pytest.mark.trap(23)
def test_run_publishes_heartbeat_age_and_probes_the_peer() -> None:
    sentinel = SentinelFixture(age_ms=61_500)
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 1, "HeartbeatAge": 61.5, "PeerHealthy": 1}
    assert sentinel.probed == [THERE]
    assert sentinel.messages() == []


@pytest.mark.trap(22)
def test_unhealthy_peer_is_reported() -> None:
    sentinel = SentinelFixture()
    sentinel.probe_result = "ConnectionRefusedError"
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 1, "HeartbeatAge": 1, "PeerHealthy": 0}
    (line,) = sentinel.log.messages()
    assert (line["message"], line["failure"], line["peer"]) == ("the peer is unhealthy", "ConnectionRefusedError", PEER)


def test_peer_without_heartbeat_is_reported_as_unhealthy() -> None:
    sentinel = SentinelFixture(age_ms=None)
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 0}
    assert sentinel.probed == []
    assert sentinel.messages() == ["no heartbeat of the peer", "the peer's endpoint is not known"]


@pytest.mark.trap(23)
@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "https://api.healthcare-dr-dev.com",
        OWN,
        f"http://{THERE}",
        f"https://{THERE}.example.org",
        f"https://{THERE}/stage",
        f"https://someone@{THERE}",
        f"https://x.{THERE}",
    ],
)
def test_only_the_peers_own_endpoint_is_probed(endpoint: str) -> None:
    sentinel = SentinelFixture(endpoint=endpoint)
    sentinel.run()
    assert sentinel.probed == []
    assert sentinel.log.metrics()["PeerHealthy"] == 0


@pytest.mark.parametrize("error", [client_error("ThrottlingException"), ValueError("Marked-Value")])
def test_failed_write_does_not_prevent_other_checks(error: Exception) -> None:
    sentinel = SentinelFixture()
    sentinel.store.faults["put_item"] = [error]
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 0, "HeartbeatAge": 1, "PeerHealthy": 1}
    assert "Marked-Value" not in sentinel.log.getvalue()


def test_failed_read_does_not_prevent_probe_of_known_endpoint() -> None:
    sentinel = SentinelFixture()
    sentinel.run()
    sentinel.log.clear()
    sentinel.store.faults["get_item"] = [client_error("InternalServerError")]
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 1}
    assert sentinel.messages() == ["storage fault"]


def test_unreadable_heartbeat_is_reported() -> None:
    sentinel = SentinelFixture()
    del sentinel.store.tables[RECORDS][HEARTBEAT_PARTITION, PEER]["at"]
    sentinel.run()
    assert sentinel.log.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 0}
    assert sentinel.log.lines()[1]["code"] == "UnreadableHeartbeat"


def test_unexpected_exception_in_probe_is_reported_as_unhealthy() -> None:
    sentinel = SentinelFixture()
    sentinel.probe_result = ValueError("Marked-Value")
    sentinel.run()
    assert sentinel.log.metrics()["PeerHealthy"] == 0
    assert sentinel.messages() == ["unexpected exception"]
    assert "Marked-Value" not in sentinel.log.getvalue()


def test_heartbeat_age_is_never_negative() -> None:
    sentinel = SentinelFixture(age_ms=-500)
    sentinel.run()
    assert sentinel.log.metrics()["HeartbeatAge"] == 0


def test_heartbeat_and_age_have_the_time_of_dynamodb(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = SentinelFixture()

    class Regional(Clients):
        def dynamodb(self) -> DynamoDB:
            return cast("DynamoDB", fixture.store)

    run = sentinel(
        ENVIRONMENT.variables() | {"AWS_REGION": REGION, "ENDPOINT": OWN},
        clients=Regional(region=REGION),
        log=StructuredLog(service="sentinel", region=REGION, stream=fixture.log),
        probe=lambda _host: None,
    )
    fixture.store.time = lambda: START_MS / 1000 + 60.9
    run()
    assert fixture.store.tables[RECORDS][HEARTBEAT_PARTITION, REGION]["at"] == {"N": str(START_MS + 60_000)}
    assert fixture.log.metrics()["HeartbeatAge"] == 61
    fixture.log.clear()
    monkeypatch.setattr(fixture.store, "metadata", dict)
    run()
    assert fixture.log.metrics() == {"HeartbeatWritten": 0, "PeerHealthy": 1}


def test_sentinel_is_composed_from_its_environment() -> None:
    variables = ENVIRONMENT.variables() | {"AWS_REGION": REGION}
    with pytest.raises(KeyError, match="ENDPOINT"):
        sentinel(variables)
    assert isinstance(sentinel(variables | {"ENDPOINT": OWN}), Sentinel)
