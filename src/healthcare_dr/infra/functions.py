"""The four Lambda functions of a region, their log groups, schedules, event sources and invoke permissions.

The bucket's notifications and the tables' streams are declared by the global stack, which finds the functions by their
names. Functions without clients are invoked without an alias, because a failed invocation is repeated and no caller
waits for it.

The sentinel's environment contains the address of its own region's API. It reads the peer's address from the peer's
heartbeat, so neither regional stack depends on the other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdktn import AssetType, ITerraformDependable, TerraformAsset, TerraformStack
from cdktn_provider_aws.cloudwatch_event_rule import CloudwatchEventRule
from cdktn_provider_aws.cloudwatch_event_target import CloudwatchEventTarget
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.dynamodb_table import DynamodbTable
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_event_source_mapping import (
    LambdaEventSourceMapping,
    LambdaEventSourceMappingDestinationConfig,
    LambdaEventSourceMappingDestinationConfigOnFailure,
    LambdaEventSourceMappingFilterCriteria,
    LambdaEventSourceMappingFilterCriteriaFilter,
)
from cdktn_provider_aws.lambda_function import LambdaFunction, LambdaFunctionEnvironment
from cdktn_provider_aws.lambda_function_event_invoke_config import (
    LambdaFunctionEventInvokeConfig,
    LambdaFunctionEventInvokeConfigDestinationConfig,
    LambdaFunctionEventInvokeConfigDestinationConfigOnFailure,
)
from cdktn_provider_aws.lambda_permission import LambdaPermission
from cdktn_provider_aws.sns_topic import SnsTopic

from healthcare_dr.infra.region_context import RegionContext
from patient_api.contract.functions import (
    CONFIRM_DOCUMENTS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    SWEEP_EVENT,
    Environment,
    FunctionSpec,
)
from patient_api.contract.keys import HEARTBEAT_PARTITION


@dataclass(frozen=True)
class FunctionCode:
    """The zip that Lambda runs, and its SHA-256 as Lambda states it (base64)."""

    path: Path
    sha256_base64: str


@dataclass(frozen=True)
class Asset:
    """The zip as it lies beside a stack's JSON: `filename` is relative to it."""

    filename: str
    sha256_base64: str


def _environment(
    site: RegionContext,
    key: KmsKey,
    *,
    cors: bool | None,
    issuer: str | None,
    tenant_claim: str | None,
    endpoint: str | None,
) -> dict[str, str]:
    return Environment(
        region=site.region,
        peer_region=site.peer_region,
        records_table=site.names.records_table,
        audit_table=site.names.audit_table,
        documents_bucket=site.documents_bucket,
        key_arn=key.arn,
        peer_documents_bucket=site.peer_documents_bucket,
        peer_role_arn=site.role_arn("documents-peer", site.peer_region),
        index_key=site.names.index_key_alias(),
        log_level=site.settings.log_level,
        cors=cors,
        issuer=issuer,
        tenant_claim=tenant_claim,
        endpoint=endpoint,
    ).variables()


def code_asset(stack: TerraformStack, code: FunctionCode) -> Asset:
    """The zip, put beside the stack once for all its functions."""
    placed = TerraformAsset(stack, "patient_api_package", path=str(code.path), type=AssetType.FILE)
    return Asset(filename=placed.path, sha256_base64=code.sha256_base64)


def lambda_function(
    stack: TerraformStack,
    site: RegionContext,
    spec: FunctionSpec,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
    cors: bool | None = None,
    issuer: str | None = None,
    tenant_claim: str | None = None,
    endpoint: str | None = None,
) -> LambdaFunction:
    """Create the function, and before it the log group that Lambda would else create, unencrypted (trap 38).

    `after` holds what else has to exist before the function is created. The optional arguments are those fields of the
    function's environment that not every function has.
    """
    name = site.names.of(spec.name)
    log_group = CloudwatchLogGroup(
        stack,
        f"{spec.identifier}_log_group",
        name=site.names.lambda_log_group(name),
        retention_in_days=site.settings.log_retention_days,
        kms_key_id=key.arn,
    )
    return LambdaFunction(
        stack,
        spec.identifier,
        function_name=name,
        description=spec.description,
        role=role.arn,
        runtime="python3.13",
        architectures=["arm64"],
        handler=spec.handler,
        filename=asset.filename,
        source_code_hash=asset.sha256_base64,
        memory_size=spec.memory_mb,
        timeout=spec.timeout_seconds,
        publish=spec.published,
        kms_key_arn=key.arn,
        environment=LambdaFunctionEnvironment(
            variables=_environment(site, key, cors=cors, issuer=issuer, tenant_claim=tenant_claim, endpoint=endpoint)
        ),
        tags={"DataClass": "phi"},
        depends_on=[log_group, *after],
    )


