"""Rules on the sentinel: that each region gives a sign of life, and looks for the other's by itself."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.rules_compute import functions_named
from healthcare_dr.infra.lint.rules_workers import calls_every_minute
from healthcare_dr.infra.lint.view import Platform, Resource
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
SENTINEL = "sentinel"
INTERVAL_SECONDS = 60
ONLY_HEARTBEATS = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["$platform#heartbeat"]}}


@rule("sentinel-schedule", "R6.2", "trap 7", why="Lag is only known while something is written, so it is every minute.")
def schedule(platform: Platform) -> Problems:
    for function in functions_named(platform, SENTINEL):
        yield from calls_every_minute(platform, function)
        calls = list(platform.of_parent(function, "function_name", "aws_lambda_function_event_invoke_config"))
        if [call.get("maximum_retry_attempts") for call in calls] != [0]:
            yield function.address, "must not be tried again: the next round is on its way"
        if [call.get("maximum_event_age_in_seconds") for call in calls] != [INTERVAL_SECONDS]:
            yield function.address, f"must drop rounds that are older than {INTERVAL_SECONDS} s"


@rule(
    "sentinel-endpoint", "C1", "trap 23",
    why="The peer is told by the heartbeat where to look; by the shared name it would look at whoever answers.",
)  # fmt: skip
def endpoint(platform: Platform) -> Problems:
    for function in functions_named(platform, SENTINEL):
        apis = list(platform.resources("aws_apigatewayv2_api", region=function.region))
        wanted = [f"https://{api.expression('id')}.execute-api.{function.region}.amazonaws.com" for api in apis]
        if [function.get("environment", "variables", "ENDPOINT")] != wanted:
            yield function.address, f"ENDPOINT must be the address of the HTTP API of {function.region}"


@rule("sentinel-privileges", "C6", why="PutItem replaces items: with it, no item but a heartbeat may be in reach.")
def privileges(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        for holder in platform.resources("aws_iam_policy", region=region):
            if holder.get("name") != names.of(SENTINEL, region):
                continue
            for statement in holder.statements("policy"):
                of_table = any(action.startswith("dynamodb:") for action in statement["Action"])
                if of_table and statement.get("Condition") != ONLY_HEARTBEATS:
                    yield holder.address, f"must be limited by {json.dumps(ONLY_HEARTBEATS)}"


@rule(
    "peer-watched-here", "R6.2", "R7.1", "C3", "trap 7", "trap 22",
    why="What tells of a region's loss must not be lost with it, and silence of the watcher is not good news.",
)  # fmt: skip
def watched_here(platform: Platform) -> Problems:
    limit = platform.settings.replication_lag_seconds
    wanted = {
        "PeerHealthy": ("Minimum", "LessThanThreshold", 1, "breaching"),
        "HeartbeatWritten": ("Minimum", "LessThanThreshold", 1, "breaching"),
        "HeartbeatAge": ("Maximum", "GreaterThanThreshold", INTERVAL_SECONDS + limit, "breaching"),
        "ReplicationLag": ("Maximum", "GreaterThanThreshold", limit, "notBreaching"),
    }
    for region in platform.settings.regions:
        alarms = [alarm for alarm in platform.resources("aws_cloudwatch_metric_alarm", region=region) if _own(alarm)]
        for metric, fires in wanted.items():
            found = [_fires(alarm) for alarm in alarms if alarm.get("metric_name") == metric]
            if found != [fires]:
                yield region, f"one alarm must watch {metric}: {' '.join(map(str, fires))}"


def _own(alarm: Resource) -> bool:
    return bool(alarm.get("dimensions") == {"service": SENTINEL})


def _fires(alarm: Resource) -> tuple[object, ...]:
    if alarm.get("evaluation_periods") != 1:
        return ()
    return tuple(alarm.get(part) for part in ("statistic", "comparison_operator", "threshold", "treat_missing_data"))
