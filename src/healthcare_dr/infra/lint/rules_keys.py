"""Rules on KMS keys, on what they encrypt, and on the key that derives the secrets of both regions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, listed, principals, rule
from healthcare_dr.infra.policy import KEY_USE
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
PUBLISH = ("kms:Decrypt", "kms:GenerateDataKey*")
MAC = "GENERATE_VERIFY_MAC"


def data_keys(platform: Platform, region: str | None = None) -> list[Resource]:
    """The keys that encrypt. A key for message authentication codes encrypts nothing and has rules of its own."""
    return [key for key in platform.resources("aws_kms_key", region=region) if key.get("key_usage") != MAC]


@rule("key-per-region", "R5.1", "C4", why="Each region encrypts and decrypts without the other.")
def per_region(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        keys = data_keys(platform, region)
        if len(keys) != 1:
            yield region, "must have exactly one customer managed key that encrypts"
        for key in keys:
            if key.get("enable_key_rotation") is not True:
                yield key.address, "enable_key_rotation must be true"
            if key.get("deletion_window_in_days") != 7:
                yield key.address, "deletion_window_in_days must be 7"
            if not list(platform.of_parent(key, "target_key_id", "aws_kms_alias")):
                yield key.address, "must have an alias, by which the global stack finds it"


@rule(
    "key-policy-least-privilege", "R5.2", "C6",
    why="An administrator of a key must not be able to read the data that it protects.",
)  # fmt: skip
def least_privilege(platform: Platform) -> Problems:
    for key in platform.resources("aws_kms_key", "aws_kms_replica_key"):
        for statement in key.statements("policy"):
            accounts = principals(statement, "AWS")
            actions = listed(statement["Action"])
            if "*" in accounts:
                yield key.address, f"statement {statement['Sid']} admits every principal"
            if "kms:*" in actions:
                yield key.address, f"statement {statement['Sid']} allows everything"
            if (
                any(name.endswith(":root") for name in accounts)
                and "Condition" not in statement
                and set(actions) & {*KEY_USE, "kms:GenerateMac", "kms:VerifyMac"}
            ):
                yield key.address, f"statement {statement['Sid']} lets the whole account use the key"


@rule(
    "key-policy-cross-region", "R5.2", "R2.3",
    why="The peer's API and the replication roles of both directions use this region's key.",
)  # fmt: skip
def cross_region(platform: Platform) -> Problems:
    yield from _admits(platform, "key-policy-cross-region")


@rule(
    "key-admits-alarms", "R7.1", "trap 17",
    why="An encrypted topic drops messages silently unless the key's policy allows SNS and the publishers.",
)  # fmt: skip
def admits_alarms(platform: Platform) -> Problems:
    yield from _admits(platform, "key-admits-alarms")


@rule("key-admits-logs", "C4", "trap 18", why="CloudWatch Logs refuses a log group whose key it may not use.")
def admits_logs(platform: Platform) -> Problems:
    yield from _admits(platform, "key-admits-logs")


@rule(
    "key-admits-trail",
    "C4",
    "C6",
    why="A trail without permission for the key records nothing, and one that no principal can decrypt is useless.",
)
def admits_trail(platform: Platform) -> Problems:
    yield from _admits(platform, "key-admits-trail")


@rule(
    "key-admits-region",
    "R5.2",
    "C4",
    why="The functions, their environment and the tables of a region live on its key.",
)
def admits_region(platform: Platform) -> Problems:
    yield from _admits(platform, "key-admits-region")


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


@dataclass(frozen=True)
class _User:
    """A principal that one statement of a key policy must allow, its actions and, where there is one, its condition."""

    rule: str
    principal: tuple[str, str]
    actions: tuple[str, ...]
    condition: tuple[str, str, str] | None = None

    def __str__(self) -> str:
        return self.condition[2] if self.condition else self.principal[1]

    def admitted_by(self, statement: Mapping[str, Any]) -> bool:
        if statement["Effect"] != "Allow" or self.principal[1] not in principals(statement, self.principal[0]):
            return False
        if self.condition:
            operator, key, value = self.condition
            if value not in listed(statement.get("Condition", {}).get(operator, {}).get(key)):
                return False
        return set(self.actions) <= set(listed(statement["Action"]))


def _users(platform: Platform, region: str) -> list[_User]:
    names = Names(platform.settings.environment_suffix)
    account = ("AWS", f"arn:aws:iam::{ACCOUNT}:root")

    def function(resource: str) -> tuple[str, str]:
        name = names.of(resource, region)
        roles = platform.resources("aws_iam_role", region=region)
        return "AWS", next((role.expression("arn") for role in roles if role.get("name") == name), name)

    def role(resource: str, where: str) -> tuple[str, str, str]:
        return "ArnEquals", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/{names.of(resource, where)}"

    def through(service: str) -> tuple[str, str, str]:
        return "StringEquals", "kms:ViaService", f"{service}.{region}.amazonaws.com"

    trail = f"arn:aws:s3:::{names.trail_bucket(ACCOUNT, region)}"
    return [
        _User("key-admits-region", function("patient-api"), KEY_USE),
        *(_User("key-admits-region", function("confirmation"), KEY_USE, through(service))
          for service in ("dynamodb", "s3", "sns")),
        *(_User("key-admits-region", function("reconciliation"), KEY_USE, through(service))
          for service in ("dynamodb", "sns")),
        _User("key-admits-region", function("sentinel"), KEY_USE, through("dynamodb")),
        _User("key-admits-region", account, (*KEY_USE, "kms:CreateGrant"), through("dynamodb")),
        _User("key-admits-region", account, (*KEY_USE, "kms:CreateGrant"), through("lambda")),
        _User("key-policy-cross-region", account, KEY_USE, role("documents-peer", region)),
        _User("key-policy-cross-region", account, KEY_USE, role("replication", region)),
        _User("key-policy-cross-region", account, KEY_USE, role("replication", platform.other(region))),
        _User("key-admits-logs", ("Service", f"logs.{region}.amazonaws.com"), KEY_USE),
        _User("key-admits-alarms", ("Service", "cloudwatch.amazonaws.com"), PUBLISH),
        _User("key-admits-alarms", ("Service", "sns.amazonaws.com"), PUBLISH),
        _User("key-admits-alarms", ("Service", "s3.amazonaws.com"), PUBLISH),
        _User("key-admits-trail", ("Service", "cloudtrail.amazonaws.com"), ("kms:DescribeKey", *PUBLISH)),
        _User("key-admits-trail", account, ("kms:Decrypt",),
              ("StringEquals", "kms:EncryptionContext:aws:s3:arn", trail)),
    ]  # fmt: skip


def _admits(platform: Platform, name: str) -> Problems:
    for key in data_keys(platform):
        for user in _users(platform, key.region):
            if user.rule == name and not any(user.admitted_by(statement) for statement in key.statements("policy")):
                yield key.address, f"its policy must let {user} use it ({', '.join(user.actions)})"


KEY_KINDS = ("aws_kms_key", "aws_kms_replica_key")


@rule(
    "index-key", "C6", "C3",
    why="Only with the same key in both regions does what one wrote to the index, or into a cursor, mean anything to "
    "the other; KMS rotates no such key, whose codes have to stay the same.",
)  # fmt: skip
def index_key(platform: Platform) -> Problems:
    primary, secondary = platform.settings.regions
    keys = [key for key in platform.resources("aws_kms_key") if key.get("key_usage") == MAC]
    replicas = list(platform.resources("aws_kms_replica_key"))
    if [key.region for key in keys] != [primary] or [replica.region for replica in replicas] != [secondary]:
        yield "aws_kms_key", f"one key for codes must be in {primary}, and its replica in {secondary}"
    for key in keys:
        if key.get("customer_master_key_spec") != "HMAC_256" or key.get("multi_region") is not True:
            yield key.address, "must be an HMAC_256 key for several regions"
        if key.get("enable_key_rotation") is not None:
            yield key.address, "KMS refuses to rotate a key for codes"
        for replica in replicas:
            if platform.referred(replica.stack, replica.get("primary_key_arn")) != key:
                yield replica.address, f"must be a replica of {key.address}"
    for key in (*keys, *replicas):
        yield from _found_and_ended(platform, key)


@rule(
    "index-key-users", "C6", "R5.2",
    why="A principal with the key can derive names from the index; only the API needs it.",
)  # fmt: skip
def index_key_users(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for key in platform.resources(*KEY_KINDS):
        if key.kind == "aws_kms_key" and key.get("key_usage") != MAC:
            continue
        users = {
            (principal, action)
            for statement in key.statements("policy")
            for action in listed(statement["Action"])
            if action.startswith(("kms:GenerateMac", "kms:VerifyMac", "kms:*", "kms:Generate*"))
            for principal in principals(statement, "AWS")
        }
        user = names.of("patient-api", key.region)
        if users != {(f"arn:aws:iam::{ACCOUNT}:role/{user}", "kms:GenerateMac")}:
            yield key.address, f"only {user} may use it, for kms:GenerateMac"


def _found_and_ended(platform: Platform, key: Resource) -> Problems:
    names = Names(platform.settings.environment_suffix)
    aliases = [(alias.region, alias.get("name")) for alias in platform.of_parent(key, "target_key_id", "aws_kms_alias")]
    if aliases != [(key.region, names.index_key_alias())]:
        yield key.address, f"must have the alias {names.index_key_alias()}, by which the functions find it"
    if key.get("deletion_window_in_days") != 7:
        yield key.address, "deletion_window_in_days must be 7"
