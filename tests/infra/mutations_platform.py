"""Damage to keys, functions, roles, networks and stacks."""

from collections.abc import Iterator
from typing import Any

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from infra.mutations import (
    Damage,
    Mutation,
    add,
    altered,
    drop,
    of_provider,
    of_stack,
    put,
    remove,
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
            ("Topics", "key-admits-alarms", ("R7.1",), (17,)),
            ("ReplicationEvents", "key-admits-alarms", ("R7.1", "C3"), (17,)),
            ("Trail", "key-admits-trail", ("C6",), ()),
            ("TrailReaders", "key-admits-trail", ("C6",), ()),
            ("ApiRole", "key-admits-region", ("R5.2",), ()),
            ("TablesOfThisAccount", "key-admits-region", ("C4",), ()),
            ("FunctionEnvironment", "key-admits-region", ("C4",), ()),
        ):
            damage = statements(stack, kind, "data_key", "policy", without(sid))
            yield Mutation(f"{stack}-{sid}", rule, damage, requirements, traps)
        for name, replication in (
            ("one-direction", lambda s: s["Condition"]["ArnEquals"]["aws:PrincipalArn"].pop()),
            ("denied", lambda s: s.update(Effect="Deny")),
            ("useless", lambda s: s.update(Action=["kms:DescribeKey"])),
        ):
            damage = statements(stack, kind, "data_key", "policy", altered("DocumentReplication", replication))
            yield Mutation(f"{stack}-replication-{name}", "key-policy-cross-region", damage, ("R5.2",))
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
        for variable in ("TENANT_CLAIM", "OIDC_ISSUER", "CORS"):
            unset = drop(stack, FUNCTION, "patient_api", f"environment.variables.{variable}")
            yield Mutation(f"{stack}-no-{variable}", "function-environment", unset, ("R2.4",))
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
        for name, change in (
            (
                "named",
                lambda s: s.update(Principal={"AWS": "arn:aws:iam::123456789012:role/healthcare-dr-patient-api"}),
            ),
            ("everyone", lambda s: s.update(Principal="*")),
            ("wildcard", lambda s: s["Condition"]["ArnEquals"].update({"aws:PrincipalArn": "role/*us-west-2*"})),
        ):
            damage = statements(
                stack, "aws_iam_role", "documents_peer_role", "assume_role_policy", altered("TrustPeer", change)
            )
            yield Mutation(f"{stack}-trust-{name}", "trust-across-regions", damage, ("R2.3",), (36,))
        yield Mutation(
            f"{stack}-past-alias", "api-calls-alias",
            put(stack, "aws_apigatewayv2_integration", "patient_api_integration", "integration_uri",
                "${aws_lambda_function.patient_api.invoke_arn}"),
            ("R2.1",),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-unqualified", "api-calls-alias",
            drop(stack, "aws_lambda_permission", "patient_api_permission", "qualifier"), ("R2.1",),
        )  # fmt: skip
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
        unlimited = altered("Audit", lambda s: s.update(Resource="*"))
        damage = statements(stack, "aws_iam_policy", "patient_api_policy", "policy", unlimited)
        yield Mutation(f"{stack}-unlimited", "least-privilege", damage, ("C6",))
        yield Mutation(
            f"{stack}-open", "closed-routes",
            put(stack, "aws_apigatewayv2_route", "route_get_fhir_type_id", "authorization_type", "NONE"), ("C6",),
        )  # fmt: skip
        yield Mutation(
            f"{stack}-open-lookalike", "closed-routes",
            add(stack, "aws_apigatewayv2_route", "records",
                {"route_key": "GET /healthrecords/{id}", "authorization_type": "NONE"}),
            ("C6",),
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
        for source, value in (("cidr_ipv6", "::/0"), ("prefix_list_id", "pl-1")):
            wide = add(stack, rule, "wide", {
                "security_group_id": "${aws_security_group.data_group.id}", "ip_protocol": "tcp", "from_port": 443,
                "to_port": 443, source: value,
            })  # fmt: skip
            yield Mutation(f"{stack}-{source}", "security-groups", wide, ("R8.2",))
        for direction in (rule, "aws_vpc_security_group_egress_rule"):
            yield Mutation(f"{stack}-no-{direction}", "security-groups", remove(stack, direction), ("R8.2",))
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
    for side in ("requester", "accepter"):
        silent = remove(GLOBAL, "aws_vpc_peering_connection_options", f"peering_dns_{side}")
        yield Mutation(f"{side}-without-dns", "peering-routes", silent, ("R8.1",), (35,))
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
