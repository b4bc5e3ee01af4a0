"""Rules on functions: what they run, with what, and how many of them."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import Platform, Resource
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
RESERVED_VARIABLES = (
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_HANDLER", "TZ",
)  # fmt: skip
# What the code reads; a variable that is missing fails the first call, not the deployment.
NEEDED_VARIABLES = {
    "RECORDS_TABLE", "AUDIT_TABLE", "DOCUMENTS_BUCKET", "KEY_ARN", "PEER_REGION", "PEER_DOCUMENTS_BUCKET",
    "PEER_ROLE_ARN", "INDEX_KEY_ALIAS", "LOG_LEVEL",
}  # fmt: skip
API_VARIABLES = {"TENANT_CLAIM", "OIDC_ISSUER", "CORS"}
API_SIZE = (3072, 30)
# Handler, MB, seconds. Hashing 5 GB takes a whole vCPU, which comes with 1769 MB, and all the time Lambda gives.
WORKERS = {
    "document-confirmation": ("patient_api.confirmation.handler", 1769, 900),
    "reconciliation": ("patient_api.reconciliation.handler", 1024, 60),
    "sentinel": ("patient_api.sentinel.handler", 512, 45),
}
EQUAL_IN_BOTH = (
    "memory_size", "timeout", "runtime", "handler", "architectures", "source_code_hash",
    "reserved_concurrent_executions",
)  # fmt: skip


def functions_named(platform: Platform, name: str) -> list[Resource]:
    """A function's two instances, one for each region."""
    full_name = Names(platform.settings.environment_suffix).of(name)
    return [found for found in platform.resources("aws_lambda_function") if found.get("function_name") == full_name]


@rule(
    "function-size",
    "R2.1",
    "R2.2",
    "trap 39",
    why="Both regions run the API with the memory and time it was sized for.",
)
def size(platform: Platform) -> Problems:
    yield from _once_in_each_region(platform, "patient-api")
    for function in functions_named(platform, "patient-api"):
        if (function.get("memory_size"), function.get("timeout")) != API_SIZE:
            yield function.address, "must have 3072 MB and 30 s"
        if function.get("publish") is not True:
            yield function.address, "must publish versions, which its alias points to"
    for function in platform.resources("aws_lambda_function"):
        if not str(function.get("filename")).endswith(".zip") or not function.get("source_code_hash"):
            yield function.address, "must be a zip package with its hash"


@rule(
    "worker-functions", "C3",
    why="Without confirmation no document is ever final; without reconciliation each region has a newest of its own.",
)  # fmt: skip
def workers(platform: Platform) -> Problems:
    for name, wanted in WORKERS.items():
        yield from _once_in_each_region(platform, name)
        for function in functions_named(platform, name):
            if tuple(function.get(part) for part in ("handler", "memory_size", "timeout")) != wanted:
                yield function.address, f"must run {wanted[0]} with {wanted[1]} MB and {wanted[2]} s"


@rule("function-environment", "R2.4", "D2", why="Lambda refuses a function that sets a variable of its own.")
def environment(platform: Platform) -> Problems:
    for function in platform.resources("aws_lambda_function"):
        variables = set(function.get("environment", "variables") or ())
        for name in sorted(variables & set(RESERVED_VARIABLES)):
            yield function.address, f"{name} is reserved"
        for name in sorted(NEEDED_VARIABLES - variables):
            yield function.address, f"{name} is missing"
    for function in functions_named(platform, "patient-api"):
        for name in sorted(API_VARIABLES - set(function.get("environment", "variables") or ())):
            yield function.address, f"{name} is missing"


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
    for name in sorted({function.name for function in functions}):
        for attribute in EQUAL_IN_BOTH:
            values = {str(function.get(attribute)) for function in functions if function.name == name}
            if len(values) > 1:
                yield name, f"{attribute} differs between the regions: {', '.join(sorted(values))}"
    if len({function.get("source_code_hash") for function in functions}) > 1:
        yield "aws_lambda_function", "all functions must run the same package"
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


def _once_in_each_region(platform: Platform, name: str) -> Problems:
    found = sorted(function.region for function in functions_named(platform, name))
    if found != sorted(platform.settings.regions):
        yield name, f"must exist once in each region; it exists in {', '.join(found) or 'none'}"
