"""Rules on keys and on what they encrypt."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import Platform, listed
from healthcare_dr.infra.policy import KEY_USE

Problems = Iterator[tuple[str, str]]


@rule("key-per-region", "R5.1", "C4", why="Each region encrypts and decrypts without the other.")
def per_region(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        keys = list(platform.resources("aws_kms_key", region=region))
        if len(keys) != 1:
            yield region, "must have exactly one customer managed key"
        for key in keys:
            if key.get("enable_key_rotation") is not True:
                yield key.address, "enable_key_rotation must be true"
            if key.get("deletion_window_in_days") != 7:
                yield key.address, "deletion_window_in_days must be 7"
            if not list(platform.of_parent(key, "target_key_id", "aws_kms_alias")):
                yield key.address, "must have an alias, by which the global stack finds it"


@rule(
    "key-policy-least-privilege", "R5.2", "C6",
    why="Whoever administers a key must not thereby read what it protects.",
)  # fmt: skip
def least_privilege(platform: Platform) -> Problems:
    for key in platform.resources("aws_kms_key"):
        for statement in key.statements("policy"):
            principal = statement["Principal"]
            actions = listed(statement["Action"])
            if "*" in (principal, principal.get("AWS") if isinstance(principal, dict) else None):
                yield key.address, f"statement {statement['Sid']} admits every principal"
            if "kms:*" in actions:
                yield key.address, f"statement {statement['Sid']} allows everything"
            if ":root" in str(principal) and "Condition" not in statement and set(actions) & set(KEY_USE):
                yield key.address, f"statement {statement['Sid']} lets the whole account use the key"


@rule(
    "key-policy-cross-region", "R5.2", "R2.3",
    why="The peer's API and the replication roles of both directions use this region's key.",
)  # fmt: skip
def cross_region(platform: Platform) -> Problems:
    for key in platform.resources("aws_kms_key"):
        admitted = [
            str(arn)
            for statement in key.statements("policy")
            for arn in listed(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn", []))
        ]
        for role in ("replication", "documents-peer"):
            if not any(f"role/healthcare-dr-{role}-" in arn for arn in admitted):
                yield key.address, f"its policy must admit the {role} role"


@rule(
    "key-admits-alarms", "R7.1", "trap 17",
    why="An encrypted topic drops CloudWatch's messages silently unless the key's policy lets CloudWatch use it.",
)  # fmt: skip
def admits_alarms(platform: Platform) -> Problems:
    yield from _admits(platform, "cloudwatch.amazonaws.com", ("kms:Decrypt", "kms:GenerateDataKey*"))


@rule("key-admits-logs", "C4", "trap 18", why="CloudWatch Logs refuses a log group whose key it may not use.")
def admits_logs(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        yield from _admits(
            platform, f"logs.{region}.amazonaws.com", ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"), region
        )


@rule(
    "encrypted-at-rest", "C4", "C6", "R7.1",
    why="All data at rest is encrypted with a customer managed key (45 CFR 164.312(a)(2)(iv)).",
)  # fmt: skip
def at_rest(platform: Platform) -> Problems:
    for kind, attribute in (
        ("aws_cloudwatch_log_group", "kms_key_id"),
        ("aws_sns_topic", "kms_master_key_id"),
        ("aws_lambda_function", "kms_key_arn"),
        ("aws_cloudtrail", "kms_key_id"),
    ):
        for resource in platform.resources(kind):
            key = platform.referred(resource.stack, resource.get(attribute))
            if key is None or key.region != resource.region:
                yield resource.address, f"{attribute} must be the platform's key of {resource.region}"


def _admits(platform: Platform, service: str, actions: tuple[str, ...], region: str | None = None) -> Problems:
    for key in platform.resources("aws_kms_key", region=region):
        allowed = {
            action
            for statement in key.statements("policy")
            if statement["Effect"] == "Allow" and service in listed(statement["Principal"].get("Service"))
            for action in listed(statement["Action"])
        }
        if not set(actions) <= allowed:
            yield key.address, f"its policy must let {service} use it"
