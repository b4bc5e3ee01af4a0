"""The load of the last 24 hours is that of the last minutes too."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from unit.ops.verify.fakes import live, problems

PERIOD = timedelta(minutes=5)
HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Metrics:
    """A datapoint for each period that began at `began`, as CloudWatch gives them: from the start, before the end."""

    def __init__(self, began: datetime, value: float) -> None:
        self._began, self._value = began, value
        self.requests: list[Mapping[str, Any]] = []

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        inside = request["StartTime"] <= self._began < request["EndTime"]
        (statistic,) = request["Statistics"]
        return {"Datapoints": [{statistic: self._value, "Timestamp": self._began}] if inside else []}


def told(metrics: Metrics, now: datetime, check: str) -> list[str]:
    limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    stage = {"ThrottlingRateLimit": 1000.0, "ThrottlingBurstLimit": 500}
    answers: dict[tuple[str, ...], Any] = {
        ("lambda", "get_account_settings"): {"AccountLimit": limit},
        ("apigatewayv2", "get_api"): {},
        ("apigatewayv2", "get_stages"): {"Items": [{"StageName": "$default", "DefaultRouteSettings": stage}]},
        ("apigatewayv2", "get_authorizers"): {"Items": []},
        ("apigatewayv2", "get_routes"): {"Items": []},
        ("cloudwatch", "get_metric_statistics"): metrics,
    }
    return problems(check, live(answers, now=lambda: now))


@pytest.mark.trap(33)
@pytest.mark.parametrize("check", ["quotas", "api"])
@pytest.mark.parametrize(
    ("now", "began", "seen"),
    [
        (HOUR + 59 * MINUTE, HOUR + 55 * MINUTE, True),
        (HOUR + 59 * MINUTE, HOUR, True),
        (HOUR, HOUR - PERIOD, True),
        (HOUR + timedelta(seconds=1), HOUR, True),
        (HOUR, HOUR - timedelta(hours=24), True),
        (HOUR, HOUR - timedelta(hours=24) - PERIOD, False),
    ],
)
def test_the_newest_minutes_count(check: str, now: datetime, began: datetime, seen: bool) -> None:
    assert bool(told(Metrics(began, 1_000_000), now, check)) == seen


def test_load_is_read_equally_within_cloudwatch_limits() -> None:
    metrics = Metrics(HOUR, 1)
    told(metrics, HOUR + 59 * MINUTE, "quotas")
    spans = {(request["StartTime"], request["EndTime"], request["Period"]) for request in metrics.requests}
    ((start, end, period),) = spans
    assert (end - start).total_seconds() / period <= 1440
    assert end.timestamp() % period == 0
