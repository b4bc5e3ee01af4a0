"""Damage to DNS, health checks, alarms, dashboards, networks, fault injection, and to stacks as a whole."""

from collections.abc import Callable
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, STACKS
from infra.damage import REGIONAL, Damage, Mutations, Part, add, combined, remove_all, resource

HEALTH_CHECK, ALARM, TEMPLATE = (
    "aws_route53_health_check", "aws_cloudwatch_metric_alarm", "aws_fis_experiment_template",
)  # fmt: skip


def operations_mutations() -> Mutations:
    yield from zone_mutations()
    for stack, role in REGIONAL:
        yield from health_check_mutations(role)
        yield from alarm_coverage_mutations(stack)
        yield from alarm_mutations(stack)
        yield from peer_alarm_mutations(stack)
        yield from network_mutations(stack)
    yield from health_alarm_mutations()
    yield from dashboard_mutations()
    yield from peering_mutations()
    yield from stack_mutations()


def zone_mutations() -> Mutations:
    zone, record = resource(GLOBAL, "aws_route53_zone.zone"), resource(GLOBAL, "aws_route53_record.api_primary")
    yield "zone-own-domain", zone.put("name", "example.com")
    yield "zone-own-domain", zone.put("name", "healthcare-dr-other.com")
    yield "shared-name", record.put("name", "healthcare-dr-dev.com")
    yield "zone-own-domain", zone.put("force_destroy", False)
    yield "zone-own-domain", remove_all(GLOBAL, "aws_route53_zone")
    yield "weighted-records", record.put("weighted_routing_policy.weight", 50)
    yield "weighted-records", resource(GLOBAL, "aws_route53_record.api_secondary").drop("health_check_id")
    for attribute in ("health_check_id", "records"):
        yield "weighted-records", resource(GLOBAL, "aws_route53_record").edit(f"{attribute} swapped", swap(attribute))
    yield "recovery-time", record.put("ttl", 280)
    yield "certificates", add(GLOBAL, "aws_acm_certificate_validation.v", {"certificate_arn": "x"})


def swap(attribute: str) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        one, other = records["api_primary"], records["api_secondary"]
        one[attribute], other[attribute] = other[attribute], one[attribute]

    return change


def health_check_mutations(role: str) -> Mutations:
    for name in (f"endpoint_{role}", f"drain_{role}"):
        probe = resource(GLOBAL, f"{HEALTH_CHECK}.{name}")
        yield "recovery-time", probe.put("failure_threshold", 5)
        yield "probe-own-endpoint", probe.put("fqdn", "api.healthcare-dr-dev.com")
        yield "probe-own-endpoint", probe.put("resource_path", "/")
        yield "probe-own-endpoint", probe.replace("resource_path", "/probes", "")
    calculated, drain = (resource(GLOBAL, f"{HEALTH_CHECK}.{name}_{role}") for name in ("health", "drain"))
    yield "calculated-health-check", calculated.put("request_interval", 10)
    yield "calculated-health-check", calculated.put("child_health_threshold", 1)
    yield "calculated-health-check", drain.put("invert_healthcheck", False)
    yield (
        "calculated-health-check",
        resource(GLOBAL, HEALTH_CHECK).edit(
            f"drain_{role} probes its own region",
            lambda checks: checks[f"drain_{role}"].update(fqdn=checks[f"endpoint_{role}"]["fqdn"]),
        ),
    )
    if role == "primary":
        yield "calculated-health-check", drain.put("resource_path", "/probes/drain/us-west-2")


