"""Read the state of replication and of conflicts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.ops.drain.preconditions import aws_lag, embedded_lag, open_conflicts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = EndpointConnectionError(endpoint_url="https://x")


class Client:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def query(self, **request: Any) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    get_metric_statistics = query


def lag(client: Client) -> list[str]:
    return aws_lag(client, table="r", receiving="us-east-1", limit_seconds=60, now=NOW)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"Datapoints": []}, "no ReplicationLatency"),
        ({"Datapoints": [{"Maximum": 10.0}, {"Maximum": 60001.0}]}, "60.0 s late"),
        (DOWN, "cannot be read"),
    ],
)
def test_late_or_unknown_replication_is_a_reason(answer: Any, reason: str) -> None:
    (found,) = lag(Client(answer))
    assert reason in found


def test_replication_in_time_is_no_reason() -> None:
    client = Client({"Datapoints": [{"Maximum": 60000.0}]})
    assert lag(client) == []
    assert client.requests[0]["Dimensions"][1] == {"Name": "ReceivingRegion", "Value": "us-east-1"}


def test_missing_metrics_are_a_reason_only_for_a_table_that_is_always_written() -> None:
    client = Client({"Datapoints": []}, {"Datapoints": [{"Maximum": 60001.0}]})
    assert [
        aws_lag(client, table="r", receiving="us-east-1", limit_seconds=60, always_written=False, now=NOW)
        for _ in range(2)
    ] == [[], ["replication to us-east-1 is 60.0 s late"]]


def test_conflicts_are_counted_on_all_pages() -> None:
    client = Client({"Count": 0, "LastEvaluatedKey": {"pk": {"S": "x"}}}, {"Count": 2})
    assert open_conflicts(client, table="r", region="us-east-1") == ["2 conflicts are open in us-east-1"]
    assert client.requests[1]["ExclusiveStartKey"] == {"pk": {"S": "x"}}
    assert "ExclusiveStartKey" not in client.requests[0]
    assert open_conflicts(Client({"Count": 0}), table="r", region="us-east-1") == []
    assert "cannot be counted" in open_conflicts(Client(DOWN), table="r", region="us-east-1")[0]


@dataclass
class Emulator:
    """The replication of the embedded AWS. `waiting` are the ages of the oldest write, at one call after the other."""

    waiting: list[float]
    tables: bool = True
    documents: bool = True
    lag_seconds: float = 0.5

    def replication(self) -> "Emulator":
        return self

    def waiting_seconds(self) -> float:
        return self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]


@pytest.mark.parametrize(
    ("emulator", "reasons"),
    [
        *((Emulator(waiting), []) for waiting in ([0.0], [0.4], [2.5], [90.0, 30.0, 0.3])),
        (Emulator([7.0]), ["a write of 7 s ago has not been replicated"]),
        (Emulator([0.0], tables=False), ["replication is paused"]),
        (Emulator([0.0], documents=False), ["replication is paused"]),
        (Emulator([0.0], lag_seconds=61), ["replication lags by 61 s"]),
    ],
)
def test_embedded_replication_that_is_paused_or_late_is_a_reason(emulator: Emulator, reasons: list[str]) -> None:
    now = iter(range(1000))
    assert reasons == embedded_lag(
        cast(Any, emulator), limit_seconds=60, clock=lambda: float(next(now)), sleep=lambda _: None
    )
