"""Rules on the functions: code, size, environment, event sources, failure destinations and schedules."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, listed, principals, rule
from patient_api.contract.functions import (
    API,
    COMMON_VARIABLES,
    CONFIRM_DOCUMENTS,
    FUNCTIONS,
    RECONCILE,
    RELAY,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    VARIABLES,
)
from patient_api.contract.keys import HEARTBEAT_PARTITION, QUARANTINE_TAG

FUNCTION, INVOCATIONS = "aws_lambda_function", "aws_lambda_function_event_invoke_config"
RESERVED_VARIABLES = {
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_HANDLER", "TZ",
}  # fmt: skip
EQUAL_IN_BOTH = (
    "memory_size", "timeout", "runtime", "handler", "architectures", "source_code_hash",
    "reserved_concurrent_executions",
)  # fmt: skip


@rule("R2.1", "R2.2", "trap 39")
def function_size(platform: Platform) -> Problems:
    """Both regions run the API with the memory and time it was sized for."""
    yield from platform.once_in_each_region(API.name, platform.functions(API.name))
    for function in platform.functions(API.name):
        if (function.get("memory_size"), function.get("timeout")) != (API.memory_mb, API.timeout_seconds):
            yield function.address, f"must have {API.memory_mb} MB and {API.timeout_seconds} s"
        if function.get("publish") is not True:
            yield function.address, "must publish versions, which its alias points to"
    for function in platform.resources(FUNCTION):
        if not str(function.get("filename")).endswith(".zip") or not function.get("source_code_hash"):
            yield function.address, "must be a zip package with its hash"


@rule("C3")
def worker_functions(platform: Platform) -> Problems:
    """Without confirmation no document becomes final. Without reconciliation the regions serve different versions."""
    for spec in (CONFIRM_DOCUMENTS, RECONCILE, SENTINEL):
        functions = platform.functions(spec.name)
        yield from platform.once_in_each_region(spec.name, functions)
        for function in functions:
            found = tuple(function.get(attribute) for attribute in ("handler", "memory_size", "timeout"))
            if found != (spec.handler, spec.memory_mb, spec.timeout_seconds):
                problem = f"must run {spec.handler} with {spec.memory_mb} MB and {spec.timeout_seconds} s"
                yield function.address, problem


@rule("R2.4", "D2")
def function_environment(platform: Platform) -> Problems:
    """Lambda refuses a function that sets a reserved variable."""
    for function in platform.resources(FUNCTION):
        variables = set(function.get("environment", "variables") or ())
        for name in sorted(variables & RESERVED_VARIABLES):
            yield function.address, f"{name} is reserved"
    for spec in (*FUNCTIONS, RELAY):
        # Lambda itself sets the region.
        needed = {VARIABLES[name] for name in (*COMMON_VARIABLES, *spec.variables)} - {VARIABLES["region"]}
        for function in platform.functions(spec.name):
            for name in sorted(needed - set(function.get("environment", "variables") or ())):
                yield function.address, f"{name} is missing"


@rule("R2.5")
def function_outside_vpc(platform: Platform) -> Problems:
    """In a VPC the API would need NAT or endpoints for each service it calls."""
    for function in platform.resources(FUNCTION):
        if function.blocks("vpc_config"):
            yield function.address, "vpc_config must not be set"


@rule("C1", "trap 33", "trap 34")
def regions_carry_equal_load(platform: Platform) -> Problems:
    """The load of the surviving region grows by a factor of up to 3.3: it needs the same code, size and limits."""
    functions = list(platform.resources(FUNCTION))
    for name in sorted({function.name for function in functions}):
        for attribute in EQUAL_IN_BOTH:
            values = {str(function.get(attribute)) for function in functions if function.name == name}
            if len(values) > 1:
                yield name, f"{attribute} differs between the regions: {', '.join(sorted(values))}"
    if len({function.get("source_code_hash") for function in functions}) > 1:
        yield FUNCTION, "all functions must run the same package"
    for function in functions:
        if function.get("reserved_concurrent_executions") is not None:
            yield function.address, "reserved concurrency reduces the quota that failover needs"
    throttling = ("throttling_rate_limit", "throttling_burst_limit")
    limits = {
        tuple(stage.get("default_route_settings", limit) for limit in throttling)
        for stage in platform.resources("aws_apigatewayv2_stage")
    }
    if len(limits) != 1:
        yield "aws_apigatewayv2_stage", "throttling differs between the regions"


@rule("C5", "C6", "trap 38")
def log_groups(platform: Platform) -> Problems:
    """A log group that Lambda creates is unencrypted, and remains after the platform is destroyed."""
    for function in platform.resources(FUNCTION):
        name = f"/aws/lambda/{function.get('function_name')}"
        groups = platform.resources("aws_cloudwatch_log_group", region=function.region)
        if name not in [group.get("name") for group in groups]:
            yield function.address, f"needs the log group {name}"
    for group in platform.resources("aws_cloudwatch_log_group"):
        if not group.get("retention_in_days"):
            yield group.address, "must have a retention"


@rule("C3")
def document_events(platform: Platform) -> Problems:
    """A document whose upload event is not delivered stays preliminary until the sweep."""
    name = platform.names.of(CONFIRM_DOCUMENTS.name)
    for region in platform.settings.regions:
        notified = [
            tuple(target.get(attribute) for attribute in ("lambda_function_arn", "events", "filter_prefix"))
            for notification in platform.resources("aws_s3_bucket_notification", region=region)
            for target in notification.blocks("lambda_function")
        ]
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        if notified != [(arn, ["s3:ObjectCreated:*"], "documents/")]:
            yield region, f"uploads below documents/, and no other events, must call {name}"
        bucket = platform.bucket_arn(region)
        for function in platform.functions(CONFIRM_DOCUMENTS.name, region):
            granted = _permissions(platform, function, "s3.amazonaws.com")
            if [(found.get("source_arn"), found.get("source_account")) for found in granted] != [(bucket, ACCOUNT)]:
                yield function.address, f"only {bucket}, and only in this account, may call it"


@rule("C3", "trap 15")
def document_sweep(platform: Platform) -> Problems:
    """Events can be lost and copies can be late; the sweep finds both within a minute."""
    for function in platform.functions(CONFIRM_DOCUMENTS.name):
        yield from _called_every_minute(platform, function)
        for target, _ in _schedules(platform, function):
            if json.loads(target.get("input") or "null") != {"sweep": True}:
                yield target.address, "must contain the sweep event"


@rule("C5", "R7.1")
def async_failures(platform: Platform) -> Problems:
    """An event that failed in every attempt is lost silently."""
    for function in platform.functions(CONFIRM_DOCUMENTS.name):
        found = list(platform.attached(function, INVOCATIONS, "function_name"))
        if len(found) != 1 or found[0].get("maximum_retry_attempts") != 2:
            yield function.address, "must be retried twice when it fails"
        for configured in found:
            destination = configured.get("destination_config", "on_failure", "destination")
            topic = platform.referred(configured.stack, destination)
            if topic is None or topic.kind != "aws_sns_topic":
                yield configured.address, "must send final failures to the region's topic"
            if not configured.get("maximum_event_age_in_seconds"):
                yield configured.address, "must limit the age of events"


@rule("C5", "R7.1", "trap 17")
def workers_report_failures(platform: Platform) -> Problems:
    """Lambda reports a failed call with the function's own role; without permission it drops the report silently."""
    for region in platform.settings.regions:
        topic, service = platform.topic_arn(region), f"sns.{region}.amazonaws.com"
        for role in ("confirmation", "reconciliation"):
            name, publishes, uses_key = platform.names.of(role, region), False, False
            for statement in platform.role_statements(role, region):
                actions = listed(statement["Action"])
                services = statement.get("Condition", {}).get("StringEquals", {}).get("kms:ViaService", ())
                publishes |= "sns:Publish" in actions and statement["Resource"] == topic
                uses_key |= "kms:GenerateDataKey*" in actions and service in services
            if not publishes:
                yield name, f"must be allowed sns:Publish on {topic}"
            if not uses_key:
                yield name, "must be allowed the key through SNS, whose topic is encrypted"


