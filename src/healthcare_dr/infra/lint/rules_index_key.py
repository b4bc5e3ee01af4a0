"""Rules on the key from which both regions derive the same secrets."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.rules_keys import MAC
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource, listed, principals
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
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
    why="Whoever may use the key can tell from the index who has which name; nobody but the API needs to.",
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
            yield key.address, f"{user}, and nobody else, may use it, for kms:GenerateMac"


def _found_and_ended(platform: Platform, key: Resource) -> Problems:
    names = Names(platform.settings.environment_suffix)
    aliases = [(alias.region, alias.get("name")) for alias in platform.of_parent(key, "target_key_id", "aws_kms_alias")]
    if aliases != [(key.region, names.index_key_alias())]:
        yield key.address, f"must have the alias {names.index_key_alias()}, by which the functions find it"
    if key.get("deletion_window_in_days") != 7:
        yield key.address, "deletion_window_in_days must be 7"
