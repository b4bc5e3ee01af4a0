"""The stream of a region's replica of the records table, read by the function that reconciles both regions' writes."""

import json

from cdktn import TerraformStack
from cdktn_provider_aws.dynamodb_table import DynamodbTable
from cdktn_provider_aws.lambda_event_source_mapping import (
    LambdaEventSourceMapping,
    LambdaEventSourceMappingDestinationConfig,
    LambdaEventSourceMappingDestinationConfigOnFailure,
    LambdaEventSourceMappingFilterCriteria,
    LambdaEventSourceMappingFilterCriteriaFilter,
)

from healthcare_dr.infra.site import Site
from healthcare_dr.infra.workers import RECONCILIATION

BATCH_SIZE = 100
# Batches of one shard at a time. Reconciliation gives the same result in any order.
BATCHES_AT_ONCE = 4
# An outage of minutes must lose nothing; a record that can never be read must not hold up the others for a day.
MAXIMUM_RETRIES = 100
MAXIMUM_RECORD_AGE_SECONDS = 3600
# Versions and heads; index items, documents that wait and conflicts are nothing to reconcile.
RECORD_ITEMS = json.dumps({"dynamodb": {"Keys": {"sk": {"S": ["head", {"prefix": "v#"}]}}}}, sort_keys=True)


def reconciled(stack: TerraformStack, sites: tuple[Site, Site], records: DynamodbTable) -> None:
    """Let each region reconcile what its replica of `records` receives, from the first record on."""
    owner, other = sites
    # The table's own stream is its owner's; a replica's is known to its block only.
    replica = f"${{one({records.fqn}.replica[*].stream_arn)}}"
    for site, stream_arn in ((owner, records.stream_arn), (other, replica)):
        LambdaEventSourceMapping(
            stack,
            f"reconciliation_stream_{site.role}",
            event_source_arn=stream_arn,
            function_name=site.function_arn(RECONCILIATION.name),
            starting_position="TRIM_HORIZON",
            batch_size=BATCH_SIZE,
            parallelization_factor=BATCHES_AT_ONCE,
            bisect_batch_on_function_error=True,
            function_response_types=["ReportBatchItemFailures"],
            maximum_retry_attempts=MAXIMUM_RETRIES,
            maximum_record_age_in_seconds=MAXIMUM_RECORD_AGE_SECONDS,
            destination_config=LambdaEventSourceMappingDestinationConfig(
                on_failure=LambdaEventSourceMappingDestinationConfigOnFailure(destination_arn=site.topic_arn)
            ),
            filter_criteria=LambdaEventSourceMappingFilterCriteria(
                filter=[LambdaEventSourceMappingFilterCriteriaFilter(pattern=RECORD_ITEMS)]
            ),
            provider=site.provider,
        )
