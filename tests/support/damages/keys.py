"""Damages to the keys that all data are under."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from support.damages.registry import EAST, WEST, damage, key
from support.platform import Deployed


@damage("key-enabled", WEST, "is Disabled")
def a_disabled_key(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("kms", WEST)
    client.disable_key(KeyId=key(deployed, WEST))
    try:
        yield
    finally:
        client.enable_key(KeyId=key(deployed, WEST))


@damage("key-rotation", EAST, "is not rotated")
def a_key_that_is_not_rotated(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("kms")
    client.disable_key_rotation(KeyId=key(deployed, EAST))
    try:
        yield
    finally:
        client.enable_key_rotation(KeyId=key(deployed, EAST))


@contextmanager
def key_policy(deployed: Deployed, region: str, without: str) -> Iterator[None]:
    client, of = deployed.client("kms", region), {"KeyId": key(deployed, region), "PolicyName": "default"}
    before = client.get_key_policy(**of)["Policy"]
    document = json.loads(before)
    kept = [statement for statement in document["Statement"] if statement["Sid"] != without]
    assert len(kept) == len(document["Statement"]) - 1
    client.put_key_policy(**of, Policy=json.dumps(document | {"Statement": kept}))
    try:
        yield
    finally:
        client.put_key_policy(**of, Policy=before)


@damage("key-policy", EAST, "does not allow CloudWatch")
def alarms_that_cannot_be_encrypted(deployed: Deployed) -> Iterator[None]:
    with key_policy(deployed, EAST, "Alarms"):
        yield


@damage("key-policy", WEST, "the statement DocumentReplication is missing")
def a_key_that_replication_may_not_use(deployed: Deployed) -> Iterator[None]:
    with key_policy(deployed, WEST, "DocumentReplication"):
        yield


@damage("index-key", WEST, "is Disabled")
def a_disabled_index_key(deployed: Deployed) -> Iterator[None]:
    client = deployed.client("kms", WEST)
    shared = client.describe_key(KeyId=deployed.names.index_key_alias())["KeyMetadata"]["Arn"]
    client.disable_key(KeyId=shared)
    try:
        yield
    finally:
        client.enable_key(KeyId=shared)
