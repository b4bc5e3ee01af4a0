"""Rules on who reads the streams of the tables, what they pass on and how long a record is tried."""

import json
from collections.abc import Callable, Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
READER = "reconciliation"
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
    """What a region's heartbeats match, and nothing else."""
    return {"dynamodb": {"Keys": {"pk": {"S": ["$platform#heartbeat"]}, "sk": {"S": [region]}}}}


@rule(
    "stream-reconciled", "C3", "R1.4", "trap 1", "trap 7",
    why="Nobody but the stream tells of concurrent writes, and of when heartbeats came; what its reader drops is lost.",
)  # fmt: skip
def stream_reconciled(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    yield from _read(platform, names.records_table, lambda region: [VERSIONS, heartbeat_of(platform.other(region))])


@rule(
    "tampering-watched", "C6", "R1.3",
    why="PutItem can replace an item and IAM cannot tell: that an audit item was changed only its stream tells.",
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
            if mapping.get("function_name") != f"arn:aws:lambda:{region}:{ACCOUNT}:function:{names.of(READER)}":
                yield mapping.address, f"must call {names.of(READER)} in {region}"
            for setting, value in SETTINGS.items():
                if mapping.get(setting) != value:
                    yield mapping.address, f"{setting} must be {value}"
            wanted = patterns(region)
            if [json.loads(block["pattern"]) for block in mapping.blocks("filter_criteria", "filter")] != wanted:
                yield mapping.address, f"must pass on {' or '.join(map(json.dumps, wanted))}, and nothing else"
            told = mapping.get("destination_config", "on_failure", "destination_arn")
            if told != f"arn:aws:sns:{region}:{ACCOUNT}:{names.of('operations')}":
                yield mapping.address, "must tell the region's topic of what it gave up"


def _mappings(platform: Platform, region: str) -> list[Resource]:
    return list(platform.resources("aws_lambda_event_source_mapping", region=region))


def _stream(table: Resource, region: str) -> str:
    replica = f"${{one({table.local_address}.replica[*].stream_arn)}}"
    return table.expression("stream_arn") if region == table.region else replica