def alarm_coverage_mutations(stack: str) -> Mutations:
    for name in (
        "documents_failed", "documents_replication_lag", "documents_stuck", "function_errors", "function_throttles",
        "api_latency", "api_errors", "endpoint_unhealthy", "key_failures", "audit_index_throttles", "conflicts",
        "tampered_items", "documents_pending", "documents_quarantined", "document_confirmation_errors",
        "reconciliation_errors", "reconciliation_lag", "peer_unhealthy", "peer_heartbeat_age", "sentinel_silent",
        "heartbeat_replication_lag", "sentinel_errors", "wrong_clock", "future_versions",
    ):  # fmt: skip
        yield "alarm-coverage", alarm(stack, name).remove()
    lag = combined(*(alarm(stack, f"{table}_replication_lag").remove() for table in ("records", "audit")))
    yield "alarm-coverage", lag
    for name, dimension in (
        ("function_errors", "FunctionName"),
        ("api_latency", "ApiId"),
        ("audit_write_throttles", "TableName"),
        ("documents_stuck", "RuleId"),
    ):
        yield "alarm-coverage", alarm(stack, name).drop(f"dimensions.{dimension}")
    for name in ("documents_pending", "reconciliation_lag"):
        yield "alarm-coverage", alarm(stack, name).put("threshold", 900_000)
    for name in ("conflicts", "tampered_items", "documents_quarantined", "wrong_clock", "future_versions"):
        yield "alarm-coverage", alarm(stack, name).put("threshold", 1)
        yield "alarm-coverage", alarm(stack, name).put("statistic", "Average")
    composite = "aws_cloudwatch_composite_alarm"
    yield "alarm-coverage", resource(stack, f"{composite}.region_impaired").remove()
    for name in ("region_impaired", "integrity_at_risk", "peer_at_risk"):
        yield "alarm-coverage", resource(stack, f"{composite}.{name}").put("alarm_rule", "FALSE")


def alarm(stack: str, name: str) -> Part:
    return resource(stack, f"{ALARM}.{name}")


def alarm_mutations(stack: str) -> Mutations:
    yield "alarm-period", alarm(stack, "api_errors").put("period", 300)
    yield "alarm-period", alarm(stack, "api_errors").drop("treat_missing_data")
    yield "alarm-actions", alarm(stack, "api_errors").put("ok_actions", [])
    lag = alarm(stack, "records_replication_lag")
    yield "alarm-replication-series", lag.put("dimensions.ReceivingRegion", "eu-west-1")
    yield "topics", remove_all(stack, "aws_sns_topic")
    for sid in ("PublishCloudwatch", "PublishS3"):
        policy = resource(stack, "aws_sns_topic_policy.operations_topic_policy")
        yield "topic-admits", policy.statement(sid).remove()


def peer_alarm_mutations(stack: str) -> Mutations:
    peer = "us-west-2" if stack == PRIMARY else "us-east-1"
    topic = f"arn:aws:sns:{peer}:${{data.aws_caller_identity.account.account_id}}:healthcare-dr-operations-dev"
    for name in ("peer_unhealthy", "peer_heartbeat_age", "sentinel_silent", "heartbeat_replication_lag"):
        for attribute, value in (
            ("threshold", -1),
            ("evaluation_periods", 5),
            ("treat_missing_data", "ignore"),
            ("statistic", "Average"),
            ("dimensions", {"service": "patient-api"}),
        ):
            yield "alarm-on-peer", alarm(stack, name).put(attribute, value)
        yield "alarm-period", alarm(stack, name).put("period", 300)
        yield "alarm-actions", alarm(stack, name).put("alarm_actions", [topic])


def health_alarm_mutations() -> Mutations:
    rule, by_region = "alarm-route53-region", []
    for region in ("us_east_1", "us_west_2"):
        yield rule, alarm(GLOBAL, f"health_check_{region}").put("provider", "aws.secondary")
        by_region.append(
            combined(*(alarm(GLOBAL, f"{kind}_check_{region}").remove() for kind in ("health", "endpoint")))
        )
    for damage in (*by_region, combined(*by_region)):
        yield rule, damage
    primary = "${aws_route53_health_check.health_primary.id}"
    yield rule, alarm(GLOBAL, "health_check_us_west_2").put("dimensions.HealthCheckId", primary)


def dashboard_mutations() -> Mutations:
    kind = "aws_cloudwatch_dashboard"
    yield "dashboards", resource(GLOBAL, f"{kind}.dashboard_secondary").remove()
    yield "dashboards", resource(GLOBAL, f"{kind}.dashboard_primary").put("dashboard_body", '{"widgets": []}')
    for _, role in REGIONAL:
        for metric in ("PeerHealthy", "HeartbeatWritten", "HeartbeatAge", "ReplicationLag"):
            board = resource(GLOBAL, f"{kind}.dashboard_{role}")
            yield "dashboards", board.replace("dashboard_body", f'"{metric}"', '"Other"')


