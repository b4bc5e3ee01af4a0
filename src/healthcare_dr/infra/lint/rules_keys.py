"""Rules on KMS keys, on what they encrypt, and on the key that derives the secrets of both regions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, listed, principals, register, rule

KEY_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
PUBLISH = ("kms:Decrypt", "kms:GenerateDataKey*")
MAC = "GENERATE_VERIFY_MAC"
KEY_KINDS = ("aws_kms_key", "aws_kms_replica_key")


def data_keys(platform: Platform, region: str | None = None) -> list[Resource]:
    """Return the keys that encrypt. Keys for message authentication codes have rules of their own."""
    return [key for key in platform.resources("aws_kms_key", region=region) if key.get("key_usage") != MAC]


@rule("R5.1", "C4")
def key_per_region(platform: Platform) -> Problems:
    """Each region encrypts and decrypts without the other."""
    for region in platform.settings.regions:
        keys = data_keys(platform, region)
        if len(keys) != 1:
            yield region, "must have exactly one customer managed key that encrypts"
        for key in keys:
            if key.get("enable_key_rotation") is not True:
                yield key.address, "enable_key_rotation must be true"
            if key.get("deletion_window_in_days") != 7:
                yield key.address, "deletion_window_in_days must be 7"
            if not list(platform.attached(key, "aws_kms_alias", "target_key_id")):
                yield key.address, "must have an alias, by which the global stack finds it"


@rule("R5.2", "C6")
def key_policy_least_privilege(platform: Platform) -> Problems:
    """An administrator of a key must not be able to read the data that it protects."""
    for key in platform.resources(*KEY_KINDS):
        for statement in key.statements():
            accounts, actions = principals(statement, "AWS"), listed(statement["Action"])
            if "*" in accounts:
                yield key.address, f"statement {statement['Sid']} admits every principal"
            if "kms:*" in actions:
                yield key.address, f"statement {statement['Sid']} allows every action"
            unlimited = "Condition" not in statement and any(name.endswith(":root") for name in accounts)
            if unlimited and set(actions) & {*KEY_USE, "kms:GenerateMac", "kms:VerifyMac"}:
                yield key.address, f"statement {statement['Sid']} lets the whole account use the key"


@rule("C4", "C6", "R7.1")
def encrypted_at_rest(platform: Platform) -> Problems:
    """All data at rest is encrypted with a customer managed key (45 CFR 164.312(a)(2)(iv))."""
    for kind, attribute in (
        ("aws_cloudwatch_log_group", "kms_key_id"),
        ("aws_sns_topic", "kms_master_key_id"),
        ("aws_sqs_queue", "kms_master_key_id"),
        ("aws_ssm_parameter", "key_id"),
        ("aws_lambda_function", "kms_key_arn"),
        ("aws_cloudtrail", "kms_key_id"),
    ):
        for resource in platform.resources(kind):
            if not platform.is_key_of(resource.region, resource.stack, resource.get(attribute)):
                yield resource.address, f"{attribute} must be the platform's key of {resource.region}"


@dataclass(frozen=True)
class User:
    """A principal that a statement of a key policy must allow, its actions, and a condition of that statement."""

    principal: tuple[str, str]
    actions: tuple[str, ...]
    condition: tuple[str, str, str] | None = None

    def __str__(self) -> str:
        return self.condition[2] if self.condition else self.principal[1]

    def admitted_by(self, statement: Mapping[str, Any]) -> bool:
        """Return whether a statement allows this user its actions."""
        if statement["Effect"] != "Allow" or self.principal[1] not in principals(statement, self.principal[0]):
            return False
        if self.condition:
            operator, key, value = self.condition
            if value not in listed(statement.get("Condition", {}).get(operator, {}).get(key)):
                return False
        return set(self.actions) <= set(listed(statement["Action"]))


def _users(platform: Platform, region: str) -> dict[str, list[User]]:
    """Return the users of a region's key by the rule that requires them."""
    account = ("AWS", f"arn:aws:iam::{ACCOUNT}:root")

    def function(role: str, *conditions: tuple[str, str, str] | None) -> list[User]:
        name = platform.names.of(role, region)
        roles = platform.resources("aws_iam_role", region=region)
        arn = next((found.expression("arn") for found in roles if found.get("name") == name), name)
        return [User(("AWS", arn), KEY_USE, condition) for condition in conditions]

    def role(name: str, where: str) -> User:
        return User(account, KEY_USE, ("ArnEquals", "aws:PrincipalArn", platform.role_arn(name, where)))

    def through(service: str) -> tuple[str, str, str]:
        return "StringEquals", "kms:ViaService", f"{service}.{region}.amazonaws.com"

    def service(name: str, *actions: str) -> User:
        return User(("Service", f"{name}.amazonaws.com"), actions)

    trail = f"arn:aws:s3:::{platform.names.trail_bucket(ACCOUNT, region)}"
    return {
        "key-admits-region": [
            *function("patient-api", None),
            *function("confirmation", through("dynamodb"), through("s3"), through("sns")),
            *function("reconciliation", through("dynamodb"), through("sns")),
            *function("sentinel", through("dynamodb")),
            User(account, (*KEY_USE, "kms:CreateGrant"), through("dynamodb")),
            User(account, (*KEY_USE, "kms:CreateGrant"), through("lambda")),
            *(
                user
                for _ in platform.resources("aws_ssm_parameter", region=region)
                for user in (
                    *function("relay", through("ssm"), through("sqs")),
                    User(account, ("kms:Decrypt", "kms:Encrypt"), through("ssm")),
                )
            ),
        ],
        "key-policy-cross-region": [
            role("documents-peer", region),
            role("replication", region),
            role("replication", platform.other(region)),
        ],
        "key-admits-logs": [service(f"logs.{region}", *KEY_USE)],
        "key-admits-alarms": [
            *(service(name, *PUBLISH) for name in ("cloudwatch", "sns", "s3")),
            *(
                User(account, ("kms:Decrypt",), through("sqs"))
                for _ in platform.resources("aws_sqs_queue", region=region)
            ),
        ],
        "key-admits-trail": [
            service("cloudtrail", "kms:DescribeKey", *PUBLISH),
            *(
                User(account, ("kms:Decrypt",), ("ArnLike", "kms:EncryptionContext:aws:s3:arn", arn))
                for arn in (trail, f"{trail}/*")
            ),
        ],
    }


