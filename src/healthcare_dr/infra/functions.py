"""The Lambda functions of a region, their log groups, schedules, event sources and invoke permissions.

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
from typing import Any

from cdktn import AssetType, ITerraformDependable, TerraformAsset
from cdktn_provider_aws import lambda_event_source_mapping as event_source
from cdktn_provider_aws import lambda_function_event_invoke_config as invoke_config
from cdktn_provider_aws.cloudwatch_event_rule import CloudwatchEventRule
from cdktn_provider_aws.cloudwatch_event_target import CloudwatchEventTarget
from cdktn_provider_aws.cloudwatch_log_group import CloudwatchLogGroup
from cdktn_provider_aws.dynamodb_table import DynamodbTable
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_function import LambdaFunction, LambdaFunctionEnvironment
from cdktn_provider_aws.lambda_permission import LambdaPermission
from cdktn_provider_aws.sns_topic import SnsTopic

from healthcare_dr.infra.region_context import RegionContext, Sites
from patient_api.contract.functions import (
    CONFIRM_DOCUMENTS,
    RECONCILE,
    SENTINEL,
    SENTINEL_INTERVAL_SECONDS,
    SWEEP_EVENT,
    Environment,
    FunctionSpec,
)
from patient_api.contract.keys import HEARTBEAT_PARTITION, LINEAGE_PREFIX, VERSION_PREFIX


@dataclass(frozen=True)
class FunctionCode:
    """The zip that Lambda runs, and its SHA-256 in base64."""

    path: Path
    sha256_base64: str


class Functions:
    """Creates the functions of one region, which share code, key and most of their environment."""

    def __init__(self, site: RegionContext, *, code: FunctionCode, key: KmsKey) -> None:
        self._site = site
        self._code = code
        self._key = key
        # One copy of the zip beside the stack's JSON.
        self._asset = TerraformAsset(site.stack, "patient_api_package", path=str(code.path), type=AssetType.FILE)

    def create(
        self, spec: FunctionSpec, *, role: IamRole, after: Sequence[ITerraformDependable], **variables: Any
    ) -> LambdaFunction:
        """Create a function, and before it the log group that Lambda would else create, unencrypted (trap 38).

        Args:
            after: the other resources that the function depends on.
            variables: the fields of `Environment` that not every function has.
        """
        site, name = self._site, self._site.names.of(spec.name)
        log_group = CloudwatchLogGroup(
            self._site.stack,
            f"{spec.identifier}_log_group",
            name=site.names.lambda_log_group(name),
            retention_in_days=site.settings.log_retention_days,
            kms_key_id=self._key.arn,
        )
        environment = Environment(
            region=site.region,
            peer_region=site.peer_region,
            records_table=site.names.records_table,
            audit_table=site.names.audit_table,
            documents_bucket=site.documents_bucket,
            key_arn=self._key.arn,
            peer_documents_bucket=site.peer_documents_bucket,
            peer_role_arn=site.role_arn("documents-peer", site.peer_region),
            index_key=site.names.index_key_alias(),
            log_level=site.settings.log_level,
            **variables,
        )
        return LambdaFunction(
            self._site.stack,
            spec.identifier,
            function_name=name,
            description=spec.description,
            role=role.arn,
            runtime="python3.13",
            architectures=["arm64"],
            handler=spec.handler,
            filename=self._asset.path,
            source_code_hash=self._code.sha256_base64,
            memory_size=spec.memory_mb,
            timeout=spec.timeout_seconds,
            publish=spec.published,
            kms_key_arn=self._key.arn,
            environment=LambdaFunctionEnvironment(variables=environment.variables()),
            tags={"DataClass": "phi"},
            depends_on=[log_group, *after],
        )

    def document_confirmation(
        self, *, role: IamRole, topic: SnsTopic, after: Sequence[ITerraformDependable]
    ) -> LambdaFunction:
        """Create the function, its bucket's invoke permission, its schedule and its failure destination."""
        function = self.create(
            CONFIRM_DOCUMENTS, role=role, after=after, clock_bound=self._site.settings.clock_bound_seconds
        )
        invoke_config.LambdaFunctionEventInvokeConfig(
            self._site.stack,
            "document_confirmation_calls",
            function_name=function.function_name,
            maximum_retry_attempts=RETRIES,
            maximum_event_age_in_seconds=MAXIMUM_EVENT_AGE_SECONDS,
            destination_config=invoke_config.LambdaFunctionEventInvokeConfigDestinationConfig(
                on_failure=invoke_config.LambdaFunctionEventInvokeConfigDestinationConfigOnFailure(
                    destination=topic.arn
                )
            ),
        )
        # A bucket's ARN contains no account, and another account can take the name of a deleted bucket.
        self._permit(function, "documents", "s3", self._site.documents_arn, source_account=self._site.account)
        # For events that were lost, and for copies that are late.
        self._schedule(function, CONFIRM_DOCUMENTS, "sweep", "Finds documents that are not final yet", SWEEP_EVENT)
        return function

    def sentinel(self, *, role: IamRole, endpoint: str, after: Sequence[ITerraformDependable]) -> LambdaFunction:
        """Create the function and its schedule. `endpoint` is the base address of this region's own API (trap 23)."""
        function = self.create(SENTINEL, role=role, after=after, endpoint=endpoint)
        # The next run replaces one that failed, and a late run would measure nothing of use.
        invoke_config.LambdaFunctionEventInvokeConfig(
            self._site.stack,
            "sentinel_calls",
            function_name=function.function_name,
            maximum_retry_attempts=0,
            maximum_event_age_in_seconds=SENTINEL_INTERVAL_SECONDS,
        )
        self._schedule(
            function, SENTINEL, SENTINEL.name, "Writes the region's heartbeat, and checks the peer", json.dumps({})
        )
        return function

    def _schedule(self, function: LambdaFunction, spec: FunctionSpec, name: str, description: str, event: str) -> None:
        """Call the function every minute with an event, in JSON, and permit only this rule to call it."""
        rule = CloudwatchEventRule(
            self._site.stack,
            f"{name}_rule",
            name=self._site.names.of(name),
            description=description,
            schedule_expression="rate(1 minute)",
        )
        permission = self._permit(function, name, "events", rule.arn)
        CloudwatchEventTarget(
            self._site.stack,
            f"{name}_target",
            rule=rule.name,
            target_id=spec.name,
            arn=function.arn,
            input=event,
            depends_on=[permission],
        )

    def _permit(
        self, function: LambdaFunction, name: str, service: str, source_arn: str, *, source_account: str | None = None
    ) -> LambdaPermission:
        return LambdaPermission(
            self._site.stack,
            f"{name}_permission",
            statement_id=name,
            action="lambda:InvokeFunction",
            function_name=function.function_name,
            principal=f"{service}.amazonaws.com",
            source_arn=source_arn,
            source_account=source_account,
        )


