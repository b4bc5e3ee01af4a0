"""Checks that one region can carry the load of both."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from healthcare_dr.ops.verify.checks import CATALOG
from unit.ops.verify.fakes import EAST, WEST, Answers, found, live, points, problems

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
        ("apigatewayv2", "get_stages"): {
            "Items": [{"StageName": name, "DefaultRouteSettings": limits} for name in ("$default", "probes")]
        },
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
        (account(54, 54), ["runs 54 calls at once, but HDR_THROTTLE_RATE=1000 needs 55"] * 2),
        (account(55, 55), ["runs 55 calls at once, but HDR_THROTTLE_BURST=500 needs 500"] * 2),
        (account(reserved=600), ["runs 400 calls at once, but HDR_THROTTLE_BURST=500 needs 500"] * 2),
        (account(used=501), ["runs 1000 calls at once, but both regions together have needed 1002"] * 2),
    ],
)
def test_concurrency_covers_the_load_of_both_regions(answers: Answers, expected: list[str]) -> None:
    lines = problems("quotas", live(answers))
    assert len(lines) == len(expected)
    assert all(text in problem for text, problem in zip(expected, lines, strict=True))


@pytest.mark.parametrize(("allowed", "severities"), [(54, {"failure"}), (55, {"note"}), (499, {"note"}), (500, set())])
def test_concurrency_for_bursts_is_no_condition_of_a_restoration(allowed: int, severities: set[str]) -> None:
    assert {problem.severity for problem in found("quotas", live(account(allowed, allowed)))} == severities


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


DEFAULTS = {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 4_000}
RAISED = {"records": 24_000, "by-update": 4_000, "audit": 18_000, "by-record": 9_000}


def tables(**writes: int) -> Answers:
    """Return both tables with the throughput for 1,000 requests a second, except the stated write units."""
    units = {name: DEFAULTS | {"WriteUnitsPerSecond": write} for name, write in (RAISED | writes).items()}

    def described(request: Mapping[str, Any]) -> dict[str, Any]:
        name = request["TableName"]
        table, index = ("records", "by-update") if name == "patient_records-dev" else ("audit", "by-record")
        indexes = [{"IndexName": index, "WarmThroughput": units[index]}]
        return {"Table": {"TableName": name, "WarmThroughput": units[table], "GlobalSecondaryIndexes": indexes}}

    return {
        ("dynamodb", "describe_table"): described,
        ("cloudwatch", "get_metric_data"): {"MetricDataResults": []},
    }


@pytest.mark.trap(33)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (tables(), []),
        (tables(records=25_000), []),
        *(
            (tables(**{name: RAISED[name] - 1}), f"{place} serves {RAISED[name] - 1:,} write units a second at once")
            for name, place in (
                ("records", "patient_records-dev"),
                ("by-update", "patient_records-dev/by-update"),
                ("audit", "audit_logs-dev"),
                ("by-record", "audit_logs-dev/by-record"),
            )
        ),
    ],
)
def test_tables_serve_at_once_what_the_api_admits(answers: Answers, expected: str | list[str]) -> None:
    found = problems("table-throughput", live(answers), WEST)
    assert found == ([f"{expected}, HDR_THROTTLE_RATE=1000 needs {int_in(str(expected)) + 1:,}"] if expected else [])


def int_in(text: str) -> int:
    """Return the number of units in a problem."""
    return int(text.split(" serves ")[1].split()[0].replace(",", ""))


def test_required_throughput_follows_the_rate_of_the_settings() -> None:
    found = problems("table-throughput", live(tables(), settings={"throttle_rate": 2000}))
    assert (
        "patient_records-dev serves 24,000 write units a second at once, HDR_THROTTLE_RATE=2000 needs 48,000" in found
    )


class Consumption:
    """CloudWatch with one value per minute of each region for one metric, on two pages."""

    def __init__(self, table: str, index: str | None, metric: str, values: Mapping[int, float]) -> None:
        self._wanted = (metric, {"TableName": table} | ({"GlobalSecondaryIndexName": index} if index else {}))
        self._values = values
        self.requests: list[Mapping[str, Any]] = []

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        results = []
        for query in request["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            asked = metric["MetricName"], {each["Name"]: each["Value"] for each in metric["Dimensions"]}
            points = sorted(self._values.items()) if asked == self._wanted else []
            for page in (points[:1], points[1:]):
                times = [HOUR - minute * MINUTE for minute, _ in page]
                results.append({"Id": query["Id"], "Timestamps": times, "Values": [value for _, value in page]})
        return {"MetricDataResults": results}


@pytest.mark.trap(33)
@pytest.mark.parametrize(
    ("index", "metric", "serves", "regions"),
    [
        # Each region's write units contain those that were replicated to it.
        (None, "ConsumedWriteCapacityUnits", "patient_records-dev serves 24,000 write", 1),
        (None, "ConsumedReadCapacityUnits", "patient_records-dev serves 12,000 read", 2),
        ("by-update", "ConsumedWriteCapacityUnits", "patient_records-dev/by-update serves 4,000 write", 1),
    ],
)
def test_tables_serve_at_once_what_the_survivor_would_consume(
    index: str | None, metric: str, serves: str, regions: int
) -> None:
    limit = int_in(serves) * 60

    def found(*values: float) -> list[str]:
        """Both regions consume the same in each minute."""
        metrics = Consumption("patient_records-dev", index, metric, dict(enumerate(values)))
        return problems("table-throughput", live({**tables(), ("cloudwatch", "get_metric_data"): metrics}))

    assert found(limit / regions, 1) == found(1, limit / regions) == []
    problem = f"{serves} units a second at once, {limit // 60 + 1:,} have been consumed"
    assert found((limit + 60) / regions, 1) == found(1, (limit + 60) / regions) == [problem]


@pytest.mark.trap(33)
@pytest.mark.parametrize(("region", "other"), [(EAST, WEST), (WEST, EAST)])
def test_write_units_of_the_region_that_consumed_more_count(region: str, other: str) -> None:
    much, little = (
        Consumption("patient_records-dev", None, "ConsumedWriteCapacityUnits", {0: units * 60})
        for units in (24_001, 9_000)
    )
    responses: Answers = {
        ("cloudwatch", region, "get_metric_data"): much,
        ("cloudwatch", other, "get_metric_data"): little,
    }
    assert problems("table-throughput", live({**tables(), **responses})) == [
        "patient_records-dev serves 24,000 write units a second at once, 24,001 have been consumed"
    ]


@pytest.mark.parametrize(
    ("rate", "fixes"),
    [
        (1000, ["raise HDR_THROTTLE_RATE to a rate that needs as much, then run `hdr deploy`"]),
        # The deployment raises the table to the 48,000 units that the rate needs.
        (2000, [CATALOG["table-throughput"].fix] * 4),
    ],
)
def test_consumption_beyond_the_rate_has_a_fix_that_raises_the_throughput(rate: int, fixes: list[str]) -> None:
    metrics = Consumption("patient_records-dev", None, "ConsumedWriteCapacityUnits", {0: 24_001 * 60})
    answers = {**tables(), ("cloudwatch", "get_metric_data"): metrics}
    problems_found = found("table-throughput", live(answers, settings={"throttle_rate": rate}))
    assert [problem.fix for problem in problems_found if " write " in problem.problem] == fixes


def test_consumption_of_14_days_is_read_by_the_minute() -> None:
    metrics = Consumption("patient_records-dev", None, "ConsumedReadCapacityUnits", {})
    problems("table-throughput", live({**tables(), ("cloudwatch", "get_metric_data"): metrics}))
    ((start, end),) = {(each["StartTime"], each["EndTime"]) for each in metrics.requests}
    assert end - start == timedelta(days=14)
    assert end.timestamp() % 60 == 0
    queries = [query["MetricStat"] for each in metrics.requests for query in each["MetricDataQueries"]]
    assert {(query["Period"], query["Stat"]) for query in queries} == {(60, "Sum")}


def test_limits_of_both_stages_are_compared() -> None:
    stages = [{"StageName": "$default", "DefaultRouteSettings": {"ThrottlingRateLimit": 10.0}}]
    found = problems("api", live({**api(), ("apigatewayv2", "get_stages"): {"Items": stages}}))
    assert [problem.partition(" of the API")[0] for problem in found] == ["the stage $default", "the stage probes"]


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