def _admits(platform: Platform, name: str) -> Problems:
    for key in data_keys(platform):
        for user in _users(platform, key.region)[name]:
            if not any(user.admitted_by(statement) for statement in key.statements()):
                yield key.address, f"its policy must let {user} use it ({', '.join(user.actions)})"


for _name, _guards, _why in (
    (
        "key-admits-region",
        ("R5.2", "C4"),
        "The functions, their environment and the tables of a region are encrypted with its key.",
    ),
    (
        "key-policy-cross-region",
        ("R5.2", "R2.3"),
        "The peer's functions and the replication roles of both directions use this region's key.",
    ),
    ("key-admits-logs", ("C4", "trap 18"), "CloudWatch Logs refuses a log group whose key it may not use."),
    (
        "key-admits-alarms",
        ("R7.1", "trap 17"),
        "An encrypted topic drops messages silently unless the key's policy allows SNS and the publishers.",
    ),
    (
        "key-admits-trail",
        ("C4", "C6"),
        "A trail without permission for the key records nothing, and without a reader its log files are useless.",
    ),
):
    register(_name, _guards, _why, partial(_admits, name=_name))


@rule("C6", "C3")
def index_key(platform: Platform) -> Problems:
    """Index items and cursors of one region are valid in the other only with the same key. KMS does not rotate keys
    for codes, because the codes must stay the same."""
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
    alias = platform.names.index_key_alias()
    for key in (*keys, *replicas):
        aliases = platform.attached(key, "aws_kms_alias", "target_key_id")
        if [(found.region, found.get("name")) for found in aliases] != [(key.region, alias)]:
            yield key.address, f"must have the alias {alias}, by which the functions find it"
        if key.get("deletion_window_in_days") != 7:
            yield key.address, "deletion_window_in_days must be 7"


@rule("C6", "R5.2")
def index_key_users(platform: Platform) -> Problems:
    """A principal with the key can derive names from the index; only the API needs it."""
    for key in platform.resources(*KEY_KINDS):
        if key.kind == "aws_kms_key" and key.get("key_usage") != MAC:
            continue
        users = {
            (principal, action)
            for statement in key.statements()
            for action in listed(statement["Action"])
            if action.startswith(("kms:GenerateMac", "kms:VerifyMac", "kms:*", "kms:Generate*"))
            for principal in principals(statement, "AWS")
        }
        user = platform.role_arn("patient-api", key.region)
        if users != {(user, "kms:GenerateMac")}:
            yield key.address, f"only {user} may use it, for kms:GenerateMac"
