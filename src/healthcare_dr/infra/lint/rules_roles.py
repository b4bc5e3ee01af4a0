"""Rules on roles: who may take them, and what they may do."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, listed, principals, rule
from healthcare_dr.infra.lint.rules_faults import ON_NETWORK, is_disconnecting
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
CONTROL_PLANES = ("route53:", "iam:", "cloudformation:", "lambda:", "apigateway:", "organizations:", "ec2:")
CHANGES_DATA = (
    "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PartiQLDelete", "dynamodb:PartiQLUpdate",
    "dynamodb:Scan", "dynamodb:UpdateItem", "s3:DeleteObject", "s3:DeleteObjectVersion",
)  # fmt: skip
# How FIS finds its targets; AWS lets these reads be limited to no resource.
WITHOUT_RESOURCE = {"s3:ListAllMyBuckets", "tag:GetResources"}
TAKE_THE_PEERS_ROLE = ("patient-api", "confirmation")
READ_STREAM = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}
READ_AND_ADD = {"GetItem", "PutItem", "Query"}
# All that each role may do with the tables, by the end of their ARNs.
ON_TABLES = {
    "patient-api": {
        "records": READ_AND_ADD | {"BatchGetItem", "ConditionCheckItem"},
        "records/index/*": READ_AND_ADD | {"BatchGetItem", "ConditionCheckItem"},
        "audit": {"PutItem", "Query"},
        "audit/index/*": {"PutItem", "Query"},
    },
    "confirmation": {
        "records": READ_AND_ADD | {"ConditionCheckItem"},
        "records/index/*": READ_AND_ADD | {"ConditionCheckItem"},
        "audit": {"PutItem"},
    },
    "reconciliation": {"records": READ_AND_ADD, "records/stream/*": READ_STREAM, "audit/stream/*": READ_STREAM},
    "sentinel": {"records": {"GetItem", "PutItem"}},
    "documents-peer": {},
}


@rule("role-attachments", "D1", "R2.5", why="IAM attaches policies to a role by its name; an ARN is refused.")
def attachments(platform: Platform) -> Problems:
    for attachment in platform.resources("aws_iam_role_policy_attachment", "aws_iam_role_policy"):
        expression = str(attachment.get("role"))
        if not expression.endswith(".name}") or platform.referred(attachment.stack, expression) is None:
            yield attachment.address, f"role must be a role's name, not {expression}"
        managed = str(attachment.get("policy_arn") or "")
        if managed.startswith("arn:aws:iam::aws:") and not managed.endswith("/AWSLambdaBasicExecutionRole"):
            yield attachment.address, f"{managed} grants more than basic execution"


@rule(
    "trust-across-regions",
    "R2.3",
    "trap 36",
    why="A trust policy that names a role which does not exist yet is refused.",
)
def trust(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    peers = 0
    for role in platform.resources("aws_iam_role"):
        for statement in role.statements("assume_role_policy"):
            for principal in principals(statement, "AWS"):
                if principal != f"arn:aws:iam::{ACCOUNT}:root":
                    yield role.address, f"admits {principal}; name the account, with aws:PrincipalArn as condition"
                    continue
                peers += 1
                peer = platform.other(role.region)
                wanted = [f"arn:aws:iam::{ACCOUNT}:role/{names.of(name, peer)}" for name in TAKE_THE_PEERS_ROLE]
                if listed(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn")) != wanted:
                    yield role.address, f"must admit only {' and '.join(wanted)}"
    if peers != len(platform.settings.regions):
        yield "aws_iam_role", "each region needs one role that the peer's functions may take"


@rule(
    "least-privilege", "C6", "R2.5", "trap 27",
    why="A role that can do more is an attack; one that edits a control plane is a failover that needs us-east-1.",
)  # fmt: skip
def least_privilege(platform: Platform) -> Problems:
    faults = Names(platform.settings.environment_suffix).of("faults")
    for holder in platform.resources("aws_iam_policy", "aws_iam_role_policy"):
        network = ON_NETWORK if is_disconnecting(platform, holder) else set()
        finds = WITHOUT_RESOURCE | {action for action in network if action.startswith("ec2:Describe")}
        for statement in holder.statements("policy"):
            for action in listed(statement["Action"]):
                if action in network:
                    continue
                if action.endswith(":*") or action == "*" or action.startswith(CONTROL_PLANES):
                    yield holder.address, f"{action} is more than a data plane needs"
                if action in CHANGES_DATA:
                    yield holder.address, f"{action} could change what must stay: records and audit are append-only"
            searches = (network or holder.get("name") == faults) and set(listed(statement["Action"])) <= finds
            if "*" in listed(statement["Resource"]) and not searches:
                yield holder.address, f"statement {statement['Sid']} is not limited to a resource"


@rule(
    "table-privileges", "C6", "R1.3",
    why="No role may update, delete or scan. PutItem can replace an item; an alarm reports that.",
)  # fmt: skip
def table_privileges(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        prefix = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/"
        tables = {f"{prefix}{names.records_table}": "records", f"{prefix}{names.audit_table}": "audit"}
        for name, wanted in ON_TABLES.items():
            found: dict[str, set[str]] = {}
            for statement in _granted(platform, names.of(name, region)):
                for resource in listed(statement["Resource"]):
                    for action in listed(statement["Action"]):
                        service, _, operation = action.partition(":")
                        if service == "dynamodb":
                            found.setdefault(_shortened(resource, tables), set()).add(operation)
            for resource in sorted(wanted.keys() | found.keys()):
                if (may := found.get(resource, set())) != wanted.get(resource, set()):
                    yield names.of(name, region), f"on {resource} it may {', '.join(sorted(may)) or 'do nothing'}"


@rule(
    "role-for-each-function", "C6", "R2.5",
    why="With a shared role each function could do what any of them has to.",
)  # fmt: skip
def own_roles(platform: Platform) -> Problems:
    taken: dict[str, str] = {}
    for function in platform.resources("aws_lambda_function"):
        role = platform.referred(function.stack, function.get("role"))
        if role is None or role.kind != "aws_iam_role":
            yield function.address, "must have a role of its own stack"
        elif (owner := taken.setdefault(role.address, function.address)) != function.address:
            yield function.address, f"shares its role with {owner}"


def _granted(platform: Platform, role_name: str) -> Iterator[dict[str, list[str]]]:
    """The statements of the policies that carry a role's name, which is what is attached to it."""
    for holder in platform.resources("aws_iam_policy"):
        if holder.get("name") == role_name and _attached(platform, holder, role_name):
            yield from (dict(statement) for statement in holder.statements("policy"))


def _attached(platform: Platform, holder: Resource, role_name: str) -> bool:
    for attachment in platform.resources("aws_iam_role_policy_attachment"):
        role = platform.referred(attachment.stack, attachment.get("role"))
        policy = platform.referred(attachment.stack, attachment.get("policy_arn"))
        if policy == holder and role is not None and role.get("name") == role_name:
            return True
    return False


def _shortened(resource: str, tables: dict[str, str]) -> str:
    for arn, name in tables.items():
        if resource == arn or resource.startswith(f"{arn}/"):
            return name + resource.removeprefix(arn)
    return resource