@rule("C6")
def quarantine(platform: Platform) -> Problems:
    """Content that differs from its declaration cannot be downloaded, not even through an earlier presigned URL."""
    for region in platform.settings.regions:
        arn = platform.bucket_arn(region)
        refused = {
            (action, role)
            for holder in platform.resources("aws_s3_bucket_policy", region=region)
            for statement in holder.statements()
            if statement["Effect"] == "Deny"
            and principals(statement, "AWS") == ["*"]
            and statement["Resource"] == f"{arn}/*"
            and statement["Condition"].get("StringEquals") == {f"s3:ExistingObjectTag/{QUARANTINE_TAG}": "true"}
            for action in listed(statement["Action"])
            for role in listed(statement["Condition"].get("ArnEquals", {}).get("aws:PrincipalArn", []))
        }
        for action in ("s3:GetObject", "s3:GetObjectVersion"):
            for role in ("patient-api", "documents-peer"):
                if (action, platform.role_arn(role, region)) not in refused:
                    yield arn, f"its policy must refuse {action} of quarantined objects to {role}"


SETS_TAGS = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
DELETES_TAGS = ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")
ONLY_TO_QUARANTINE = {"StringEquals": {f"s3:RequestObjectTag/{QUARANTINE_TAG}": "true"}}


@rule("C6")
def quarantine_stays(platform: Platform) -> Problems:
    """Tagging replaces all tags of an object: a role that may set any tag may lift the quarantine."""
    for holder in platform.resources("aws_iam_policy"):
        for statement in holder.statements():
            for action in listed(statement["Action"]):
                if action in DELETES_TAGS:
                    yield holder.address, f"{action} lifts a quarantine"
                if action in SETS_TAGS and statement.get("Condition") != ONLY_TO_QUARANTINE:
                    yield holder.address, f"{action} must be limited to a request that sets the quarantine"


