"""Checks that one region can carry the load of both."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from unit.ops.verify.fakes import EAST, WEST, Answers, live, points, problems

PERIOD = timedelta(minutes=5)
HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def account(here: int = 1000, there: int = 1000, used: float = 0.0, reserved: int = 0) -> Answers:
    """Return the concurrency limits of both regions, and the concurrency that each has used."""

    def limits(number: int) -> Any:
        return {"AccountLimit": {"ConcurrentExecutions": number, "UnreservedConcurrentExecutions": number - reserved}}

    return {
        ("lambda", EAST, "get_account_settings"): limits(here),
        ("lambda", WEST, "get_account_settings"): limits(there),
        ("cloudwatch", "get_metric_statistics"): points(used / 2, used, statistic="Maximum"),
    }


def api(calls: Any = 0.0, **configuration: Any) -> Answers:
    """Return an API with the limits of the settings. `calls` is its load, or answers CloudWatch requests."""
    limits = {"ThrottlingRateLimit": 1000.0, "ThrottlingBurstLimit": 500}
    return {
        ("apigatewayv2", "get_api"): configuration,
        ("apigatewayv2", "get_stages"): {"Items": [{"StageName": "$default", "DefaultRouteSettings": limits}]},
        ("apigatewayv2", "get_authorizers"): {"Items": []},
        ("apigatewayv2", "get_routes"): {"Items": []},
        ("cloudwatch", "get_metric_statistics"): calls if callable(calls) else points(10, calls),
    }


@pytest.mark.trap(33)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (account(), []),
        (account(used=500), []),
        (account(1000, 2000), ["us-east-1 runs 1000 calls at once, but us-west-2 runs 2000"]),
        (account(10, 10), ["runs 10 calls at once, but its API admits a burst of 500 (HDR_THROTTLE_BURST)"] * 2),
        (account(reserved=600), ["runs 400 calls at once, but its API admits a burst"] * 2),
        (account(used=501), ["runs 1000 calls at once, but both regions together have needed 1002"] * 2),
    ],
)
def test_concurrency_covers_the_load_of_both_regions(answers: Answers, expected: list[str]) -> None:
    found = problems("quotas", live(answers))
    assert len(found) == len(expected)
    assert all(text in problem for text, problem in zip(expected, found, strict=True))


@pytest.mark.trap(33)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (api(calls=1000 * 300 / 2), []),
        (api(calls=1001 * 300 / 2), ["the API admits 1000 requests a second, both regions together had 1001"]),
        *(
            (api(CorsConfiguration={"AllowOrigins": origins}), [f"the API allows the origins {origins}, not []"])
            for origins in (["*"], ["https://app.example.com"])
        ),
    ],
)
def test_api_admits_the_load_of_both_regions_and_the_origins_of_the_settings(
    answers: Answers, expected: list[str]
) -> None:
    assert problems("api", live(answers)) == expected


class Metrics:
    """CloudWatch with one datapoint, of the period that began at `began`."""

    def __init__(self, began: datetime, value: float) -> None:
        self._began, self._value = began, value
        self.requests: list[Mapping[str, Any]] = []

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        inside = request["StartTime"] <= self._began < request["EndTime"]
        (statistic,) = request["Statistics"]
        return {"Datapoints": [{statistic: self._value, "Timestamp": self._began}] if inside else []}


def problems_at(now: datetime, metrics: Metrics, check: str) -> list[str]:
    return problems(check, live({**account(), **api(metrics)}, now=lambda: now))


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
def test_load_of_the_last_24_hours_includes_the_newest_minutes(
    check: str, now: datetime, began: datetime, seen: bool
) -> None:
    assert bool(problems_at(now, Metrics(began, 1_000_000), check)) == seen


def test_load_is_read_within_the_limits_of_cloudwatch() -> None:
    metrics = Metrics(HOUR, 1)
    problems_at(HOUR + 59 * MINUTE, metrics, "quotas")
    ((start, end, period),) = {(each["StartTime"], each["EndTime"], each["Period"]) for each in metrics.requests}
    assert (end - start).total_seconds() / period <= 1440
    assert end.timestamp() % period == 0
