"""Checks of the keys: state, rotation and policies."""

from collections.abc import Iterator
from typing import Any

from healthcare_dr.ops.verify.check import REDEPLOY, each_region
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.policies import allows, differences

ENABLE = "`aws kms enable-key --key-id KEY`; for a pending deletion first `aws kms cancel-key-deletion --key-id KEY`"
PUBLISH = ("kms:Decrypt", "kms:GenerateDataKey")
MISSING = ("NotFoundException",)


@each_region(
    "key-enabled", "R5.1", "C4",
    expects="The region's key is enabled, and its alias refers to it",
    why="Without its key a region cannot read or write records and documents.",
    fix=ENABLE,
    gates_restore=True,
)  # fmt: skip
def enabled(live: LiveTarget, region: str) -> Iterator[str]:
    yield from _usable(live, region, live.names.key_alias(), live.deployed.output(region, "key_arn"))


@each_region(
    "key-rotation", "R5.1",
    expects="The region's key is rotated every year",
    why="Auditors expect keys of equal age and rotation in both regions.",
    fix="`aws kms enable-key-rotation --key-id KEY`, or `hdr deploy`",
)  # fmt: skip
def rotation(live: LiveTarget, region: str) -> Iterator[str]:
    key = live.deployed.output(region, "key_arn")
    if live.request("kms", region, "get_key_rotation_status", KeyId=key).get("KeyRotationEnabled") is not True:
        yield f"{key} is not rotated"


@each_region(
    "key-policy", "R5.2", "C6", "trap 12", "trap 17", "trap 18",
    expects="The key's policy allows alarms to publish to the encrypted topic, and is the deployed one",
    why="CloudWatch silently drops a message to an encrypted topic if the key denies it; the policy does not apply "
    "to a role that was deleted and created again.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def policy(live: LiveTarget, region: str) -> Iterator[str]:
    keys = live.deployed.of("aws_kms_key", region) + live.deployed.of("aws_kms_replica_key", region)
    for deployed in keys:
        found = live.request_first_page(
            "kms", region, "get_key_policy", KeyId=deployed["key_id"], PolicyName="default"
        )["Policy"]
        encrypts = deployed["arn"] == live.deployed.output(region, "key_arn")
        if encrypts and not allows(found, "cloudwatch.amazonaws.com", PUBLISH):
            yield f"the policy of {deployed['arn']} does not allow CloudWatch: alarms reach no operator"
            continue
        yield from (f"policy of {deployed['arn']}: {text}" for text in differences(deployed["policy"], found))


@each_region(
    "index-key", "R5.1", "R5.2",
    expects="The multi-Region key for search and cursors is enabled in the region, and the same in both regions",
    why="With another key the surviving region finds no patient by the index, and rejects every cursor.",
    fix=f"{ENABLE}; a missing replica: `hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def index_key(live: LiveTarget, region: str) -> Iterator[str]:
    primary = live.deployed.of("aws_kms_key", live.settings.primary_region)
    shared = [key["key_id"] for key in primary if key["multi_region"]]
    if not shared:
        yield "no multi-Region key was deployed"
        return
    yield from _usable(live, region, live.names.index_key_alias(), live.arn("kms", region, f"key/{shared[0]}"))


def _usable(live: LiveTarget, region: str, alias: str, wanted: str) -> Iterator[str]:
    found = live.request_optional("kms", region, "describe_key", MISSING, KeyId=wanted)
    if found is None:
        yield f"{wanted} does not exist"
        return
    key: dict[str, Any] = found["KeyMetadata"]
    if key.get("KeyState") != "Enabled":
        yield f"{wanted} is {key.get('KeyState')}"
        return
    named = live.request_optional("kms", region, "describe_key", MISSING, KeyId=alias)
    if named is None or named["KeyMetadata"]["Arn"] != wanted:
        yield f"{alias} does not refer to {wanted}, but to {named['KeyMetadata']['Arn'] if named else 'nothing'}"