EVERY_MINUTE = "rate(1 minute)"


def every_minute(
    stack: TerraformStack,
    site: RegionContext,
    function: LambdaFunction,
    *,
    name: str,
    description: str,
    target_id: str,
    event: str,
) -> None:
    """Call the function every minute with an event, in JSON; only this rule may. `name` is the rule's."""
    rule = CloudwatchEventRule(
        stack,
        f"{name}_rule",
        name=site.names.of(name),
        description=description,
        schedule_expression=EVERY_MINUTE,
    )
    permission = LambdaPermission(
        stack,
        f"{name}_permission",
        statement_id=name,
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        principal="events.amazonaws.com",
        source_arn=rule.arn,
    )
    CloudwatchEventTarget(
        stack,
        f"{name}_target",
        rule=rule.name,
        target_id=target_id,
        arn=function.arn,
        input=event,
        depends_on=[permission],
    )


RETRIES = 2
# Older than this, a call is worth nothing any more: a sweep has done its work.
MAXIMUM_EVENT_AGE_SECONDS = 3600


def document_confirmation(
    stack: TerraformStack,
    site: RegionContext,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    topic: SnsTopic,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """Create the function, its bucket's invoke permission, its schedule and its failure destination."""
    function = lambda_function(stack, site, CONFIRM_DOCUMENTS, asset=asset, role=role, key=key, after=after)
    LambdaFunctionEventInvokeConfig(
        stack,
        "document_confirmation_calls",
        function_name=function.function_name,
        maximum_retry_attempts=RETRIES,
        maximum_event_age_in_seconds=MAXIMUM_EVENT_AGE_SECONDS,
        destination_config=LambdaFunctionEventInvokeConfigDestinationConfig(
            on_failure=LambdaFunctionEventInvokeConfigDestinationConfigOnFailure(destination=topic.arn)
        ),
    )
    LambdaPermission(
        stack,
        "documents_permission",
        statement_id="documents",
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        principal="s3.amazonaws.com",
        source_arn=site.documents_arn,
        # A bucket's ARN contains no account, and another account can take the name of a deleted bucket.
        source_account=site.account,
    )
    # For events that were lost, and for copies that are late.
    every_minute(
        stack,
        site,
        function,
        name="sweep",
        description="Looks after documents that are not final yet",
        target_id=CONFIRM_DOCUMENTS.name,
        event=SWEEP_EVENT,
    )
    return function


def reconciliation(
    stack: TerraformStack,
    site: RegionContext,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """The function that the streams of both tables call."""
    return lambda_function(stack, site, RECONCILE, asset=asset, role=role, key=key, after=after)


def sentinel(
    stack: TerraformStack,
    site: RegionContext,
    *,
    endpoint: str,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """The function and its schedule. `endpoint` is the base address of this region's own API (trap 23)."""
    function = lambda_function(stack, site, SENTINEL, asset=asset, role=role, key=key, after=after, endpoint=endpoint)
    # The next round makes up for one that failed; rounds of the past say nothing of the present.
    LambdaFunctionEventInvokeConfig(
        stack,
        "sentinel_calls",
        function_name=function.function_name,
        maximum_retry_attempts=0,
        maximum_event_age_in_seconds=SENTINEL_INTERVAL_SECONDS,
    )
    every_minute(
        stack,
        site,
        function,
        name=SENTINEL.name,
        description="Writes the region's heartbeat, and checks the peer",
        target_id=SENTINEL.name,
        event="{}",
    )
    return function


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