RETRIES = 2
# A sweep has found the document of an older event.
MAXIMUM_EVENT_AGE_SECONDS = 3600

BATCH_SIZE = 100
# Batches of one shard at a time. Reconciliation gives the same result in any order.
BATCHES_AT_ONCE = 4
# As long as the stream keeps a record, 24 hours. An alarm reports the age of a shard that is held up. A discarded
# record would be lost without a trace of its content.
UNLIMITED = -1
# Heads, index items, pending documents and conflicts need no reconciliation.
VERSIONS = {"dynamodb": {"Keys": {"sk": {"S": [{"prefix": VERSION_PREFIX}, {"prefix": LINEAGE_PREFIX}]}}}}
# An audit item is written once. Every other event comes from a caller without the API, or from a defect.
CHANGES = {"eventName": ["MODIFY", "REMOVE"]}


def read_streams(sites: Sites, *, records: DynamodbTable, audit: DynamodbTable) -> None:
    """Read the streams of both tables in both regions.

    Of records, each region reads versions and lineage items, to reconcile them, and the peer's heartbeats, to measure
    their lag. Of the audit trail, it reads the items that were replaced or removed.
    """
    for table, identifier in ((records, "reconciliation_stream"), (audit, "tampering_stream")):
        owner, _ = sites
        for site in sites:
            heartbeats = {"pk": {"S": [HEARTBEAT_PARTITION]}, "sk": {"S": [site.peer_region]}}
            patterns = [VERSIONS, {"dynamodb": {"Keys": heartbeats}}] if table is records else [CHANGES]
            # The table has an attribute for the stream of its owner's region only.
            stream_arn = table.stream_arn if site is owner else f"${{one({table.fqn}.replica[*].stream_arn)}}"
            event_source.LambdaEventSourceMapping(
                site.stack,
                f"{identifier}_{site.role}",
                event_source_arn=stream_arn,
                function_name=site.function_arn(RECONCILE.name),
                starting_position="TRIM_HORIZON",
                batch_size=BATCH_SIZE,
                parallelization_factor=BATCHES_AT_ONCE,
                bisect_batch_on_function_error=True,
                function_response_types=["ReportBatchItemFailures"],
                maximum_retry_attempts=UNLIMITED,
                maximum_record_age_in_seconds=UNLIMITED,
                # For the records that Lambda discards when an operator sets a limit to free a shard.
                destination_config=event_source.LambdaEventSourceMappingDestinationConfig(
                    on_failure=event_source.LambdaEventSourceMappingDestinationConfigOnFailure(
                        destination_arn=site.topic_arn
                    )
                ),
                filter_criteria=event_source.LambdaEventSourceMappingFilterCriteria(
                    filter=[
                        event_source.LambdaEventSourceMappingFilterCriteriaFilter(
                            pattern=json.dumps(pattern, sort_keys=True)
                        )
                        for pattern in patterns
                    ]
                ),
                provider=site.provider,
            )
