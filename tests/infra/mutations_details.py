"""Damage to what rules guard beside their main concern; with it every line of every rule has found something."""

from collections.abc import Iterator
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY
from infra.mutations import Documents, Mutation, add, altered, drop, of_resource, of_stack, put, remove, statements

FUNCTION = "aws_lambda_function"
INGRESS = "aws_vpc_security_group_ingress_rule"


def detail_mutations() -> Iterator[Mutation]:
    yield Mutation(
        "log-without-status", "access-log-private",
        put(PRIMARY, "aws_apigatewayv2_stage", "patient_api_stage", "access_log_settings.format", "$context.requestId"),
        ("C6",),
    )  # fmt: skip
    yield Mutation(
        "bucket-under-a-key-of-no-resource", "bucket-encryption",
        put(GLOBAL, "aws_s3_bucket_server_side_encryption_configuration", "documents_primary_encryption",
            "rule.apply_server_side_encryption_by_default.kms_master_key_id", "alias/aws/s3"), ("R3.3", "C4"),
    )  # fmt: skip
    yield Mutation(
        "bucket-of-no-provider", "bucket-encryption",
        put(GLOBAL, "aws_s3_bucket", "documents_primary", "provider", "aws.elsewhere"), ("R3.3",),
    )  # fmt: skip
    yield Mutation("unpublished", "function-size", put(PRIMARY, FUNCTION, "patient_api", "publish", False), ("R2.1",))
    yield Mutation(
        "logs-for-ever", "log-groups",
        drop(PRIMARY, "aws_cloudwatch_log_group", "access_log_group", "retention_in_days"), ("C6",),
    )  # fmt: skip
    yield Mutation(
        "foreign-role", "role-for-each-function",
        put(PRIMARY, FUNCTION, "patient_api", "role", "arn:aws:iam::123456789012:role/other"), ("C6",),
    )  # fmt: skip
    yield Mutation("key-without-alias", "key-per-region", remove(PRIMARY, "aws_kms_alias"), ("R5.1",))
    yield Mutation(
        "key-for-everybody", "key-policy-least-privilege",
        statements(PRIMARY, "aws_kms_key", "data_key", "policy",
                   altered("Administration", lambda statement: statement.update(Principal={"AWS": "*"}))), ("C6",),
    )  # fmt: skip


def detail_mutations_of_networks() -> Iterator[Mutation]:
    yield Mutation(
        "internet-route-elsewhere", "routes-explicit",
        put(PRIMARY, "aws_route", "internet_route", "destination_cidr_block", "10.9.0.0/16"), ("R8.3",),
    )  # fmt: skip
    inline = {"route": [{"cidr_block": "10.9.0.0/16"}, {"gateway_id": "igw-1"}]}
    yield Mutation("inline-route", "routes-explicit", add(PRIMARY, "aws_route_table", "stray", inline), ("R8.3", "D4"))
    yield Mutation(
        "another-port", "security-groups", put(PRIMARY, INGRESS, "data_lambda_from", "to_port", 22), ("R8.2",)
    )

    yield Mutation("no-vpc", "peering-routes", remove(PRIMARY, "aws_vpc"), ("R8.1",), (35,))
    drained = put(GLOBAL, "aws_route53_health_check", "drain_primary", "resource_path", "/drain/us-west-2")
    yield Mutation("drain-check-of-another-region", "calculated-verdict", drained, ("C1",))


def detail_mutations_of_stacks() -> Iterator[Mutation]:
    vpc = {"tags": {"Name": "healthcare-dr-vpc"}}
    yield Mutation(
        "unnamed-vpc", "names", of_resource(PRIMARY, "aws_vpc", "vpc", lambda body: body.update(vpc)), ("D7",)
    )
    yield Mutation(
        "tag-overridden", "tags",
        of_resource(PRIMARY, "aws_vpc", "vpc",
                    lambda body: body["tags"].update(DisasterRecovery="Enabled", Environment="Test")), ("R9.1",),
    )  # fmt: skip
    kept = put(PRIMARY, "aws_cloudwatch_log_group", "access_log_group", "skip_destroy", True)
    yield Mutation("kept-logs", "destroyable", kept, ("D6",))
    yield Mutation("remote-backend", "state-survives", of_stack(GLOBAL, _remote), (), (37,))
    here = put(PRIMARY, FUNCTION, "patient_api", "description", "http://127.0.0.1:4566")
    yield Mutation("address-of-this-machine", "target-free", here, ("D8",))


def detail_mutations_of_data() -> Iterator[Mutation]:
    replication = "aws_s3_bucket_replication_configuration"
    first_version = drop(GLOBAL, replication, "replication_primary", "rule.filter")
    yield Mutation("replication-v1", "replication-delete-markers", first_version, (), (14,))
    replica = add(PRIMARY, "aws_dynamodb_table_replica", "stray", {"global_table_arn": "arn"})
    yield Mutation("second-owner-of-a-replica", "table-single-owner", replica, ("R1.1",), (8,))
    simple = drop(GLOBAL, "aws_dynamodb_table", "audit_logs", "range_key")
    yield Mutation("simple-key", "table-sharded-index", simple, (), (9,))
    by_time = of_resource(GLOBAL, "aws_dynamodb_table", "audit_logs", _by_time)
    yield Mutation("index-by-time", "table-sharded-index", by_time, (), (9,))
    elsewhere = put(PRIMARY, "aws_cloudtrail", "data_events", "s3_bucket_name", "somebody-elses-bucket")
    yield Mutation("foreign-trail-bucket", "data-event-trail", elsewhere, ("C6",))
    yield Mutation(
        "trail-of-management-events", "data-event-trail",
        of_resource(PRIMARY, "aws_cloudtrail", "data_events", _management), ("C6", "R1.3"),
    )  # fmt: skip


def _remote(document: Documents) -> None:
    document["terraform"]["backend"] = {"remote": {}}


def _by_time(body: dict[str, Any]) -> None:
    body["global_secondary_index"][0]["hash_key"] = "updated"


def _management(body: dict[str, Any]) -> None:
    for selector in body["advanced_event_selector"]:
        for field in selector["field_selector"]:
            if field["field"] == "eventCategory":
                field["equals"] = ["Management"]
