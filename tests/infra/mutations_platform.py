"""Damage to keys, functions, roles, networks and stacks."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import (
    Damage,
    Documents,
    Mutation,
    add,
    drop,
    of_provider,
    of_stack,
    put,
    remove,
    res,
    statements,
    with_action,
    without,
)

REGIONAL = (PRIMARY, SECONDARY)
FUNCTION = "aws_lambda_function"


def key_mutations() -> Iterator[Mutation]:
    kind = "aws_kms_key"
    for stack in REGIONAL:
        yield Mutation(
            f"{stack}-rotation", "key-per-region", put(stack, kind, "data_key", "enable_key_rotation", False), ("R5.1",)
        )
        yield Mutation(
            f"{stack}-window", "key-per-region", drop(stack, kind, "data_key", "deletion_window_in_days"), ("R5.1",)
        )
        for sid, rule, requirements, traps in (
            ("Alarms", "key-admits-alarms", ("R7.1",), (17,)),
            ("LogGroups", "key-admits-logs", ("C4",), (18,)),
            ("DocumentReplication", "key-policy-cross-region", ("R5.2",), ()),
            ("PeerDocumentsRole", "key-policy-cross-region", ("R5.2", "R2.3"), ()),
        ):
            damage = statements(stack, kind, "data_key", "policy", without(sid))
            yield Mutation(f"{stack}-{sid}", rule, damage, requirements, traps)
        for action in ("kms:*", "kms:Decrypt"):
            yield Mutation(
                f"{stack}-admin-{action}", "key-policy-least-privilege",
                statements(stack, kind, "data_key", "policy", with_action("Administration", action)), ("C6",),
            )  # fmt: skip
        for resource, name, attribute in (
            ("aws_cloudwatch_log_group", "access_log_group", "kms_key_id"),
            ("aws_sns_topic", "operations_topic", "kms_master_key_id"),
            (FUNCTION, "patient_api", "kms_key_arn"),
            ("aws_cloudtrail", "data_events", "kms_key_id"),
        ):
            yield Mutation(
                f"{stack}-plain-{name}", "encrypted-at-rest", drop(stack, resource, name, attribute), ("C4",)
            )


def compute_mutations() -> Iterator[Mutation]:
    for stack in REGIONAL:
        yield Mutation(f"{stack}-no-function", "function-size", remove(stack, FUNCTION), ("R2.1",))
        yield Mutation(
            f"{stack}-memory", "function-size", put(stack, FUNCTION, "patient_api", "memory_size", 1024), ("R2.2",)
        )
        yield Mutation(
            f"{stack}-timeout", "function-size", put(stack, FUNCTION, "patient_api", "timeout", 3), ("R2.2",)
        )
        yield Mutation(
            f"{stack}-raw", "function-size", put(stack, FUNCTION, "patient_api", "filename", "handler.py"), (), (39,)
        )
        yield Mutation(
            f"{stack}-reserved-variable", "function-environment",
            put(stack, FUNCTION, "patient_api", "environment.variables.AWS_REGION", "us-east-1"), ("R2.4", "D2"),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-vpc", "function-outside-vpc",
            put(stack, FUNCTION, "patient_api", "vpc_config", [{"subnet_ids": ["a"]}]), ("R2.5",),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-reserved", "regions-carry-equal-load",
            put(stack, FUNCTION, "patient_api", "reserved_concurrent_executions", 950), (), (33, 34),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-throttle", "regions-carry-equal-load",
            put(stack, "aws_apigatewayv2_stage", "patient_api_stage",
            "default_route_settings.throttling_rate_limit", 3),
            (), (33,),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-log-group",
            "log-groups",
            remove(stack, "aws_cloudwatch_log_group", "patient_api_log_group"),
            ("C5",),
            (38,),
        )
        attachment = "aws_iam_role_policy_attachment"
        yield Mutation(
            f"{stack}-arn", "role-attachments", put(stack, attachment, "basic_execution", "role",
            "${aws_iam_role.api_role.arn}"),
            ("D1",),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-ec2", "role-attachments",
            put(stack, attachment, "basic_execution", "policy_arn",
                "arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"),
            ("R2.5",),
        )  # fmt: skip
        yield Mutation(f"{stack}-trust", "trust-across-regions", named_principal(stack), ("R2.3",), (36,))
        for action, traps in (
            ("dynamodb:*", ()),
            ("dynamodb:DeleteItem", (1,)),
            ("route53:ChangeResourceRecordSets", (27,)),
        ):
            yield Mutation(
                f"{stack}-{action}", "least-privilege",
                statements(stack, "aws_iam_policy", "patient_api_policy", "policy", with_action("Audit", action)),
                ("C6",), traps,
            )  # fmt: skip
        yield Mutation(
            f"{stack}-open", "closed-routes",
            put(stack, "aws_apigatewayv2_route", "route_get_fhir_patient_id", "authorization_type", "NONE"), ("C6",),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-pool", "closed-routes", add(stack, "aws_cognito_user_pool", "p", {"name": "p-dev"}), (), (41,)
        )


def network_mutations() -> Iterator[Mutation]:
    for stack in REGIONAL:
        yield Mutation(f"{stack}-zones", "network-zones", remove(stack, "aws_subnet", "private_subnet_2"), ("R8.1",))
        yield Mutation(
            f"{stack}-endpoint", "network-zones", remove(stack, "aws_vpc_endpoint", "s3_endpoint"), ("R8.1",)
        )
        yield Mutation(
            f"{stack}-route", "routes-explicit", drop(stack, "aws_route", "internet_route", "destination_cidr_block"),
            ("R8.3", "D4"),
        )  # fmt: skip
        rule = "aws_vpc_security_group_ingress_rule"
        yield Mutation(
            f"{stack}-world", "security-groups", put(stack, rule, "data_peer_from", "cidr_ipv4", "0.0.0.0/0"), ("R8.2",)
        )
        yield Mutation(
            f"{stack}-group", "security-groups", remove(stack, "aws_security_group", "data_group"), ("R8.2",)
        )
        yield Mutation(f"{stack}-default", "security-groups", remove(stack, "aws_default_security_group"), ("R8.2",))
        yield Mutation(f"{stack}-flows", "security-groups", remove(stack, "aws_flow_log"), ("C6",))
        yield Mutation(
            f"{stack}-overlap", "peering-routes", put(stack, "aws_vpc", "vpc", "cidr_block", "10.0.0.0/12"), (), (35,)
        )
    for role in ("primary", "secondary"):
        yield Mutation(
            f"{role}-one-sided",
            "peering-routes",
            remove(GLOBAL, "aws_route", f"peering_route_{role}_private"),
            ("R8.1",),
            (35,),
        )
    yield Mutation(
        "unaccepted", "peering-routes", remove(GLOBAL, "aws_vpc_peering_connection_accepter"), ("R8.1",), (35,)
    )


def platform_mutations() -> Iterator[Mutation]:
    east = {"s3": {"region": "us-east-1", "encrypt": True, "use_lockfile": True}}
    unlocked = {"s3": {"region": "us-west-2", "encrypt": True}}
    local = [{"s3": "https://127.0.0.1:4566"}]
    for stack in (*REGIONAL, GLOBAL):
        yield Mutation(f"{stack}-missing", "stacks", missing(stack), ("D8",))
        yield Mutation(f"{stack}-tags", "tags", of_provider(stack, lambda body: body.pop("default_tags")), ("R9.1",))
        yield Mutation(
            f"{stack}-target", "target-free", of_provider(stack, lambda body: body.update(endpoints=local)), ("D8",)
        )
        for name, backend in (("state", east), ("unlocked", unlocked)):
            yield Mutation(f"{stack}-{name}", "state-survives", with_backend(stack, backend), (), (37,))
        more = of_stack(stack, lambda body: body["terraform"]["required_providers"].update(random={}))
        yield Mutation(f"{stack}-provider", "providers", more, ("D8",))
    unnamed = put(PRIMARY, "aws_iam_role", "api_role", "name", "healthcare-dr-patient-api")
    yield Mutation("named", "names", unnamed, ("D7",))
    kept = put(GLOBAL, "aws_route53_zone", "zone", "lifecycle", {"prevent_destroy": True})
    yield Mutation("kept", "destroyable", kept, ("D6",))


def missing(stack: str) -> Damage:
    return lambda documents: documents.pop(stack)


def with_backend(stack: str, backend: dict[str, Any]) -> Damage:
    return of_stack(stack, lambda body: body["terraform"].update(backend=backend))


def named_principal(stack: str) -> Damage:
    def damage(documents: Documents) -> None:
        body = res(stack, "aws_iam_role", "documents_peer_role")(documents)
        policy = json.loads(body["assume_role_policy"])
        policy["Statement"][0]["Principal"] = {"AWS": "arn:aws:iam::123456789012:role/healthcare-dr-patient-api"}
        body["assume_role_policy"] = json.dumps(policy)

    return damage
