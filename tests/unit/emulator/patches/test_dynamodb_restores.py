"""Tests of restoring a table to a point in time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from unit.emulator.replicas import EAST, WEST, get, global_table, item, put

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]


def recoverable(client: Clients, region: str) -> str:
    """A table with point-in-time recovery in a region."""
    table = global_table(client)
    client("dynamodb", region).update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    return table


def a_moment() -> datetime:
    """Return a whole second that separates earlier changes from later ones."""
    moment = int(time.time()) + 2
    time.sleep(moment + 0.1 - time.time())
    return datetime.fromtimestamp(moment, UTC)


def restored(client: Clients, region: str, table: str, moment: datetime) -> str:
    name = uuid4().hex
    client("dynamodb", region).restore_table_to_point_in_time(
        SourceTableName=table, TargetTableName=name, RestoreDateTime=moment
    )
    return name


@pytest.mark.parametrize("region", [EAST, WEST])
def test_restore_returns_items_at_the_restore_time(
    holds_only_when_patched: Callable[[Probe], None], region: str
) -> None:
    def probe(client: Clients) -> bool:
        table, db = recoverable(client, region), client("dynamodb", region)
        put(client, region, table, "changed", value="right", shard="s", updated="1")
        put(client, region, table, "removed", value="right", shard="s", updated="2")
        moment = a_moment()
        put(client, region, table, "changed", value="wrong", shard="s", updated="3")
        put(client, region, table, "changed", value="worse", shard="s", updated="3")
        put(client, region, table, "added", value="wrong", shard="s", updated="4")
        db.delete_item(TableName=table, Key=item("removed"))
        name = restored(client, region, table, moment)
        held = {sort: (get(client, region, name, sort) or {}).get("value") for sort in ("changed", "removed", "added")}
        listed = db.query(
            TableName=name,
            IndexName="by-update",
            KeyConditionExpression="#shard = :s",
            ExpressionAttributeNames={"#shard": "shard"},
            ExpressionAttributeValues={":s": {"S": "s"}},
        )["Items"]
        assert get(client, region, table, "changed") == {"value": "worse", "shard": "s", "updated": "3"}
        return held == {"changed": "right", "removed": "right", "added": None} and [
            entry["updated"]["S"] for entry in listed
        ] == ["1", "2"]

    holds_only_when_patched(probe)


def test_restore_time_before_table_creation_is_rejected(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        table = recoverable(client, EAST)
        try:
            restored(client, EAST, table, datetime(2020, 1, 1, tzinfo=UTC))
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == "InvalidRestoreTimeException")
        return False

    holds_only_when_patched(probe)


def test_table_without_point_in_time_recovery_cannot_be_restored(
    holds_only_when_patched: Callable[[Probe], None],
) -> None:
    def probe(client: Clients) -> bool:
        try:
            restored(client, EAST, global_table(client), datetime.now(UTC))
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == "PointInTimeRecoveryUnavailableException")
        return False

    holds_only_when_patched(probe)


def test_describe_reports_earliest_restorable_time(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        table = recoverable(client, EAST)
        time.sleep(2.1)
        described = client("dynamodb").describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        recovery = described["PointInTimeRecoveryDescription"]
        return bool(recovery["EarliestRestorableDateTime"] < recovery["LatestRestorableDateTime"])

    holds_only_when_patched(probe)


@pytest.mark.requirement("C4")
def test_restored_table_uses_the_requested_key(holds_only_when_patched: Callable[[Probe], None]) -> None:
    def probe(client: Clients) -> bool:
        db, key = client("dynamodb"), client("kms").create_key()["KeyMetadata"]["Arn"]
        name = uuid4().hex
        answer = db.restore_table_to_point_in_time(
            SourceTableName=recoverable(client, EAST),
            TargetTableName=name,
            UseLatestRestorableTime=True,
            SSESpecificationOverride={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
        )
        described = (answer["TableDescription"], db.describe_table(TableName=name)["Table"])
        return all(table.get("SSEDescription", {}).get("KMSMasterKeyArn") == key for table in described)

    holds_only_when_patched(probe)
