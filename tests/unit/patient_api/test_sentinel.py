"""The sentinel's rounds: what it writes, reads and probes, and that each part fails alone."""

import io
import json
from typing import Any, cast

import pytest

from patient_api.aws import DynamoDB
from patient_api.bootstrap import sentinel
from patient_api.contract.keys import HEARTBEAT_PARTITION
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import Heartbeat, Heartbeats
from patient_api.region.sentinel import Sentinel
from unit.patient_api.fakes import PEER, RECORDS, REGION, START_MS, FakeDynamoDB, client_error

OWN = f"https://abc123.execute-api.{REGION}.amazonaws.com"
THERE = f"def456.execute-api.{PEER}.amazonaws.com"


class Watch:
    """A sentinel of REGION on a replica that may hold a heartbeat of PEER."""

    def __init__(self, *, age_ms: int | None = 1_000, endpoint: str = f"https://{THERE}") -> None:
        self.store = FakeDynamoDB()
        self.log = io.StringIO()
        self.probed: list[str] = []
        self.answer: str | Exception | None = None
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
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self.lines():
            for metric in line.get("_aws", {}).get("CloudWatchMetrics", [{"Metrics": []}])[0]["Metrics"]:
                assert (line["service"], metric["Name"] in found) == ("sentinel", False)
                (found[metric["Name"]],) = line[metric["Name"]]
        return found

    def messages(self) -> list[str]:
        return [str(line["message"]) for line in self.lines() if "message" in line]


def test_a_round_writes_the_own_heartbeat_in_its_fixed_format() -> None:
    watch = Watch()
    watch.run()
    watch.run()
    assert watch.store.tables[RECORDS][HEARTBEAT_PARTITION, REGION] == {
        "pk": {"S": "$platform#heartbeat"},
        "sk": {"S": REGION},
        "at": {"N": str(START_MS)},
        "endpoint": {"S": OWN},
    }


@pytest.mark.trap(7)
@pytest.mark.trap(23)
def test_a_round_reports_the_age_of_the_peers_heartbeat_and_probes_where_it_says() -> None:
    watch = Watch(age_ms=61_500)
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 1, "HeartbeatAge": 61.5, "PeerHealthy": 1}
    assert watch.probed == [THERE]
    assert watch.messages() == []


@pytest.mark.trap(22)
def test_an_unhealthy_peer_is_reported_here() -> None:
    watch = Watch()
    watch.answer = "ConnectionRefusedError"
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 1, "HeartbeatAge": 1, "PeerHealthy": 0}
    (line,) = [line for line in watch.lines() if "message" in line]
    assert (line["message"], line["failure"], line["peer"]) == ("the peer is unhealthy", "ConnectionRefusedError", PEER)


def test_a_peer_without_a_heartbeat_is_reported_and_not_healthy() -> None:
    watch = Watch(age_ms=None)
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 0}
    assert watch.probed == []
    assert watch.messages() == ["no heartbeat of the peer", "the peer's endpoint is not known"]


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
def test_only_the_peers_own_address_is_probed(endpoint: str) -> None:
    watch = Watch(endpoint=endpoint)
    watch.run()
    assert watch.probed == []
    assert watch.metrics()["PeerHealthy"] == 0


@pytest.mark.parametrize("error", [client_error("ThrottlingException"), ValueError("Marked-Value")])
def test_a_heartbeat_that_cannot_be_written_hides_nothing_else(error: Exception) -> None:
    watch = Watch()
    watch.store.faults["put_item"] = [error]
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 0, "HeartbeatAge": 1, "PeerHealthy": 1}
    assert "Marked-Value" not in watch.log.getvalue()


def test_a_replica_that_cannot_be_read_does_not_keep_it_from_the_peer_it_knows() -> None:
    watch = Watch()
    watch.run()
    watch.log.truncate(0)
    watch.log.seek(0)
    watch.store.faults["get_item"] = [client_error("InternalServerError")]
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 1}
    assert watch.messages() == ["storage fault"]


def test_a_heartbeat_that_cannot_be_read_is_reported() -> None:
    watch = Watch()
    del watch.store.tables[RECORDS][HEARTBEAT_PARTITION, PEER]["at"]
    watch.run()
    assert watch.metrics() == {"HeartbeatWritten": 1, "PeerHealthy": 0}
    assert watch.lines()[1]["code"] == "UnreadableHeartbeat"


def test_a_probe_with_a_defect_is_reported_as_unhealthy() -> None:
    watch = Watch()
    watch.answer = ValueError("Marked-Value")
    watch.run()
    assert watch.metrics()["PeerHealthy"] == 0
    assert watch.messages() == ["unexpected exception"]
    assert "Marked-Value" not in watch.log.getvalue()


def test_a_clock_of_the_peer_that_is_ahead_makes_no_negative_age() -> None:
    watch = Watch(age_ms=-500)
    watch.run()
    assert watch.metrics()["HeartbeatAge"] == 0


def test_it_is_wired_from_its_environment() -> None:
    names = ("PEER_REGION", "RECORDS_TABLE", "AUDIT_TABLE", "DOCUMENTS_BUCKET", "KEY_ARN", "PEER_DOCUMENTS_BUCKET")
    variables = dict.fromkeys((*names, "PEER_ROLE_ARN", "INDEX_KEY_ALIAS"), "x") | {"LOG_LEVEL": "INFO"}
    with pytest.raises(KeyError, match="ENDPOINT"):
        sentinel(variables | {"AWS_REGION": REGION})
    assert isinstance(sentinel(variables | {"AWS_REGION": REGION, "ENDPOINT": OWN}), Sentinel)
