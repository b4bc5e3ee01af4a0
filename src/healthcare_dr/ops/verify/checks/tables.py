"""Checks of the global tables: replicas, recovery, encryption, streams, and equality of both regions."""

import json
from collections.abc import Iterator
from typing import Any

from healthcare_dr.ops.verify.check import REDEPLOY, each_region, platform
from healthcare_dr.ops.verify.live_target import Answer, LiveTarget

MISSING = ("ResourceNotFoundException", "TableNotFoundException")


@each_region(
    "table-active", "R1.1",
    expects="Both tables are active in the region, with an active replica in the other",
    why="A region without its replica serves and receives no records.",
    fix="wait while a table is created or updated, then `hdr deploy`; a replica may have no permission to use its key",
    gates_restore=True,
)  # fmt: skip
def active(live: LiveTarget, region: str) -> Iterator[str]:
    peer = live.peer(region)
    for name in _names(live):
        found = live.request_optional("dynamodb", region, "describe_table", MISSING, TableName=name)
        if found is None:
            yield f"{name} does not exist"
            continue
        table = found["Table"]
        if table["TableStatus"] != "ACTIVE":
            yield f"{name} is {table['TableStatus']}"
        replicas = {replica["RegionName"]: replica.get("ReplicaStatus") for replica in table.get("Replicas", ())}
        if replicas.get(peer, "missing") != "ACTIVE":
            yield f"{name}: its replica in {peer} is {replicas.get(peer, 'missing')}"


@each_region(
    "table-recovery", "R1.4", "C6", "trap 4",
    expects="Point-in-time recovery is on for both tables, per replica",
    why="A deletion is replicated like a write; only a restore to a point in time undoes it, and each replica has its "
    "own setting.",
    fix="`aws dynamodb update-continuous-backups --table-name TABLE --region REGION "
    "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`, or `hdr deploy`",
    gates_restore=True,
)  # fmt: skip
def recovery(live: LiveTarget, region: str) -> Iterator[str]:
    for name in _names(live):
        found = live.request("dynamodb", region, "describe_continuous_backups", TableName=name)
        backups = found["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription") or {}
        if backups.get("PointInTimeRecoveryStatus") != "ENABLED":
            yield f"{name} has no point-in-time recovery"


@each_region(
    "table-key", "R3.3", "C4", "trap 5",
    expects="Both tables are encrypted with their own region's key",
    why="A replica under another region's key is lost together with that region.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def key(live: LiveTarget, region: str) -> Iterator[str]:
    wanted = live.deployed.output(region, "key_arn")
    for name in _names(live):
        sse = _table(live, region, name).get("SSEDescription") or {}
        if sse.get("Status") not in ("ENABLED", "UPDATING") or sse.get("KMSMasterKeyArn") != wanted:
            yield f"{name} is not encrypted with {wanted}, but with {sse.get('KMSMasterKeyArn', 'a key of AWS')}"


@each_region(
    "table-stream", "R1.4", "trap 1",
    expects="Both tables stream new and old images",
    why="Conflicts and tampering are found in the streams: without them, last-writer-wins silently loses writes.",
    fix=f"{REDEPLOY}; changes made meanwhile are not examined",
    gates_restore=True,
)  # fmt: skip
def stream(live: LiveTarget, region: str) -> Iterator[str]:
    for name in _names(live):
        found = _table(live, region, name).get("StreamSpecification") or {}
        streamed = found.get("StreamViewType", "nothing") if found.get("StreamEnabled") else "nothing"
        if streamed != "NEW_AND_OLD_IMAGES":
            yield f"{name} streams {streamed}"


@platform(
    "tables-equal", "R1.1", "R1.2", "trap 33",
    expects="Keys, indexes, billing, expiry and deletion protection of both tables are the same in both regions",
    why="The surviving region has to serve the same requests under the load of both, and must not expire items sooner.",
    fix=REDEPLOY,
    gates_restore=True,
)  # fmt: skip
def equal(live: LiveTarget, region: str) -> Iterator[str]:
    peer = live.peer(region)
    for name in _names(live):
        here, there = _configuration(live, region, name), _configuration(live, peer, name)
        for what in here:
            if here[what] != there[what]:
                yield f"{name}: {what} is {_text(here[what])} in {region}, but {_text(there[what])} in {peer}"


def _configuration(live: LiveTarget, region: str, name: str) -> dict[str, Any]:
    table = _table(live, region, name)
    expiry = live.request("dynamodb", region, "describe_time_to_live", TableName=name)["TimeToLiveDescription"]
    indexes = {
        index["IndexName"]: [index["KeySchema"], index["Projection"].get("ProjectionType"), index.get("IndexStatus")]
        for index in table.get("GlobalSecondaryIndexes") or ()
    }
    billing = (table.get("BillingModeSummary") or {}).get("BillingMode", "PROVISIONED")
    capacity = table.get("ProvisionedThroughput") or {}
    return {
        "the key": table["KeySchema"],
        "the set of indexes": indexes,
        "billing": billing,
        "the write capacity": capacity.get("WriteCapacityUnits", 0),
        "expiry": [expiry.get("TimeToLiveStatus"), expiry.get("AttributeName")],
        "deletion protection": bool(table.get("DeletionProtectionEnabled")),
        "the table class": (table.get("TableClassSummary") or {}).get("TableClass", "STANDARD"),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _table(live: LiveTarget, region: str, name: str) -> Answer:
    table: Answer = live.request("dynamodb", region, "describe_table", TableName=name)["Table"]
    return table


def _names(live: LiveTarget) -> tuple[str, str]:
    return live.names.records_table, live.names.audit_table
