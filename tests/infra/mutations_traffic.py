"""Damage to DNS, health checks, alarms and dashboards."""

from collections.abc import Iterator

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import (
    ALARM,
    CHECK,
    Damage,
    Documents,
    Mutation,
    add,
    drop,
    everywhere,
    move_to_secondary,
    put,
    remove,
    res,
    statements,
    swap,
    without,
)


def traffic_mutations() -> Iterator[Mutation]:
    zone, record = "aws_route53_zone", "aws_route53_record"
    yield Mutation("zone-reserved", "zone-own-domain", put(GLOBAL, zone, "zone", "name", "example.com"), ("R4.3", "D3"))
    yield Mutation("zone-kept", "zone-own-domain", put(GLOBAL, zone, "zone", "force_destroy", False), ("D6",))
    yield Mutation("zone-missing", "zone-own-domain", remove(GLOBAL, zone), ("R4.1",))
    weight = "weighted_routing_policy.weight"
    yield Mutation("weights", "weighted-records", put(GLOBAL, record, "api_primary", weight, 50), ("R4.1",))
    yield Mutation(
        "record-unchecked", "weighted-records", drop(GLOBAL, record, "api_secondary", "health_check_id"), ("C1",), (21,)
    )
    for attribute in ("health_check_id", "records"):
        swapped = swap(GLOBAL, record, "api_primary", "api_secondary", attribute)
        yield Mutation(f"{attribute}-swapped", "weighted-records", swapped, ("R4.1", "C1"), (21,))
    yield Mutation("ttl", "recovery-time", put(GLOBAL, record, "api_primary", "ttl", 280), ("C2",), (28,))
    for check in ("endpoint_primary", "endpoint_secondary", "drain_primary", "drain_secondary"):
        yield Mutation(
            f"{check}-threshold", "recovery-time", put(GLOBAL, CHECK, check, "failure_threshold", 5), ("R4.2",)
        )
        yield Mutation(
            f"{check}-shared", "probe-own-endpoint", put(GLOBAL, CHECK, check, "fqdn", "api.healthcare-dr-dev.com"),
            ("C1",), (23,),
        )  # fmt: skip
        yield Mutation(
            f"{check}-path", "probe-own-endpoint", put(GLOBAL, CHECK, check, "resource_path", "/"), (), (24,)
        )
    for role in ("primary", "secondary"):
        health = f"health_{role}"
        yield Mutation(
            f"{health}-time", "calculated-verdict", put(GLOBAL, CHECK, health, "request_interval", 10), (), (25,)
        )
        yield Mutation(
            f"{health}-either", "calculated-verdict", put(GLOBAL, CHECK, health, "child_health_threshold", 1), ("C1",)
        )
        yield Mutation(
            f"{health}-self", "calculated-verdict",
            asks_itself(role),
            ("C1",), (27,),
        )  # fmt: skip
        yield Mutation(
            f"{health}-upright", "calculated-verdict", put(GLOBAL, CHECK, f"drain_{role}", "invert_healthcheck", False),
            ("C1",),
        )  # fmt: skip
    yield Mutation(
        "validation",
        "certificates",
        add(GLOBAL, "aws_acm_certificate_validation", "v", {"certificate_arn": "x"}),
        (),
        (30,),
    )


