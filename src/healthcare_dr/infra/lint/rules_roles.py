"""Rules on roles: the principals that may assume them, and their permissions."""

from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, listed, principals, rule
from healthcare_dr.infra.lint.rules_faults import ON_NETWORK, is_disconnecting
from healthcare_dr.naming import PIPELINE

CONTROL_PLANES = ("route53:", "iam:", "cloudformation:", "lambda:", "apigateway:", "organizations:", "ec2:")
CHANGES_DATA = (
    "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PartiQLDelete", "dynamodb:PartiQLUpdate",
    "dynamodb:Scan", "dynamodb:UpdateItem", "s3:DeleteObject", "s3:DeleteObjectVersion",
)  # fmt: skip
# Actions that AWS cannot limit to a resource, by the policy that needs them.
WITHOUT_RESOURCE = {
    "faults": {"s3:ListAllMyBuckets", "tag:GetResources"},
    "flow-logs": {"logs:DescribeLogGroups"},
    "reconciliation": {"dynamodb:ListStreams"},
}
WRITE_LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")
ASSUME_THE_PEERS_ROLE = ("patient-api", "confirmation")
READ_STREAM = {"DescribeStream", "GetRecords", "GetShardIterator"}
READ_AND_ADD = {"GetItem", "PutItem", "Query"}
# The operations that each role may use on the tables, by the end of their ARNs.
ON_TABLES = {
    "patient-api": {
        "records": READ_AND_ADD | {"BatchGetItem"},
        "records/index/*": READ_AND_ADD | {"BatchGetItem"},
        "audit": {"PutItem", "Query"},
        "audit/index/*": {"PutItem", "Query"},
    },
    "confirmation": {
        "records": READ_AND_ADD,
        "records/index/*": READ_AND_ADD,
        "audit": {"PutItem"},
    },
    "reconciliation": {
        "records": READ_AND_ADD,
        "records/stream/*": READ_STREAM,
        "audit/stream/*": READ_STREAM,
        "*": {"ListStreams"},
    },
    "sentinel": {"records": {"GetItem", "PutItem"}},
    "documents-peer": {},
    "relay": {},
}


@rule("D1", "R2.5")
def role_attachments(platform: Platform) -> Problems:
    """IAM attaches policies to a role by its name; an ARN is refused."""
    for attachment in platform.resources("aws_iam_role_policy_attachment", "aws_iam_role_policy"):
        expression = str(attachment.get("role"))
        if not expression.endswith(".name}") or platform.referred(attachment.stack, expression) is None:
            yield attachment.address, f"role must be a role's name, not {expression}"
        managed = str(attachment.get("policy_arn") or "")
        if managed.startswith("arn:aws:iam::aws:"):
            yield attachment.address, f"{managed} grants more than is needed: AWS's own policies name no resource"


