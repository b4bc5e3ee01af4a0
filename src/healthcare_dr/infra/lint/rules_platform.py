"""Rules on stacks as a whole: names, tags, providers, state."""

import re

from healthcare_dr.infra.lint.model import Platform, Problems, rule
from healthcare_dr.naming import PIPELINE, STACKS

TAGS = {"Environment": "Production", "DisasterRecovery": "Enabled"}
NAME_OF = {
    "aws_cloudtrail": "name", "aws_cloudwatch_composite_alarm": "alarm_name",
    "aws_cloudwatch_dashboard": "dashboard_name", "aws_cloudwatch_event_rule": "name",
    "aws_cloudwatch_log_group": "name", "aws_cloudwatch_metric_alarm": "alarm_name", "aws_dynamodb_table": "name",
    "aws_iam_policy": "name", "aws_iam_role": "name", "aws_iam_role_policy": "name", "aws_kms_alias": "name",
    "aws_lambda_function": "function_name", "aws_apigatewayv2_api": "name", "aws_apigatewayv2_authorizer": "name",
    "aws_s3_bucket": "bucket", "aws_security_group": "name", "aws_sns_topic": "name",
    "aws_sqs_queue": "name", "aws_ssm_parameter": "name",
}  # fmt: skip


@rule("D8")
def stacks(platform: Platform) -> Problems:
    """The platform is two regional stacks and a global one, each with a state of its own, and optionally a pipeline."""
    expected = STACKS if platform.settings.github_repository is None else (*STACKS, PIPELINE)
    if set(platform.documents) != set(expected):
        yield "stacks", f"must be {', '.join(expected)}; they are {', '.join(sorted(platform.documents)) or 'none'}"


@rule("D7")
def names(platform: Platform) -> Problems:
    """Two environments of one account must not have a resource in common."""
    suffix = f"-{platform.settings.environment_suffix}"
    for resource in platform.resources(*NAME_OF):
        name = resource.get(NAME_OF[resource.kind])
        if not str(name).endswith(suffix):
            yield resource.address, f"its name {name} must end in {suffix}"
    for resource in platform.resources():
        tag = (resource.get("tags") or {}).get("Name")
        if tag is not None and not tag.endswith(suffix):
            yield resource.address, f"its Name tag {tag} must end in {suffix}"


@rule("R9.1")
def tags(platform: Platform) -> Problems:
    """Resources without tags cannot be found in an incident."""
    for stack, document in platform.documents.items():
        for provider in document.get("provider", {}).get("aws", []):
            found = [tags.get("tags", {}) for tags in provider.get("default_tags", [])]
            if not any(TAGS.items() <= tags.items() for tags in found):
                yield f"{stack}/provider.{provider.get('alias', 'aws')}", f"default_tags must contain {TAGS}"
    for resource in platform.resources():
        for key in TAGS.keys() & (resource.get("tags") or {}).keys():
            if resource.get("tags")[key] != TAGS[key]:
                yield resource.address, f"overrides the tag {key}"


@rule("D6")
def destroyable(platform: Platform) -> Problems:
    """An environment for a drill must be destroyed completely."""
    for resource in platform.resources():
        if resource.get("deletion_protection_enabled") or resource.get("lifecycle", "prevent_destroy"):
            yield resource.address, "is protected against deletion"
        if resource.get("skip_destroy") or resource.get("retain_on_delete"):
            yield resource.address, "would remain after the platform is destroyed"


@rule("trap 37")
def state_survives(platform: Platform) -> Problems:
    """Terraform's state in us-east-1 is lost with us-east-1."""
    for stack, document in platform.documents.items():
        backend = document.get("terraform", {}).get("backend", {})
        for kind, options in backend.items():
            if kind not in ("local", "s3"):
                yield stack, f"backend {kind} is not supported"
            if kind == "s3" and options.get("region") == "us-east-1":
                yield stack, "its state is in us-east-1"
            if kind == "s3" and not (options.get("encrypt") is True and options.get("use_lockfile") is True):
                yield stack, "its state must be encrypted and locked"


@rule("D8")
def providers(platform: Platform) -> Problems:
    """The platform is tested with one provider, in versions that support every argument used."""
    for stack, document in platform.documents.items():
        required = document.get("terraform", {}).get("required_providers", {})
        if set(required) != {"aws"} or required.get("aws", {}).get("version") != ">= 5.100, < 7.0":
            yield stack, "must need hashicorp/aws >= 5.100, < 7.0 and nothing else"


@rule("D8")
def target_free(platform: Platform) -> Problems:
    """The same JSON is deployed to AWS and to the embedded AWS, where it is tested."""
    for stack, document in platform.documents.items():
        for provider in document.get("provider", {}).get("aws", []):
            for extra in sorted(set(provider) - {"alias", "region", "default_tags"}):
                yield stack, f"the provider must not set {extra}, which differs between targets"
    for resource in platform.everything:
        if re.search(r"(?<![\w.])(127\.0\.0\.1|localhost)(?![\w.])", str(dict(resource.body))):
            yield resource.address, "contains an address of this machine"