def network_mutations(stack: str) -> Mutations:
    ingress, egress = "aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"
    yield "network-zones", resource(stack, "aws_subnet.private_subnet_2").remove()
    yield "network-zones", resource(stack, "aws_vpc_endpoint.s3_endpoint").remove()
    yield "routes-explicit", resource(stack, "aws_route.internet_route").drop("destination_cidr_block")
    yield "security-groups", resource(stack, f"{ingress}.data_peer_from").put("cidr_ipv4", "0.0.0.0/0")
    for source, value in (("cidr_ipv6", "::/0"), ("prefix_list_id", "pl-1")):
        group = "${aws_security_group.data_group.id}"
        body = {"security_group_id": group, "ip_protocol": "tcp", "from_port": 443, "to_port": 443, source: value}
        yield "security-groups", add(stack, f"{ingress}.wide", body)
    for kind in (ingress, egress, "aws_default_security_group", "aws_flow_log"):
        yield "security-groups", remove_all(stack, kind)
    yield "security-groups", resource(stack, "aws_security_group.data_group").remove()
    yield "peering-routes", resource(stack, "aws_vpc.vpc").put("cidr_block", "10.0.0.0/12")
    if stack == PRIMARY:
        yield "security-groups", resource(stack, f"{ingress}.data_lambda_from").put("to_port", 22)
        elsewhere = resource(stack, "aws_route.internet_route").put("destination_cidr_block", "10.9.0.0/16")
        yield "routes-explicit", elsewhere
        inline = {"route": [{"cidr_block": "10.9.0.0/16"}, {"gateway_id": "igw-1"}]}
        yield "routes-explicit", add(stack, "aws_route_table.stray", inline)


def peering_mutations() -> Mutations:
    for _, role in REGIONAL:
        yield "peering-routes", resource(GLOBAL, f"aws_route.peering_route_{role}_private").remove()
    for side in ("requester", "accepter"):
        options = resource(GLOBAL, f"aws_vpc_peering_connection_options.peering_dns_{side}")
        yield "peering-routes", options.remove()
    yield "peering-routes", remove_all(GLOBAL, "aws_vpc_peering_connection_accepter")
    yield "peering-routes", remove_all(PRIMARY, "aws_vpc")


def stack_mutations() -> Mutations:
    for name in STACKS:
        stack, provider = Part(name), Part(f"{name}.provider.aws.-1")
        yield "stacks", stack.remove()
        yield "tags", provider.drop("default_tags")
        yield "target-free", provider.put("endpoints", [{"s3": "https://127.0.0.1:4566"}])
        for backend in (
            {"region": "us-east-1", "encrypt": True, "use_lockfile": True},
            {"region": "us-west-2", "encrypt": True},
        ):
            yield "state-survives", stack.put("terraform.backend", {"s3": backend})
        yield "providers", stack.put("terraform.required_providers.random", {})
    yield "state-survives", Part(GLOBAL).put("terraform.backend", {"remote": {}})
    yield "names", resource(PRIMARY, "aws_iam_role.api_role").put("name", "healthcare-dr-patient-api")
    yield "names", resource(PRIMARY, "aws_vpc.vpc").put("tags", {"Name": "healthcare-dr-vpc"})
    yield (
        "tags",
        resource(PRIMARY, "aws_vpc.vpc").edit(
            "overrides a tag", lambda vpc: vpc["tags"].update(DisasterRecovery="Enabled", Environment="Test")
        ),
    )
    yield "destroyable", resource(GLOBAL, "aws_route53_zone.zone").put("lifecycle", {"prevent_destroy": True})
    yield "destroyable", resource(PRIMARY, "aws_cloudwatch_log_group.access_log_group").put("skip_destroy", True)
    function = resource(PRIMARY, "aws_lambda_function.patient_api")
    yield "target-free", function.put("description", "http://127.0.0.1:4566")
    yield "service-models", function.put("memory_size", 64)
    yield from schema_mutations()


