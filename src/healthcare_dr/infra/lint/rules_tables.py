"""Rules on the global tables, and on the readers of their streams."""

import json
from collections.abc import Callable, Iterator

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Resource, rule
from healthcare_dr.naming import GLOBAL, Names
from patient_api.contract.functions import RECONCILE
from patient_api.contract.keys import HEARTBEAT_PARTITION

Problems = Iterator[tuple[str, str]]


@rule(
    "table-single-owner", "R1.1", "R1.2", "R1.3", "trap 8",
    why="Two states that each own a table delete each other's replica.",
)  # fmt: skip
def single_owner(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    tables = list(platform.resources("aws_dynamodb_table"))
    for wanted in (names.records_table, names.audit_table):
        owners = [table.stack for table in tables if table.get("name") == wanted]
        if owners != [GLOBAL]:
            yield wanted, f"must be declared once, in {GLOBAL}; it is declared in {', '.join(owners) or 'no stack'}"
    for replica in platform.resources("aws_dynamodb_table_replica", "aws_dynamodb_global_table"):
        yield replica.address, "a replica outside its table's own resource has a second owner"


@rule(
    "table-replica", "R1.1", "C3",
    why="Without a replica in the other region there is nothing to fail over to.",
)  # fmt: skip
def replicated(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        regions = [replica.get("region_name") for replica in table.blocks("replica")]
        if regions != [platform.other(table.region)]:
            yield table.address, f"must have one replica in {platform.other(table.region)}; it has {regions}"


@rule(
    "table-recovery", "R1.4", "trap 4", "C6",
    why="Point-in-time recovery is set for each replica; the table's own setting does not reach them.",
)  # fmt: skip
def point_in_time(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("point_in_time_recovery", "enabled") is not True:
            yield table.address, "point_in_time_recovery is not enabled"
        for replica in table.blocks("replica"):
            if replica.get("point_in_time_recovery") is not True:
                yield table.address, f"the replica in {replica.get('region_name')} lacks point_in_time_recovery"


@rule("table-stream", "R1.4", why="Conflicting writes of both regions are found in the stream's old and new images.")
def streams(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("stream_enabled") is not True or table.get("stream_view_type") != "NEW_AND_OLD_IMAGES":
            yield table.address, "stream_enabled with NEW_AND_OLD_IMAGES is needed"


@rule(
    "table-keys", "C4", "R5.2", "trap 5",
    why="A replica is encrypted with a key of its own region; no other region's key can be used there.",
)  # fmt: skip
def keys(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        wanted = [(table.region, table.get("server_side_encryption", "kms_key_arn"))]
        wanted += [(str(replica.get("region_name")), replica.get("kms_key_arn")) for replica in table.blocks("replica")]
        for region, expression in wanted:
            key = platform.referred(table.stack, expression)
            if key is None or key.region != region:
                yield table.address, f"must be encrypted with the platform's key of {region} there"


@rule("table-replica-tags", "R9.1", "trap 6", why="Tags reach a replica only when they are propagated.")
def propagated_tags(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        for replica in table.blocks("replica"):
            if replica.get("propagate_tags") is not True:
                yield table.address, f"the replica in {replica.get('region_name')} lacks propagate_tags"


@rule(
    "table-sharded-index", "trap 9",
    why="Every write of a tenant lands at the newest end of an index by time: one partition would throttle them all.",
)  # fmt: skip
def sharded(platform: Platform) -> Problems:
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("hash_key") != "pk" or table.get("range_key") != "sk":
            yield table.address, "must have the composite keys pk and sk, which carry tenant and shard"
        for index in table.blocks("global_secondary_index"):
            if index.get("hash_key") not in ("update_shard", "record"):
                yield table.address, f"index {index.get('name')} is keyed by {index.get('hash_key')}, not by a shard"


# What a reader of a stream has to set; by Lambda's defaults one bad record holds up the good ones of its batch.
# -1 is as long as the stream keeps a record.
SETTINGS = {
    "starting_position": "TRIM_HORIZON", "batch_size": 100, "bisect_batch_on_function_error": True,
    "function_response_types": ["ReportBatchItemFailures"],
    "maximum_retry_attempts": -1, "maximum_record_age_in_seconds": -1,
}  # fmt: skip
VERSIONS = {"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "v#"}]}}}}
CHANGES = {"eventName": ["MODIFY", "REMOVE"]}


def heartbeat_of(region: str) -> object:
    """Return the filter pattern that matches a region's heartbeats only."""
    return {"dynamodb": {"Keys": {"pk": {"S": [HEARTBEAT_PARTITION]}, "sk": {"S": [region]}}}}


@rule(
    "stream-reconciled", "C3", "R1.4", "trap 1", "trap 7",
    why="Only the stream reports concurrent writes and arrivals of heartbeats; records that its reader drops are lost.",
)  # fmt: skip
def stream_reconciled(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    yield from _read(platform, names.records_table, lambda region: [VERSIONS, heartbeat_of(platform.other(region))])


@rule(
    "tampering-watched", "C6", "R1.3",
    why="PutItem can replace an item, and IAM cannot distinguish that: only the stream reports a changed audit item.",
)  # fmt: skip
def tampering_watched(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    yield from _read(platform, names.audit_table, lambda _: [CHANGES])


@rule("stream-readers", "R1.4", why="DynamoDB advises one reader for a stream of a global table: more are throttled.")
def readers(platform: Platform) -> Problems:
    for region in platform.settings.regions:
        taken = [mapping.get("event_source_arn") for mapping in _mappings(platform, region)]
        if len(taken) != 2 or len(set(taken)) != 2:
            yield region, f"each of the two streams must have one reader; they read {taken}"


def _read(platform: Platform, name: str, patterns: Callable[[str], list[object]]) -> Problems:
    """Each region's replica of the table is read, with its region's filters, in the way that loses nothing."""
    names = Names(platform.settings.environment_suffix)
    table = next((table for table in platform.resources("aws_dynamodb_table") if table.get("name") == name), None)
    for region in platform.settings.regions:
        stream = _stream(table, region) if table else None
        found = [mapping for mapping in _mappings(platform, region) if mapping.get("event_source_arn") == stream]
        if len(found) != 1:
            yield region, f"one mapping must read the stream of {name}"
        for mapping in found:
            if mapping.get("function_name") != f"arn:aws:lambda:{region}:{ACCOUNT}:function:{names.of(RECONCILE.name)}":
                yield mapping.address, f"must call {names.of(RECONCILE.name)} in {region}"
            for setting, value in SETTINGS.items():
                if mapping.get(setting) != value:
                    yield mapping.address, f"{setting} must be {value}"
            wanted = patterns(region)
            if [json.loads(block["pattern"]) for block in mapping.blocks("filter_criteria", "filter")] != wanted:
                yield mapping.address, f"must pass on {' or '.join(map(json.dumps, wanted))}, and nothing else"
            told = mapping.get("destination_config", "on_failure", "destination_arn")
            if told != f"arn:aws:sns:{region}:{ACCOUNT}:{names.of('operations')}":
                yield mapping.address, "must send discarded records to the region's topic"


def _mappings(platform: Platform, region: str) -> list[Resource]:
    return list(platform.resources("aws_lambda_event_source_mapping", region=region))


def _stream(table: Resource, region: str) -> str:
    replica = f"${{one({table.local_address}.replica[*].stream_arn)}}"
    return table.expression("stream_arn") if region == table.region else replica
