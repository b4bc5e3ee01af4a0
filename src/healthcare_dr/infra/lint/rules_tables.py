"""Rules on the global tables, and on the readers of their streams."""

import json
from collections.abc import Callable

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, Resource, rule
from healthcare_dr.naming import GLOBAL
from patient_api.contract.functions import RECONCILE
from patient_api.contract.keys import HEARTBEAT_PARTITION

MAPPING = "aws_lambda_event_source_mapping"


@rule("R1.1", "R1.2", "R1.3", "trap 8")
def table_single_owner(platform: Platform) -> Problems:
    """Two states that each own a table delete each other's replica."""
    tables = list(platform.resources("aws_dynamodb_table"))
    for name in (platform.names.records_table, platform.names.audit_table):
        owners = [table.stack for table in tables if table.get("name") == name]
        if owners != [GLOBAL]:
            yield name, f"must be declared once, in {GLOBAL}; it is declared in {', '.join(owners) or 'no stack'}"
    for replica in platform.resources("aws_dynamodb_table_replica", "aws_dynamodb_global_table"):
        yield replica.address, "a replica outside its table's own resource has a second owner"


@rule("R1.1", "C3")
def table_replica(platform: Platform) -> Problems:
    """Without a replica in the other region, that region has no data after a failover."""
    for table in platform.resources("aws_dynamodb_table"):
        regions = [replica.get("region_name") for replica in table.blocks("replica")]
        if regions != [platform.other(table.region)]:
            yield table.address, f"must have one replica in {platform.other(table.region)}; it has {regions}"


@rule("R1.4", "trap 4", "C6")
def table_recovery(platform: Platform) -> Problems:
    """Point-in-time recovery is set for each replica; the table's own setting does not reach them."""
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("point_in_time_recovery", "enabled") is not True:
            yield table.address, "point_in_time_recovery is not enabled"
        for replica in table.blocks("replica"):
            if replica.get("point_in_time_recovery") is not True:
                yield table.address, f"the replica in {replica.get('region_name')} lacks point_in_time_recovery"


@rule("R1.4")
def table_stream(platform: Platform) -> Problems:
    """Conflicting writes of both regions are found in the stream's old and new images."""
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("stream_enabled") is not True or table.get("stream_view_type") != "NEW_AND_OLD_IMAGES":
            yield table.address, "stream_enabled with NEW_AND_OLD_IMAGES is needed"


@rule("C4", "R5.2", "trap 5")
def table_keys(platform: Platform) -> Problems:
    """A replica is encrypted with a key of its own region; no other region's key can be used there."""
    for table in platform.resources("aws_dynamodb_table"):
        keys = [(table.region, table.get("server_side_encryption", "kms_key_arn"))]
        keys += [(str(replica.get("region_name")), replica.get("kms_key_arn")) for replica in table.blocks("replica")]
        for region, expression in keys:
            if not platform.is_key_of(region, table.stack, expression):
                yield table.address, f"must be encrypted with the platform's key of {region} there"


@rule("R9.1", "trap 6")
def table_replica_tags(platform: Platform) -> Problems:
    """Tags reach a replica only when they are propagated."""
    for table in platform.resources("aws_dynamodb_table"):
        for replica in table.blocks("replica"):
            if replica.get("propagate_tags") is not True:
                yield table.address, f"the replica in {replica.get('region_name')} lacks propagate_tags"


@rule("trap 9")
def table_sharded_index(platform: Platform) -> Problems:
    """Every write of a tenant is at the newest end of an index by time: one partition would throttle them all."""
    for table in platform.resources("aws_dynamodb_table"):
        if table.get("hash_key") != "pk" or table.get("range_key") != "sk":
            yield table.address, "must have the composite keys pk and sk, which contain tenant and shard"
        for index in table.blocks("global_secondary_index"):
            if index.get("hash_key") not in ("update_shard", "record"):
                yield table.address, f"index {index.get('name')} is keyed by {index.get('hash_key')}, not by a shard"


# With Lambda's defaults an invalid record delays the other records of its batch. -1 is the retention of the stream.
SETTINGS = {
    "starting_position": "TRIM_HORIZON", "batch_size": 100, "bisect_batch_on_function_error": True,
    "function_response_types": ["ReportBatchItemFailures"],
    "maximum_retry_attempts": -1, "maximum_record_age_in_seconds": -1,
}  # fmt: skip
VERSIONS = {"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "v#"}, {"prefix": "l#"}]}}}}
CHANGES = {"eventName": ["MODIFY", "REMOVE"]}


@rule("C3", "R1.4", "trap 1", "trap 7")
def records_stream(platform: Platform) -> Problems:
    """Only the stream reports concurrent writes and arrivals of heartbeats; records that its reader drops are lost."""

    def patterns(region: str) -> list[object]:
        heartbeats = {"pk": {"S": [HEARTBEAT_PARTITION]}, "sk": {"S": [platform.other(region)]}}
        return [VERSIONS, {"dynamodb": {"Keys": heartbeats}}]

    yield from _read(platform, platform.names.records_table, patterns)


@rule("C6", "R1.3")
def audit_stream(platform: Platform) -> Problems:
    """PutItem can replace an item, and IAM cannot distinguish that: only the stream reports a changed audit item."""
    yield from _read(platform, platform.names.audit_table, lambda _: [CHANGES])


@rule("R1.4")
def stream_readers(platform: Platform) -> Problems:
    """DynamoDB advises one reader for a stream of a global table: more are throttled."""
    for region in platform.settings.regions:
        streams = [mapping.get("event_source_arn") for mapping in platform.resources(MAPPING, region=region)]
        if len(streams) != 2 or len(set(streams)) != 2:
            yield region, f"each of the two streams must have one reader; they read {streams}"


def _read(platform: Platform, name: str, patterns: Callable[[str], list[object]]) -> Problems:
    """Require that each region's replica of a table is read with the patterns of the region, without losing records."""
    function = platform.names.of(RECONCILE.name)
    table = next((table for table in platform.resources("aws_dynamodb_table") if table.get("name") == name), None)
    for region in platform.settings.regions:
        stream = _stream(table, region) if table else None
        mappings = platform.resources(MAPPING, region=region)
        found = [mapping for mapping in mappings if mapping.get("event_source_arn") == stream]
        if len(found) != 1:
            yield region, f"one mapping must read the stream of {name}"
        for mapping in found:
            if mapping.get("function_name") != f"arn:aws:lambda:{region}:{ACCOUNT}:function:{function}":
                yield mapping.address, f"must call {function} in {region}"
            for setting, value in SETTINGS.items():
                if mapping.get(setting) != value:
                    yield mapping.address, f"{setting} must be {value}"
            expected = patterns(region)
            if [json.loads(block["pattern"]) for block in mapping.blocks("filter_criteria", "filter")] != expected:
                yield mapping.address, f"must pass on {' or '.join(map(json.dumps, expected))} only"
            destination = mapping.get("destination_config", "on_failure", "destination_arn")
            if destination != platform.topic_arn(region):
                yield mapping.address, "must send discarded records to the region's topic"


def _stream(table: Resource, region: str) -> str:
    replica = f"${{one({table.local_address}.replica[*].stream_arn)}}"
    return table.expression("stream_arn") if region == table.region else replica
