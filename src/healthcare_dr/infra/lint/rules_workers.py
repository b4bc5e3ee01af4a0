"""Rules on what calls the workers, and on who hears when that fails."""

import json
from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.rules_compute import functions_named
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource, listed, principals
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
CONFIRMATION = "document-confirmation"
SETS_TAGS = ("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
LIFTS_TAGS = ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging")
ONLY_TO_QUARANTINE = {"StringEquals": {"s3:RequestObjectTag/quarantine": "true"}}


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
    for function in functions_named(platform, CONFIRMATION):
        yield from calls_every_minute(platform, function)
        for target, _ in _schedules(platform, function):
            if json.loads(target.get("input") or "null") != {"sweep": True}:
                yield target.address, "must say that it is the sweep"


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
