"""Damage to the sentinel of a region: its schedule, its reach, its alarms, and what measures the lag."""

from collections.abc import Callable, Iterator
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import (
    ALARM,
    Mutation,
    altered,
    drop,
    of_resource,
    put,
    remove,
    statements,
    with_action,
    without,
)

FUNCTION = "aws_lambda_function"
RULE, TARGET, PERMISSION = "aws_cloudwatch_event_rule", "aws_cloudwatch_event_target", "aws_lambda_permission"
CALLS = "aws_lambda_function_event_invoke_config"
POLICY, KEY = "aws_iam_policy", "aws_kms_key"
DASHBOARD, MAPPING = "aws_cloudwatch_dashboard", "aws_lambda_event_source_mapping"
ENDPOINT = "environment.variables.ENDPOINT"
SHARED = "https://api.healthcare-dr-dev.com"
ALARMS = ("peer_unhealthy", "peer_heartbeat_age", "sentinel_silent", "heartbeat_replication_lag")


def sentinel_mutations() -> Iterator[Mutation]:
    for stack in (PRIMARY, SECONDARY):
        yield from _schedule_mutations(stack)
        yield from _reach_mutations(stack)
        yield from _alarm_mutations(stack)
    for role in ("primary", "secondary"):
        for metric in ("PeerHealthy", "HeartbeatWritten", "HeartbeatAge", "ReplicationLag"):
            damage = of_resource(GLOBAL, DASHBOARD, f"dashboard_{role}", _hides(metric))
            yield Mutation(f"{role}-dashboard-{metric}", "dashboards", damage, ("R6.1",))
        name = f"reconciliation_stream_{role}"
        deaf = of_resource(GLOBAL, MAPPING, name, lambda body: body["filter_criteria"]["filter"].pop())
        yield Mutation(f"{role}-deaf-to-heartbeats", "stream-reconciled", deaf, ("C3",), (7,))


def _schedule_mutations(stack: str) -> Iterator[Mutation]:
    for name, damage in (
        ("slow", put(stack, RULE, "sentinel_rule", "schedule_expression", "rate(5 minutes)")),
        ("off", put(stack, RULE, "sentinel_rule", "state", "DISABLED")),
        ("none", remove(stack, TARGET, "sentinel_target")),
        ("forbidden", remove(stack, PERMISSION, "sentinel_permission")),
        ("by-anyone", drop(stack, PERMISSION, "sentinel_permission", "source_arn")),
        ("again", put(stack, CALLS, "sentinel_calls", "maximum_retry_attempts", 2)),
        ("stale", drop(stack, CALLS, "sentinel_calls", "maximum_event_age_in_seconds")),
    ):
        yield Mutation(f"{stack}-sentinel-{name}", "sentinel-schedule", damage, ("R6.2",), (7,))


def _reach_mutations(stack: str) -> Iterator[Mutation]:
    unset = drop(stack, FUNCTION, "sentinel", ENDPOINT)
    yield Mutation(f"{stack}-sentinel-nowhere", "sentinel-endpoint", unset, ("C1",), (23,))
    shared = put(stack, FUNCTION, "sentinel", ENDPOINT, SHARED)
    yield Mutation(f"{stack}-sentinel-shared-name", "sentinel-endpoint", shared, ("C1",), (23,))
    for sid, change in (
        ("any-item", altered("Heartbeats", lambda s: s.pop("Condition"))),
        ("records", altered("Heartbeats", lambda s: s["Condition"]["ForAllValues:StringEquals"].popitem())),
    ):
        damage = statements(stack, POLICY, "sentinel_policy", "policy", change)
        yield Mutation(f"{stack}-sentinel-{sid}", "sentinel-privileges", damage, ("C6",))
    for sid, change in (
        ("queries", with_action("Heartbeats", "dynamodb:Query")),
        ("nothing", without("Heartbeats")),
    ):
        damage = statements(stack, POLICY, "sentinel_policy", "policy", change)
        yield Mutation(f"{stack}-sentinel-{sid}", "table-privileges", damage, ("C6",))
    damage = statements(stack, KEY, "data_key", "policy", without("SentinelRole"))
    yield Mutation(f"{stack}-sentinel-keyless", "key-admits-region", damage, ("R5.2",))


def _alarm_mutations(stack: str) -> Iterator[Mutation]:
    for name in (*ALARMS, "sentinel_errors"):
        yield Mutation(f"{stack}-no-{name}", "alarm-coverage", remove(stack, ALARM, name), ("R6.2",))
    for name in ALARMS:
        for attribute, value in (
            ("threshold", -1),
            ("evaluation_periods", 5),
            ("treat_missing_data", "ignore"),
            ("statistic", "Average"),
            ("dimensions", {"service": "patient-api"}),
        ):
            damage = put(stack, ALARM, name, attribute, value)
            yield Mutation(f"{stack}-{name}-{attribute}", "peer-watched-here", damage, ("R6.2", "C3"), (7, 22))
        slow = put(stack, ALARM, name, "period", 300)
        yield Mutation(f"{stack}-{name}-slow", "alarm-period", slow, ("R6.2",), (32,))
        other = "us-west-2" if stack == PRIMARY else "us-east-1"
        topic = f"arn:aws:sns:{other}:${{data.aws_caller_identity.account.account_id}}:healthcare-dr-operations-dev"
        afar = put(stack, ALARM, name, "alarm_actions", [topic])
        yield Mutation(f"{stack}-{name}-afar", "alarm-actions", afar, ("R7.1",), (22,))
    deaf = put(stack, "aws_cloudwatch_composite_alarm", "peer_at_risk", "alarm_rule", "FALSE")
    yield Mutation(f"{stack}-peer-deaf", "alarm-coverage", deaf, ("R6.2",))


def _hides(metric: str) -> Callable[[dict[str, Any]], object]:
    def change(board: dict[str, Any]) -> None:
        board["dashboard_body"] = board["dashboard_body"].replace(f'"{metric}"', '"Other"')

    return change
