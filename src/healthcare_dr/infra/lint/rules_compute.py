"""Rules on functions, their roles and the API in front of them."""

from collections.abc import Iterator
from typing import Any

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource, listed, principals
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
RESERVED_VARIABLES = (
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_HANDLER", "TZ",
)  # fmt: skip
CONTROL_PLANES = ("route53:", "iam:", "cloudformation:", "lambda:", "apigateway:", "organizations:", "ec2:")
CHANGES_DATA = ("dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:Scan")
# How FIS finds its targets; AWS lets these reads be limited to no resource.
WITHOUT_RESOURCE = {"s3:ListAllMyBuckets", "tag:GetResources"}
# Route 53 signs nothing; all else is a caller's.
OPEN_ROUTES = ("GET /health", "GET /drain/{region}")
EQUAL_IN_BOTH = (
    "memory_size", "timeout", "runtime", "handler", "architectures", "source_code_hash",
    "reserved_concurrent_executions",
)  # fmt: skip


@rule(
    "function-size",
    "R2.1",
    "R2.2",
    "trap 39",
    why="Both regions run the API with the memory and time it was sized for.",
)
def size(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        if not list(platform.resources("aws_lambda_function", region=region)):
            yield region, "no function"
    for function in platform.resources("aws_lambda_function"):
        if (function.get("memory_size"), function.get("timeout")) != (3072, 30):
            yield function.address, "must have 3072 MB and 30 s"
        if not str(function.get("filename")).endswith(".zip") or not function.get("source_code_hash"):
            yield function.address, "must be a zip package with its hash"
        if function.get("publish") is not True:
            yield function.address, "must publish versions, which its alias points to"


@rule(
    "api-calls-alias",
    "R2.1",
    why="The alias is the version that was published; a call past it runs whatever is newest.",
)
def calls_alias(platform: Platform) -> Problems:
    for kind, attribute in (
        ("aws_apigatewayv2_integration", "integration_uri"),
        ("aws_lambda_permission", "qualifier"),
    ):
        for resource in platform.resources(kind):
            alias = platform.referred(resource.stack, resource.get(attribute))
            if alias is None or alias.kind != "aws_lambda_alias":
                yield resource.address, f"{attribute} must be the function's alias"


@rule("function-environment", "R2.4", "D2", why="Lambda refuses a function that sets a variable of its own.")
def environment(platform: Platform) -> Problems:
    for function in platform.resources("aws_lambda_function"):
        for name in sorted(set(function.get("environment", "variables") or ()) & set(RESERVED_VARIABLES)):
            yield function.address, f"{name} is reserved"


@rule("function-outside-vpc", "R2.5", why="In a VPC the API would need NAT or endpoints for each service it calls.")
def outside_vpc(platform: Platform) -> Problems:
    for function in platform.resources("aws_lambda_function"):
        if function.blocks("vpc_config"):
            yield function.address, "vpc_config must not be set"


@rule(
    "regions-carry-equal-load", "C1", "trap 33", "trap 34",
    why="The surviving region takes 3.3 times its load at once: it needs the same code, size and limits.",
)  # fmt: skip
def equal_load(platform: Platform) -> Problems:
    functions = list(platform.resources("aws_lambda_function"))
    for attribute in EQUAL_IN_BOTH:
        values = {str(function.get(attribute)) for function in functions}
        if len(values) > 1:
            yield "aws_lambda_function", f"{attribute} differs between the regions: {', '.join(sorted(values))}"
    for function in functions:
        if function.get("reserved_concurrent_executions") is not None:
            yield function.address, "reserved concurrency takes from the quota that failover needs"
    limits = {
        (stage.get("default_route_settings", "throttling_rate_limit"),
         stage.get("default_route_settings", "throttling_burst_limit"))
        for stage in platform.resources("aws_apigatewayv2_stage")
    }  # fmt: skip
    if len(limits) != 1:
        yield "aws_apigatewayv2_stage", "throttling differs between the regions"


@rule(
    "log-groups", "C5", "C6", "trap 38", why="A log group that Lambda creates by itself is unencrypted and outlives us."
)
def log_groups(platform: Platform) -> Problems:
    for function in platform.resources("aws_lambda_function"):
        wanted = f"/aws/lambda/{function.get('function_name')}"
        groups = platform.resources("aws_cloudwatch_log_group", region=function.region)
        if wanted not in [group.get("name") for group in groups]:
            yield function.address, f"needs the log group {wanted}"
    for group in platform.resources("aws_cloudwatch_log_group"):
        if not group.get("retention_in_days"):
            yield group.address, "must have a retention"


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
                api_role = names.of("patient-api", platform.other(role.region))
                arns = listed(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn"))
                if arns != [f"arn:aws:iam::{ACCOUNT}:role/{api_role}"]:
                    yield role.address, f"must admit only {api_role}"
    if peers != len(platform.settings.regions):
        yield "aws_iam_role", "each region needs one role that the peer's API may take"


@rule(
    "least-privilege", "C6", "R2.5", "trap 27",
    why="A role that can do more is an attack; one that edits a control plane is a failover that needs us-east-1.",
)  # fmt: skip
def least_privilege(platform: Platform) -> Problems:
    faults = Names(platform.settings.environment_suffix).of("faults")
    for holder in platform.resources("aws_iam_policy", "aws_iam_role_policy"):
        for statement in holder.statements("policy"):
            for action in listed(statement["Action"]):
                if action.endswith(":*") or action == "*" or action.startswith(CONTROL_PLANES):
                    yield holder.address, f"{action} is more than a data plane needs"
                if action in CHANGES_DATA:
                    yield holder.address, f"{action} could change what must stay: records and audit are append-only"
            searches = holder.get("name") == faults and set(listed(statement["Action"])) <= WITHOUT_RESOURCE
            if "*" in listed(statement["Resource"]) and not searches:
                yield holder.address, f"statement {statement['Sid']} is not limited to a resource"


@rule("closed-routes", "C6", "trap 41", why="A route without an authorizer hands out patient data to anyone who asks.")
def closed_routes(platform: Platform) -> Problems:
    for route in platform.resources("aws_apigatewayv2_route"):
        if route.get("route_key") not in OPEN_ROUTES and not _closed(route):
            yield route.address, "must demand a token, or an IAM signature where there is no issuer"
    for pool in platform.resources("aws_cognito_user_pool"):
        yield pool.address, "a regional user pool is lost with its region"


def _closed(route: Resource) -> Any:
    authorization = str(route.get("authorization_type"))
    return "NONE" not in authorization and ("JWT" in authorization or authorization == "AWS_IAM")