def schema_mutations() -> Mutations:
    flow_log = resource(PRIMARY, "aws_flow_log.flow_log")
    # Removed in 6.0.
    yield "provider-schema", flow_log.put("log_group_name", "x")
    yield "provider-schema", add(PRIMARY, "aws_simpledb_domain.domain", {"name": "x"})
    yield "provider-schema", resource(GLOBAL, "aws_dynamodb_table.audit_logs").put("replica.nothing", True)
    # Required.
    yield "provider-schema", resource(GLOBAL, "aws_vpc_peering_connection.peering").drop("vpc_id")
    yield "provider-schema", resource(GLOBAL, "aws_dynamodb_table.audit_logs").drop("replica.region_name")
    # Of another type, and more than one block where one may stand.
    yield "provider-schema", flow_log.put("max_aggregation_interval", "minute")
    yield "provider-schema", flow_log.put("tags", ["x"])
    yield "provider-schema", resource(GLOBAL, "aws_dynamodb_table.audit_logs").put("ttl", [{"enabled": False}] * 2)
    yield "provider-schema", resource(GLOBAL, "aws_dynamodb_table.audit_logs").put("ttl", "7 days")
    # Deprecated.
    role = resource(PRIMARY, "aws_iam_role.api_role")
    yield "provider-schema", role.put("managed_policy_arns", ["arn:aws:iam::aws:policy/ReadOnlyAccess"])
    # References to attributes that do not exist.
    yield "provider-schema", flow_log.put("vpc_id", "${aws_vpc.vpc.identifier}")
    yield "provider-schema", flow_log.put("vpc_id", "${data.aws_region.here.endpoint_name}")
    yield "provider-schema", Part(f"{PRIMARY}.output.vpc_id").put("value", "${aws_vpc.vpc.identifier}")


def notification_mutations() -> Mutations:
    """Damage to stacks with HTTPS endpoints."""
    for stack, _ in REGIONAL:
        endpoint = resource(stack, "aws_sns_topic_subscription.operations_endpoint_1")
        queue = resource(stack, "aws_sqs_queue.undelivered_queue")
        policy = resource(stack, "aws_sqs_queue_policy.undelivered_queue_policy")
        yield "topics", endpoint.remove()
        yield "topics", endpoint.put("endpoint", "${var.operations_endpoints[0]}")
        yield "topics", endpoint.put("topic_arn", "arn:aws:sns:eu-west-1:123456789012:other")
        yield "topics", endpoint.put("protocol", "http")
        yield "notification-secrets", endpoint.put("endpoint", "https://pager.example.org/x")
        variable = Part(f"{stack}.variable.operations_endpoints")
        yield "notification-secrets", variable.put("sensitive", False)
        yield "notification-secrets", variable.put("default", [])
        yield "undelivered-notifications", endpoint.drop("redrive_policy")
        yield "undelivered-notifications", endpoint.put("redrive_policy", '{"deadLetterTargetArn": "arn:aws:sqs:x"}')
        yield "undelivered-notifications", endpoint.drop("delivery_policy")
        yield "undelivered-notifications", endpoint.replace("delivery_policy", '"numRetries": 30', '"numRetries": 90')
        yield "undelivered-notifications", policy.statement("UndeliveredOfTopic").drop("Condition")
        yield "undelivered-notifications", policy.statement("UndeliveredOfTopic").put("Principal", {"AWS": "*"})
        yield "undelivered-notifications", policy.statement("RefusePlaintext").remove()
        yield "undelivered-notifications", queue.put("message_retention_seconds", 60)
        yield "encrypted-at-rest", queue.drop("kms_master_key_id")
        yield "names", queue.put("name", "undelivered")
        yield "alarm-coverage", alarm(stack, "notifications_undelivered").remove()
        yield "alarm-coverage", alarm(stack, "notifications_undelivered").put("threshold", 100)
        key = resource(stack, "aws_kms_key.data_key")
        yield "key-admits-alarms", key.statement("UndeliveredReaders").remove()
        yield from relay_mutations(stack)
        for sid in ("RelayRole", "WebhooksParameter"):
            yield "key-admits-region", key.statement(sid).remove()


def relay_mutations(stack: str) -> Mutations:
    rule, function = "notification-relay", resource(stack, "aws_lambda_function.notification_relay")
    parameter = resource(stack, "aws_ssm_parameter.webhooks_parameter")
    calls = resource(stack, "aws_lambda_function_event_invoke_config.notification_relay_calls")
    permission = resource(stack, "aws_lambda_permission.notification_relay_permission")
    subscription = resource(stack, "aws_sns_topic_subscription.notification_relay_subscription")
    yield rule, function.remove()
    yield rule, function.put("timeout", 3)
    yield rule, parameter.remove()
    yield rule, parameter.put("type", "String")
    yield rule, parameter.put("value", "https://hooks.example.org/services/T/B/x")
    yield "encrypted-at-rest", parameter.drop("key_id")
    yield "names", parameter.put("name", "webhooks")
    yield "notification-secrets", parameter.put("value", "https://hooks.example.org/services/T/B/x")
    yield "notification-secrets", Part(f"{stack}.variable.operations_webhooks").put("sensitive", False)
    yield rule, subscription.remove()
    yield rule, permission.put("source_arn", "arn:aws:sns:eu-west-1:123456789012:other")
    yield rule, calls.put("destination_config.on_failure.destination", "${aws_sns_topic.operations_topic.arn}")
    yield rule, calls.remove()
    yield "undelivered-notifications", subscription.drop("redrive_policy")
    read = resource(stack, "aws_iam_policy.relay_policy").statement("Webhooks")
    yield rule, read.put("Resource", "arn:aws:ssm:us-east-1:123456789012:parameter/*")
    yield rule, resource(stack, "aws_iam_policy.sentinel_policy").statement("Key").append("Action", "ssm:GetParameter")
    yield "function-environment", function.drop("environment.variables.WEBHOOKS_PARAMETER")


