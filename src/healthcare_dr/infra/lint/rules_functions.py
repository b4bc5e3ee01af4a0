"""Rules on the functions: code, size, environment, event sources, failure destinations and schedules."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, listed, principals, rule
from healthcare_dr.naming import Names
from patient_api.contract.functions import (
    API,
    COMMON_VARIABLES,
    CONFIRM_DOCUMENTS,
    FUNCTIONS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    VARIABLES,
)
from patient_api.contract.keys import HEARTBEAT_PARTITION, QUARANTINE_TAG
from patient_api.contract.metrics import DIMENSION, Metric

Problems = Iterator[tuple[str, str]]
RESERVED_VARIABLES = (
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_HANDLER", "TZ",
)  # fmt: skip
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
    yield from _once_in_each_region(platform, API.name)
    for function in functions_named(platform, API.name):
        if (function.get("memory_size"), function.get("timeout")) != (API.memory_mb, API.timeout_seconds):
            yield function.address, f"must have {API.memory_mb} MB and {API.timeout_seconds} s"
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
    for spec in (CONFIRM_DOCUMENTS, RECONCILE, SENTINEL):
        yield from _once_in_each_region(platform, spec.name)
        wanted = (spec.handler, spec.memory_mb, spec.timeout_seconds)
        for function in functions_named(platform, spec.name):
            if tuple(function.get(part) for part in ("handler", "memory_size", "timeout")) != wanted:
                yield function.address, f"must run {wanted[0]} with {wanted[1]} MB and {wanted[2]} s"


@rule("function-environment", "R2.4", "D2", why="Lambda refuses a function that sets a variable of its own.")
def environment(platform: Platform) -> Problems:
    for function in platform.resources("aws_lambda_function"):
        variables = set(function.get("environment", "variables") or ())
        for name in sorted(variables & set(RESERVED_VARIABLES)):
            yield function.address, f"{name} is reserved"
    for spec in FUNCTIONS:
        # Lambda itself sets the region.
        needed = {VARIABLES[name] for name in (*COMMON_VARIABLES, *spec.variables)} - {VARIABLES["region"]}
        for function in functions_named(platform, spec.name):
            for name in sorted(needed - set(function.get("environment", "variables") or ())):
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


SETS_TAGS = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
LIFTS_TAGS = ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")
ONLY_TO_QUARANTINE = {"StringEquals": {f"s3:RequestObjectTag/{QUARANTINE_TAG}": "true"}}


@rule("document-events", "C3", why="A document whose upload event is not delivered stays preliminary until the sweep.")
def document_events(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        notified = [
            (target.get("lambda_function_arn"), target.get("events"), target.get("filter_prefix"))
            for notification in platform.resources("aws_s3_bucket_notification", region=region)
            for target in notification.blocks("lambda_function")
        ]
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{names.of(CONFIRM_DOCUMENTS.name)}"
        if notified != [(arn, ["s3:ObjectCreated:*"], "documents/")]:
            yield region, f"uploads below documents/, and nothing else, must call {names.of(CONFIRM_DOCUMENTS.name)}"
        bucket = f"arn:aws:s3:::{names.documents_bucket(ACCOUNT, region)}"
        for function in _in(platform, region, CONFIRM_DOCUMENTS.name):
            granted = _permissions(platform, function, "s3.amazonaws.com")
            if [(found.get("source_arn"), found.get("source_account")) for found in granted] != [(bucket, ACCOUNT)]:
                yield function.address, f"only {bucket}, and only in this account, may call it"


@rule(
    "document-sweep", "C3", "trap 15", why="Events get lost and copies are late; only a sweep finds both in a minute."
)
def document_sweep(platform: Platform) -> Problems:
    for function in functions_named(platform, CONFIRM_DOCUMENTS.name):
        yield from calls_every_minute(platform, function)
        for target, _ in _schedules(platform, function):
            if json.loads(target.get("input") or "null") != {"sweep": True}:
                yield target.address, "must contain the sweep event"


def calls_every_minute(platform: Platform, function: Resource) -> Problems:
    """A function is called by one schedule, every minute, which alone may do so."""
    schedules = list(_schedules(platform, function))
    if len(schedules) != 1:
        yield function.address, "must be called by one schedule"
    for _, schedule in schedules:
        if schedule.get("schedule_expression") != "rate(1 minute)" or schedule.get("state") not in (None, "ENABLED"):
            yield schedule.address, "must call every minute"
        allowed = [found.get("source_arn") for found in _permissions(platform, function, "events.amazonaws.com")]
        if allowed != [schedule.expression("arn")]:
            yield function.address, "only its schedule may call it on behalf of EventBridge"


@rule("async-failures", "C5", "R7.1", why="An event that failed in every attempt is lost silently.")
def async_failures(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        for function in _in(platform, region, CONFIRM_DOCUMENTS.name):
            found = list(platform.of_parent(function, "function_name", "aws_lambda_function_event_invoke_config"))
            if len(found) != 1 or found[0].get("maximum_retry_attempts") != 2:
                yield function.address, "must be tried again twice when it fails"
            for configured in found:
                destination = configured.get("destination_config", "on_failure", "destination")
                topic = platform.referred(configured.stack, destination)
                if topic is None or topic.kind != "aws_sns_topic":
                    yield configured.address, "must send final failures to the region's topic"
                if not configured.get("maximum_event_age_in_seconds"):
                    yield configured.address, "must limit the age of events"


@rule(
    "workers-report-failures", "C5", "R7.1",
    why="Lambda reports a failed call with the function's own role; without leave it drops the report silently.",
)  # fmt: skip
def reports(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        topic = f"arn:aws:sns:{region}:{ACCOUNT}:{names.of('operations')}"
        for role in ("confirmation", "reconciliation"):
            statements = [
                statement
                for policy in platform.resources("aws_iam_policy", region=region)
                if policy.get("name") == names.of(role, region)
                for statement in policy.statements("policy")
            ]
            if not any(
                "sns:Publish" in listed(statement["Action"]) and statement["Resource"] == topic
                for statement in statements
            ):
                yield names.of(role, region), f"must be allowed sns:Publish on {topic}"
            if not any(
                "kms:GenerateDataKey*" in listed(statement["Action"])
                and f"sns.{region}.amazonaws.com"
                in statement.get("Condition", {}).get("StringEquals", {}).get("kms:ViaService", ())
                for statement in statements
            ):
                yield names.of(role, region), "must be allowed the key through SNS, whose topic is encrypted"


@rule(
    "quarantine", "C6",
    why="Bytes that differ from their declaration cannot be downloaded, not even through a URL presigned before.",
)  # fmt: skip
def quarantine(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        arn = f"arn:aws:s3:::{names.documents_bucket(ACCOUNT, region)}"
        refused = {
            (action, role)
            for holder in platform.resources("aws_s3_bucket_policy", region=region)
            for statement in holder.statements("policy")
            if statement["Effect"] == "Deny"
            and principals(statement, "AWS") == ["*"]
            and statement["Resource"] == f"{arn}/*"
            and statement["Condition"].get("StringEquals") == {f"s3:ExistingObjectTag/{QUARANTINE_TAG}": "true"}
            for action in listed(statement["Action"])
            for role in listed(statement["Condition"].get("ArnEquals", {}).get("aws:PrincipalArn", []))
        }
        for action in ("s3:GetObject", "s3:GetObjectVersion"):
            for role in ("patient-api", "documents-peer"):
                if (action, f"arn:aws:iam::{ACCOUNT}:role/{names.of(role, region)}") not in refused:
                    yield arn, f"its policy must refuse {action} of what is quarantined to {names.of(role, region)}"


@rule(
    "quarantine-stays", "C6",
    why="Tagging replaces all tags of an object: a role that may set any tag may lift the quarantine.",
)  # fmt: skip
def quarantine_stays(platform: Platform) -> Problems:
    for holder in platform.resources("aws_iam_policy"):
        for statement in holder.statements("policy"):
            for action in listed(statement["Action"]):
                if action in LIFTS_TAGS:
                    yield holder.address, f"{action} lifts a quarantine"
                if action in SETS_TAGS and statement.get("Condition") != ONLY_TO_QUARANTINE:
                    yield holder.address, f"{action} must be limited to a request that sets the quarantine"


def _schedules(platform: Platform, function: Resource) -> Iterator[tuple[Resource, Resource]]:
    """The targets that call a function, each with its rule."""
    for target in platform.resources("aws_cloudwatch_event_target", region=function.region):
        schedule = platform.referred(target.stack, target.get("rule"))
        if platform.referred(target.stack, target.get("arn")) == function and schedule is not None:
            yield target, schedule


def _in(platform: Platform, region: str, name: str) -> list[Resource]:
    return [function for function in functions_named(platform, name) if function.region == region]


def _permissions(platform: Platform, function: Resource, service: str) -> list[Resource]:
    return [
        permission
        for permission in platform.of_parent(function, "function_name", "aws_lambda_permission")
        if permission.get("principal") == service
    ]


ONLY_HEARTBEATS = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [HEARTBEAT_PARTITION]}}


@rule(
    "sentinel-schedule",
    "R6.2",
    "trap 7",
    why="Lag can be measured only while items are written, so a heartbeat is written every minute.",
)
def schedule(platform: Platform) -> Problems:
    for function in functions_named(platform, SENTINEL.name):
        yield from calls_every_minute(platform, function)
        calls = list(platform.of_parent(function, "function_name", "aws_lambda_function_event_invoke_config"))
        if [call.get("maximum_retry_attempts") for call in calls] != [0]:
            yield function.address, "must not be tried again: the next round is on its way"
        if [call.get("maximum_event_age_in_seconds") for call in calls] != [SENTINEL_INTERVAL_SECONDS]:
            yield function.address, f"must drop rounds that are older than {SENTINEL_INTERVAL_SECONDS} s"


@rule(
    "sentinel-endpoint", "C1", "trap 23",
    why="The peer reads the region's own address from the heartbeat; the shared name could resolve to the peer itself.",
)  # fmt: skip
def endpoint(platform: Platform) -> Problems:
    for function in functions_named(platform, SENTINEL.name):
        apis = list(platform.resources("aws_apigatewayv2_api", region=function.region))
        wanted = [f"https://{api.expression('id')}.execute-api.{function.region}.amazonaws.com" for api in apis]
        if [function.get("environment", "variables", "ENDPOINT")] != wanted:
            yield function.address, f"ENDPOINT must be the address of the HTTP API of {function.region}"


@rule("sentinel-privileges", "C6", why="PutItem replaces items: with it, no item but a heartbeat may be in reach.")
def privileges(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        for holder in platform.resources("aws_iam_policy", region=region):
            if holder.get("name") != names.of(SENTINEL.name, region):
                continue
            for statement in holder.statements("policy"):
                of_table = any(action.startswith("dynamodb:") for action in statement["Action"])
                if of_table and statement.get("Condition") != ONLY_HEARTBEATS:
                    yield holder.address, f"must be limited by {json.dumps(ONLY_HEARTBEATS)}"


@rule(
    "peer-watched-here", "R6.2", "R7.1", "C3", "trap 7", "trap 22",
    why="The signal of a region's loss must not be lost with the region, and missing data must fire the alarm.",
)  # fmt: skip
def watched_here(platform: Platform) -> Problems:
    limit = platform.settings.replication_lag_seconds
    wanted = {
        Metric.PEER_HEALTHY: ("Minimum", "LessThanThreshold", 1, "breaching"),
        Metric.HEARTBEAT_WRITTEN: ("Minimum", "LessThanThreshold", 1, "breaching"),
        Metric.HEARTBEAT_AGE: ("Maximum", "GreaterThanThreshold", SENTINEL_INTERVAL_SECONDS + limit, "breaching"),
        Metric.REPLICATION_LAG: ("Maximum", "GreaterThanThreshold", limit, "notBreaching"),
    }
    for region in platform.settings.regions:
        alarms = [alarm for alarm in platform.resources("aws_cloudwatch_metric_alarm", region=region) if _own(alarm)]
        for metric, fires in wanted.items():
            found = [_fires(alarm) for alarm in alarms if alarm.get("metric_name") == metric]
            if found != [fires]:
                yield region, f"one alarm must watch {metric}: {' '.join(map(str, fires))}"


def _own(alarm: Resource) -> bool:
    return bool(alarm.get("dimensions") == {DIMENSION: SENTINEL.name})


def _fires(alarm: Resource) -> tuple[object, ...]:
    if alarm.get("evaluation_periods") != 1:
        return ()
    return tuple(alarm.get(part) for part in ("statistic", "comparison_operator", "threshold", "treat_missing_data"))
