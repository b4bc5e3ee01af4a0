"""What replication and the records table answer."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.ops.drain.preconditions import aws_lag, open_conflicts

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
        (DOWN, "cannot be asked"),
    ],
)
def test_late_or_unknown_replication_is_a_reason(answer: Any, reason: str) -> None:
    (found,) = lag(Client(answer))
    assert reason in found


def test_replication_in_time_is_none() -> None:
    client = Client({"Datapoints": [{"Maximum": 60000.0}]})
    assert lag(client) == []
    assert client.requests[0]["Dimensions"][1] == {"Name": "ReceivingRegion", "Value": "us-east-1"}


def test_silence_is_a_reason_only_where_something_is_always_written() -> None:
    client = Client({"Datapoints": []}, {"Datapoints": [{"Maximum": 60001.0}]})
    told = [
        aws_lag(client, table="r", receiving="us-east-1", limit_seconds=60, always_written=False, now=NOW)
        for _ in range(2)
    ]
    assert told == [[], ["replication to us-east-1 is 60.0 s late"]]


def test_conflicts_are_counted_on_all_pages() -> None:
    client = Client({"Count": 0, "LastEvaluatedKey": {"pk": {"S": "x"}}}, {"Count": 2})
    assert open_conflicts(client, table="r", region="us-east-1") == ["2 conflicts are open in us-east-1"]
    assert client.requests[1]["ExclusiveStartKey"] == {"pk": {"S": "x"}}
    assert "ExclusiveStartKey" not in client.requests[0]
    assert open_conflicts(Client({"Count": 0}), table="r", region="us-east-1") == []
    assert "cannot be counted" in open_conflicts(Client(DOWN), table="r", region="us-east-1")[0]