@rule("R2.3", "trap 36")
def trust_across_regions(platform: Platform) -> Problems:
    """A trust policy that names a role which does not exist yet is refused."""
    peers = 0
    for role in platform.resources("aws_iam_role"):
        for statement in role.statements("assume_role_policy"):
            for principal in principals(statement, "AWS"):
                if principal != f"arn:aws:iam::{ACCOUNT}:root":
                    yield (
                        role.address,
                        f"admits {principal}; it must admit the account, with aws:PrincipalArn as condition",
                    )
                    continue
                peers += 1
                peer = platform.other(role.region)
                expected = [platform.role_arn(name, peer) for name in ASSUME_THE_PEERS_ROLE]
                if listed(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn")) != expected:
                    yield role.address, f"must admit only {' and '.join(expected)}"
    if peers != len(platform.settings.regions):
        yield "aws_iam_role", "each region needs one role that the peer's functions may assume"


@rule("C6", "R2.5", "trap 27")
def least_privilege(platform: Platform) -> Problems:
    """Unneeded permissions help an attacker. A failover that edits a control plane needs us-east-1."""
    finding = {
        name: actions
        for policy, actions in WITHOUT_RESOURCE.items()
        for name in (
            platform.names.of(policy),
            *(platform.names.of(policy, each) for each in platform.settings.regions),
        )
    }
    for holder in platform.resources("aws_iam_policy", "aws_iam_role_policy"):
        if holder.stack == PIPELINE:
            continue  # a pipeline changes control planes: the rules on pipelines apply
        network = ON_NETWORK if is_disconnecting(platform, holder) else set()
        finds = finding.get(str(holder.get("name")), set())
        if network:
            finds = WITHOUT_RESOURCE["faults"] | {action for action in network if action.startswith("ec2:Describe")}
        for statement in holder.statements():
            actions = set(listed(statement["Action"]))
            for action in sorted(actions - network):
                if action.endswith(":*") or action == "*" or action.startswith(CONTROL_PLANES):
                    yield holder.address, f"{action} is not needed by a data plane"
                if action in CHANGES_DATA:
                    yield (
                        holder.address,
                        f"{action} could change or delete data: records, audit trail and documents are append-only",
                    )
            if "*" in listed(statement["Resource"]) and not actions <= finds:
                yield holder.address, f"statement {statement['Sid']} is not limited to a resource"


@rule("C6", "R1.3")
def table_privileges(platform: Platform) -> Problems:
    """No role may update, delete or scan. PutItem can replace an item; an alarm reports that."""
    for region in platform.settings.regions:
        tables = dict(zip(platform.table_arns(region), ("records", "audit"), strict=True))
        for name, expected in ON_TABLES.items():
            found: dict[str, set[str]] = {}
            role = platform.names.of(name, region)
            named = [each for each in platform.resources("aws_iam_role", region=region) if each.get("name") == role]
            for statement in chain.from_iterable(_statements_of(platform, each) for each in named):
                for resource, action in product(listed(statement["Resource"]), listed(statement["Action"])):
                    service, _, operation = action.partition(":")
                    if service == "dynamodb":
                        found.setdefault(_shortened(resource, tables), set()).add(operation)
            for resource in sorted(expected.keys() | found.keys()):
                allowed, needed = (sorted(each.get(resource, ())) for each in (found, expected))
                if allowed != needed:
                    yield role, f"on {resource} it must be allowed {needed}, not {allowed}"


@rule("R2.5", "C6", "trap 38")
def function_log_privileges(platform: Platform) -> Problems:
    """A function that may create its log group creates it again after its destruction, without key and retention."""
    for function in platform.resources("aws_lambda_function"):
        role = platform.referred(function.stack, function.get("role"))
        own = f"arn:aws:logs:{function.region}:{ACCOUNT}:log-group:/aws/lambda/{function.get('function_name')}:*"
        found = [
            (statement["Effect"], resource, action)
            for statement in (_statements_of(platform, role) if role else ())
            for resource, action in product(listed(statement["Resource"]), listed(statement["Action"]))
            if action == "*" or action.startswith("logs:")
        ]
        if sorted(found) != [("Allow", own, action) for action in WRITE_LOGS]:
            yield function.address, f"of logs, its role must be allowed only {' and '.join(WRITE_LOGS)} on {own}"


@rule("C6", "R2.5")
def role_for_each_function(platform: Platform) -> Problems:
    """With a shared role, each function would have the permissions of all."""
    taken: dict[str, str] = {}
    for function in platform.resources("aws_lambda_function"):
        role = platform.referred(function.stack, function.get("role"))
        if role is None or role.kind != "aws_iam_role":
            yield function.address, "must have a role of its own stack"
        elif (owner := taken.setdefault(role.address, function.address)) != function.address:
            yield function.address, f"shares its role with {owner}"


def _statements_of(platform: Platform, role: Resource) -> Iterator[Mapping[str, Any]]:
    """Return the statements of the policies that are attached to a role."""
    attachments = platform.attached(role, "aws_iam_role_policy_attachment", "role")
    for policy in (platform.referred(each.stack, each.get("policy_arn")) for each in attachments):
        yield from policy.statements() if policy else ()
    yield from platform.attached_statements(role, "aws_iam_role_policy", "role")


def _shortened(resource: str, tables: dict[str, str]) -> str:
    for arn, name in tables.items():
        if resource == arn or resource.startswith(f"{arn}/"):
            return name + resource.removeprefix(arn)
    return resource
