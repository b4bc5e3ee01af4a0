"""Rules on what calls the workers, and on who hears when that fails."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.rules_compute import functions_named
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource, listed, principals
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
CONFIRMATION, RECONCILIATION = "document-confirmation", "reconciliation"
# What a reader of a stream has to set; Lambda's defaults repeat a bad batch for a day and take nothing else meanwhile.
STREAM_SETTINGS = {
    "starting_position": "TRIM_HORIZON", "batch_size": 100, "bisect_batch_on_function_error": True,
    "function_response_types": ["ReportBatchItemFailures"],
}  # fmt: skip
MAXIMUM_RETRIES = range(1, 1001)
MAXIMUM_AGE_SECONDS = range(600, 86401)
RECORD_ITEMS = {"dynamodb": {"Keys": {"sk": {"S": ["head", {"prefix": "v#"}]}}}}


@rule("document-events", "C3", why="A document whose upload nobody hears of stays preliminary until the sweep.")
def document_events(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        notified = [
            (target.get("lambda_function_arn"), target.get("events"), target.get("filter_prefix"))
            for notification in platform.resources("aws_s3_bucket_notification", region=region)
            for target in notification.blocks("lambda_function")
        ]
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{names.of(CONFIRMATION)}"
        if notified != [(arn, ["s3:ObjectCreated:*"], "documents/")]:
            yield region, f"uploads below documents/, and nothing else, must call {names.of(CONFIRMATION)}"
        bucket = f"arn:aws:s3:::{names.documents_bucket(ACCOUNT, region)}"
        for function in _in(platform, region, CONFIRMATION):
            granted = _permissions(platform, function, "s3.amazonaws.com")
            if [(found.get("source_arn"), found.get("source_account")) for found in granted] != [(bucket, ACCOUNT)]:
                yield function.address, f"only {bucket}, and only in this account, may call it"


@rule(
    "document-sweep", "C3", "trap 15", why="Events get lost and copies are late; only a sweep finds both in a minute."
)
def document_sweep(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        for function in _in(platform, region, CONFIRMATION):
            sweeps = [
                (target, schedule)
                for target in platform.resources("aws_cloudwatch_event_target", region=region)
                if platform.referred(target.stack, target.get("arn")) == function
                and (schedule := platform.referred(target.stack, target.get("rule"))) is not None
            ]
            if len(sweeps) != 1:
                yield function.address, "must be called by one schedule"
            for target, schedule in sweeps:
                if schedule.get("schedule_expression") != "rate(1 minute)" or schedule.get("state") not in (
                    None,
                    "ENABLED",
                ):
                    yield schedule.address, "must call every minute"
                if json.loads(target.get("input") or "null") != {"sweep": True}:
                    yield target.address, "must say that it is the sweep"
                allowed = [
                    found.get("source_arn") for found in _permissions(platform, function, "events.amazonaws.com")
                ]
                if allowed != [schedule.expression("arn")]:
                    yield function.address, "only its schedule may call it on behalf of EventBridge"


@rule("async-failures", "C5", "R7.1", why="An event that no attempt could handle is forgotten, and nobody is told.")
def async_failures(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        for function in _in(platform, region, CONFIRMATION):
            found = list(platform.of_parent(function, "function_name", "aws_lambda_function_event_invoke_config"))
            if len(found) != 1 or found[0].get("maximum_retry_attempts") != 2:
                yield function.address, "must be tried again twice when it fails"
            for configured in found:
                destination = configured.get("destination_config", "on_failure", "destination")
                topic = platform.referred(configured.stack, destination)
                if topic is None or topic.kind != "aws_sns_topic":
                    yield configured.address, "must tell the region's topic of what failed in the end"
                if not configured.get("maximum_event_age_in_seconds"):
                    yield configured.address, "must say when an event is too old"


@rule(
    "stream-reconciled", "C3", "R1.4", "trap 1",
    why="DynamoDB drops the older of two concurrent writes to a head and says nothing: only the stream tells.",
)  # fmt: skip
def stream_reconciled(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    table = next((t for t in platform.resources("aws_dynamodb_table") if t.get("name") == names.records_table), None)
    for region in platform.settings.regions:
        found = list(platform.resources("aws_lambda_event_source_mapping", region=region))
        if len(found) != 1 or table is None:
            yield region, f"one mapping must read the stream of {names.records_table}"
            continue
        mapping = found[0]
        own = table.expression("stream_arn")
        replica = f"${{one({table.local_address}.replica[*].stream_arn)}}"
        if mapping.get("event_source_arn") != (own if region == table.region else replica):
            yield mapping.address, f"must read the stream of {names.records_table} in {region}"
        if mapping.get("function_name") != f"arn:aws:lambda:{region}:{ACCOUNT}:function:{names.of(RECONCILIATION)}":
            yield mapping.address, f"must call {names.of(RECONCILIATION)} in {region}"
        yield from _careful(mapping)
        if _topic_of(mapping) != f"arn:aws:sns:{region}:{ACCOUNT}:{names.of('operations')}":
            yield mapping.address, "must tell the region's topic of what it gave up"


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
    why="Bytes that are not what was announced reach nobody, not even with an address signed before they were found.",
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
            and statement["Condition"].get("StringEquals") == {"s3:ExistingObjectTag/quarantine": "true"}
            for action in listed(statement["Action"])
            for role in listed(statement["Condition"].get("ArnEquals", {}).get("aws:PrincipalArn", []))
        }
        for action in ("s3:GetObject", "s3:GetObjectVersion"):
            for role in ("patient-api", "documents-peer"):
                if (action, f"arn:aws:iam::{ACCOUNT}:role/{names.of(role, region)}") not in refused:
                    yield arn, f"its policy must refuse {action} of what is quarantined to {names.of(role, region)}"


def _in(platform: Platform, region: str, name: str) -> list[Resource]:
    return [function for function in functions_named(platform, name) if function.region == region]


def _permissions(platform: Platform, function: Resource, service: str) -> list[Resource]:
    return [
        permission
        for permission in platform.of_parent(function, "function_name", "aws_lambda_permission")
        if permission.get("principal") == service
    ]


def _careful(mapping: Resource) -> Problems:
    for setting, wanted in STREAM_SETTINGS.items():
        if mapping.get(setting) != wanted:
            yield mapping.address, f"{setting} must be {wanted}"
    if mapping.get("maximum_retry_attempts") not in MAXIMUM_RETRIES:
        yield mapping.address, "must try a bad record again, but not for ever"
    if mapping.get("maximum_record_age_in_seconds") not in MAXIMUM_AGE_SECONDS:
        yield mapping.address, "must outlast an outage of minutes, but not wait for ever"
    filters = [json.loads(block["pattern"]) for block in mapping.blocks("filter_criteria", "filter")]
    if filters != [RECORD_ITEMS]:
        yield mapping.address, "must pass on versions and heads, and nothing else"


def _topic_of(mapping: Resource) -> object:
    return mapping.get("destination_config", "on_failure", "destination_arn")