@rule("R6.2", "trap 7")
def sentinel_schedule(platform: Platform) -> Problems:
    """Lag can be measured only while items are written, so a heartbeat is written every minute."""
    for function in platform.functions(SENTINEL.name):
        yield from _called_every_minute(platform, function)
        for attribute, value in (
            ("maximum_retry_attempts", 0),
            ("maximum_event_age_in_seconds", SENTINEL_INTERVAL_SECONDS),
        ):
            configured = platform.attached(function, INVOCATIONS, "function_name")
            if [each.get(attribute) for each in configured] != [value]:
                yield function.address, f"{attribute} must be {value}: the next run replaces one that failed"


@rule("C1", "trap 23")
def sentinel_endpoint(platform: Platform) -> Problems:
    """The peer reads the region's own address from the heartbeat; the shared name could resolve to the peer itself."""
    for function in platform.functions(SENTINEL.name):
        apis = list(platform.resources("aws_apigatewayv2_api", region=function.region))
        expected = [f"https://{api.expression('id')}.execute-api.{function.region}.amazonaws.com" for api in apis]
        if [function.get("environment", "variables", "ENDPOINT")] != expected:
            yield function.address, f"ENDPOINT must be the address of the HTTP API of {function.region}"


ONLY_HEARTBEATS = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [HEARTBEAT_PARTITION]}}


@rule("C6")
def sentinel_privileges(platform: Platform) -> Problems:
    """PutItem replaces items, so the sentinel may write heartbeats only."""
    for region in platform.settings.regions:
        for statement in platform.role_statements(SENTINEL.name, region):
            on_table = any(action.startswith("dynamodb:") for action in statement["Action"])
            if on_table and statement.get("Condition") != ONLY_HEARTBEATS:
                name = platform.names.of(SENTINEL.name, region)
                yield name, f"statement {statement['Sid']} must be limited by {json.dumps(ONLY_HEARTBEATS)}"


def _called_every_minute(platform: Platform, function: Resource) -> Problems:
    """Require that one schedule, and no other one, calls a function, every minute."""
    schedules = list(_schedules(platform, function))
    if len(schedules) != 1:
        yield function.address, "must be called by one schedule"
    for _, schedule in schedules:
        if schedule.get("schedule_expression") != "rate(1 minute)" or schedule.get("state") not in (None, "ENABLED"):
            yield schedule.address, "must call every minute"
        allowed = [found.get("source_arn") for found in _permissions(platform, function, "events.amazonaws.com")]
        if allowed != [schedule.expression("arn")]:
            yield function.address, "only its schedule may call it on behalf of EventBridge"


def _schedules(platform: Platform, function: Resource) -> Iterator[tuple[Resource, Resource]]:
    """Return the targets that call a function, each with its rule."""
    for target in platform.resources("aws_cloudwatch_event_target", region=function.region):
        schedule = platform.referred(target.stack, target.get("rule"))
        if platform.referred(target.stack, target.get("arn")) == function and schedule is not None:
            yield target, schedule


def _permissions(platform: Platform, function: Resource, service: str) -> list[Resource]:
    granted = platform.attached(function, "aws_lambda_permission", "function_name")
    return [permission for permission in granted if permission.get("principal") == service]