def fault_mutations() -> Mutations:
    """Damage to stacks with fault injection."""
    for stack, role in REGIONAL:
        for name, target in (
            ("pause_tables", {"resource_arns": ["arn:aws:dynamodb:us-east-1:123456789012:table/other"]}),
            ("pause_documents", {"resource_tag": [{"key": "DataClass", "value": "phi"}]}),
            ("disconnect", {"resource_arns": ["${aws_vpc.vpc.arn}"]}),
        ):
            yield from template_mutations(resource(stack, f"{TEMPLATE}.{name}_{role}"))
            yield retargeted(resource(stack, f"{TEMPLATE}.{name}_{role}"), target)
        by_tier = {"resource_tag": [{"key": "Tier", "value": "private"}]}
        yield retargeted(resource(stack, f"{TEMPLATE}.disconnect_{role}"), by_tier)
        yield from fault_role_mutations(stack, role)


def template_mutations(template: Part) -> Mutations:
    other_alarm = {"source": "aws:cloudwatch:alarm", "value": "${aws_cloudwatch_metric_alarm.api_latency.arn}"}
    yield "fault-templates", template.remove()
    yield "fault-templates", template.put("tags.Name", "healthcare-dr-other-dev")
    yield "fault-templates", template.put("stop_condition", [{"source": "none"}])
    yield "fault-templates", template.put("stop_condition", [other_alarm])
    yield "fault-templates", template.drop("action.-1.parameter.0")
    yield "fault-templates", template.put("action.-1.parameter", [{"key": "duration", "value": "PT21H"}])


def retargeted(template: Part, target: dict[str, Any]) -> tuple[str, Damage]:
    """Return the damage that gives the last target of a template other resources."""

    def retarget(body: dict[str, Any]) -> None:
        chosen_by = ("resource_arns", "resource_tag")
        kept = {key: value for key, value in body["target"][-1].items() if key not in chosen_by}
        body["target"][-1] = kept | target

    return "fault-templates", template.edit(f"target {target}", retarget)


def fault_role_mutations(stack: str, role: str) -> Mutations:
    for name in ("faults", "disconnect"):
        trust = resource(stack, f"aws_iam_role.{name}_role_{role}").statement("TrustService", "assume_role_policy")
        yield "fault-roles", trust.put("Principal", {"Service": ["fis.amazonaws.com", "ec2.amazonaws.com"]})
        yield "fault-roles", trust.drop("Condition")
    yield "fault-roles", resource(stack, f"{TEMPLATE}.disconnect_{role}").drop("role_arn")
    disconnect, pause = (
        resource(stack, f"aws_iam_role_policy.{name}_policy_{role}") for name in ("disconnect", "faults")
    )
    terminate = disconnect.statement("SwapRouteTables").append("Action", "ec2:TerminateInstances")
    for damage in (
        disconnect.statement("UseAndRemoveCreated").drop("Condition"),
        disconnect.statement("Create").drop("Condition"),
        disconnect.statement("SwapRouteTables").put("Resource", "arn:aws:ec2:*:*:subnet/*"),
        disconnect.statement("KeepEndpoints").put("Resource", "*"),
        disconnect.statement("CreateInNetwork").append("Action", "ec2:ModifySecurityGroupRules"),
        terminate,
    ):
        yield "fault-roles", damage
    for damage in (
        pause.statement("PauseTables").append("Action", "ec2:ReplaceRouteTableAssociation"),
        pause.statement("FindTargets").append("Action", "ec2:DescribeSubnets"),
        pause.statement("PauseTables").put("Resource", "*"),
        terminate,
    ):
        yield "least-privilege", damage