def alarm_mutations() -> Iterator[Mutation]:
    for stack in (PRIMARY, SECONDARY):
        for name in ("records_replication_lag", "documents_failed", "documents_replication_lag", "documents_stuck",
                     "function_errors", "function_throttles", "api_latency", "api_errors", "endpoint_unhealthy",
                     "key_failures", "records_read_throttles", "audit_index_throttles"):  # fmt: skip
            names = ("records_replication_lag", "audit_replication_lag") if name.startswith("records") else (name,)
            yield Mutation(f"{stack}-{name}", "alarm-coverage", remove(stack, ALARM, *names), ("R6.2",))
        yield Mutation(
            f"{stack}-composite",
            "alarm-coverage",
            remove(stack, "aws_cloudwatch_composite_alarm", "region_impaired"),
            ("R6.2",),
        )
        yield Mutation(
            f"{stack}-deaf", "alarm-coverage",
            put(stack, "aws_cloudwatch_composite_alarm", "region_impaired", "alarm_rule", "FALSE"), ("R6.2",),
        )  # fmt: skip
        for name, dimension in (("function_errors", "FunctionName"), ("api_latency", "ApiId"),
                                ("audit_write_throttles", "TableName"), ("documents_stuck", "RuleId")):  # fmt: skip
            yield Mutation(
                f"{stack}-{name}-{dimension}", "alarm-coverage",
                drop(stack, ALARM, name, f"dimensions.{dimension}"), ("R6.2",),
            )  # fmt: skip
        yield Mutation(
            f"{stack}-slow", "alarm-period", put(stack, ALARM, "api_errors", "period", 300), ("R6.2",), (32,)
        )
        yield Mutation(
            f"{stack}-silence", "alarm-period", drop(stack, ALARM, "api_errors", "treat_missing_data"), ("R6.2",)
        )
        yield Mutation(f"{stack}-mute", "alarm-actions", put(stack, ALARM, "api_errors", "ok_actions", []), ("R7.1",))
        dimension = "dimensions.ReceivingRegion"
        yield Mutation(
            f"{stack}-series", "alarm-replication-series",
            put(stack, ALARM, "records_replication_lag", dimension, "eu-west-1"), ("C3",), (7,),
        )  # fmt: skip
        yield Mutation(f"{stack}-topic", "topics", remove(stack, "aws_sns_topic"), ("R7.1",))
        for sid in ("PublishCloudwatch", "PublishS3"):
            damage = statements(stack, "aws_sns_topic_policy", "operations_topic_policy", "policy", without(sid))
            yield Mutation(f"{stack}-{sid}", "topic-admits", damage, ("R7.1",))
        trail = "aws_cloudtrail"
        for sid in ("TrailReadsAcl", "TrailWrites"):
            damage = statements(stack, "aws_s3_bucket_policy", "trail_bucket_policy", "policy", without(sid))
            yield Mutation(f"{stack}-{sid}", "data-event-trail", damage, ("C6",))
        for number, kind in enumerate(("documents", "tables")):
            damage = elsewhere(stack, number)
            yield Mutation(f"{stack}-trail-elsewhere-{kind}", "data-event-trail", damage, ("C6", "R1.3"))
        yield Mutation(f"{stack}-trail", "data-event-trail", remove(stack, trail), ("C6",))
        yield Mutation(
            f"{stack}-unsigned",
            "data-event-trail",
            put(stack, trail, "data_events", "enable_log_file_validation", False),
        )
    for name in ("health_check_us_east_1", "health_check_us_west_2"):
        yield Mutation(f"{name}-west", "alarm-route53-region", move_to_secondary(ALARM, name), ("R6.2",), (22,))
    yield Mutation(
        "no-health-alarm", "alarm-route53-region",
        everywhere(*(remove(GLOBAL, ALARM, f"{kind}_check_{region}") for kind in ("health", "endpoint")
                     for region in ("us_east_1", "us_west_2"))),
        ("R6.2",), (22,),
    )  # fmt: skip
    for region in ("us_east_1", "us_west_2"):
        damage = remove(GLOBAL, ALARM, f"health_check_{region}", f"endpoint_check_{region}")
        yield Mutation(f"no-health-alarm-{region}", "alarm-route53-region", damage, ("R6.2",), (22,))
    watched = "dimensions.HealthCheckId"
    yield Mutation(
        "health-alarm-twice", "alarm-route53-region",
        put(GLOBAL, ALARM, "health_check_us_west_2", watched, "${aws_route53_health_check.health_primary.id}"),
        ("R6.2",), (22,),
    )  # fmt: skip
    board = "aws_cloudwatch_dashboard"
    yield Mutation("dashboard", "dashboards", remove(GLOBAL, board, "dashboard_secondary"), ("R6.1",))
    yield Mutation(
        "dashboard-blind",
        "dashboards",
        put(GLOBAL, board, "dashboard_primary", "dashboard_body", '{"widgets": []}'),
        ("R6.1",),
    )


def asks_itself(role: str) -> Damage:
    def damage(documents: Documents) -> None:
        own = res(GLOBAL, CHECK, f"endpoint_{role}")(documents)["fqdn"]
        res(GLOBAL, CHECK, f"drain_{role}")(documents)["fqdn"] = own

    return damage


def elsewhere(stack: str, number: int) -> Damage:
    """Let the trail record another bucket, or another table."""

    def damage(documents: Documents) -> None:
        selector = res(stack, "aws_cloudtrail", "data_events")(documents)["advanced_event_selector"][number]
        field = next(field for field in selector["field_selector"] if field["field"] == "resources.ARN")
        field["starts_with"][0] = field["starts_with"][0].replace("-dev", "-other")

    return damage
