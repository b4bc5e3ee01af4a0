"""The streams of a region's replicas of both tables, read by the function that reconciles and watches."""

import json
from collections.abc import Sequence

from cdktn import TerraformStack
from cdktn_provider_aws.dynamodb_table import DynamodbTable
from cdktn_provider_aws.lambda_event_source_mapping import (
    LambdaEventSourceMapping,
    LambdaEventSourceMappingDestinationConfig,
    LambdaEventSourceMappingDestinationConfigOnFailure,
    LambdaEventSourceMappingFilterCriteria,
    LambdaEventSourceMappingFilterCriteriaFilter,
)

from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import RECONCILE
from patient_api.contract.keys import HEARTBEAT_PARTITION

BATCH_SIZE = 100
# Batches of one shard at a time. Reconciliation gives the same result in any order.
BATCHES_AT_ONCE = 4
# As long as the stream keeps a record, 24 hours: of a shard that is held up the alarm on its age tells, but of a
# record that was given up nothing would ever tell what it was.
FOR_EVER = -1
# Heads, index items, documents that wait and conflicts are nothing to reconcile.
VERSIONS = {"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "v#"}]}}}}
# An audit item is written once. Only who goes around the API, or a fault of it, can do anything else to it.
CHANGES = {"eventName": ["MODIFY", "REMOVE"]}


def reconciled(stack: TerraformStack, sites: tuple[RegionContext, RegionContext], records: DynamodbTable) -> None:
    """Let each region reconcile what its replica of `records` receives, from the first record on, and measure by the
    peer's heartbeats how late that is."""
    for site, stream_arn in _streams(sites, records):
        _read(stack, site, stream_arn, "reconciliation_stream", [VERSIONS, _heartbeat_of(site.peer_region)])


def watched(stack: TerraformStack, sites: tuple[RegionContext, RegionContext], audit: DynamodbTable) -> None:
    """Report items of each region's replica of `audit` that were replaced or removed."""
    for site, stream_arn in _streams(sites, audit):
        _read(stack, site, stream_arn, "tampering_stream", [CHANGES])


def _heartbeat_of(region: str) -> object:
    return {"dynamodb": {"Keys": {"pk": {"S": [HEARTBEAT_PARTITION]}, "sk": {"S": [region]}}}}


def _streams(sites: tuple[RegionContext, RegionContext], table: DynamodbTable) -> Sequence[tuple[RegionContext, str]]:
    """The table's own stream is its owner's; a replica's is known to its block only."""
    owner, other = sites
    return (owner, table.stream_arn), (other, f"${{one({table.fqn}.replica[*].stream_arn)}}")


def _read(
    stack: TerraformStack, site: RegionContext, stream_arn: str, identifier: str, patterns: Sequence[object]
) -> None:
    """Create an event source mapping that reads records matching one of `patterns`."""
    LambdaEventSourceMapping(
        stack,
        f"{identifier}_{site.role}",
        event_source_arn=stream_arn,
        function_name=site.function_arn(RECONCILE.name),
        starting_position="TRIM_HORIZON",
        batch_size=BATCH_SIZE,
        parallelization_factor=BATCHES_AT_ONCE,
        bisect_batch_on_function_error=True,
        function_response_types=["ReportBatchItemFailures"],
        maximum_retry_attempts=FOR_EVER,
        maximum_record_age_in_seconds=FOR_EVER,
        # Told of what an operator lets go who sets a limit to free a shard.
        destination_config=LambdaEventSourceMappingDestinationConfig(
            on_failure=LambdaEventSourceMappingDestinationConfigOnFailure(destination_arn=site.topic_arn)
        ),
        filter_criteria=LambdaEventSourceMappingFilterCriteria(
            filter=[
                LambdaEventSourceMappingFilterCriteriaFilter(pattern=json.dumps(pattern, sort_keys=True))
                for pattern in patterns
            ]
        ),
        provider=site.provider,
    )
