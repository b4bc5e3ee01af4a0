"""One direction of document replication."""

from collections.abc import Sequence

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.s3_bucket import S3Bucket
from cdktn_provider_aws.s3_bucket_replication_configuration import (
    S3BucketReplicationConfigurationA,
    S3BucketReplicationConfigurationRule,
    S3BucketReplicationConfigurationRuleDeleteMarkerReplication,
    S3BucketReplicationConfigurationRuleDestination,
    S3BucketReplicationConfigurationRuleDestinationEncryptionConfiguration,
    S3BucketReplicationConfigurationRuleDestinationMetrics,
    S3BucketReplicationConfigurationRuleDestinationMetricsEventThreshold,
    S3BucketReplicationConfigurationRuleDestinationReplicationTime,
    S3BucketReplicationConfigurationRuleDestinationReplicationTimeTime,
    S3BucketReplicationConfigurationRuleFilter,
    S3BucketReplicationConfigurationRuleSourceSelectionCriteria,
    S3BucketReplicationConfigurationRuleSourceSelectionCriteriaReplicaModifications,
    S3BucketReplicationConfigurationRuleSourceSelectionCriteriaSseKmsEncryptedObjects,
)

from healthcare_dr.infra.site import Site

RULE_ID = "all-documents"
RTC_MINUTES = 15  # the only value S3 accepts; what meets one minute is the two-step acknowledgement


def replicate(
    stack: TerraformStack,
    site: Site,
    *,
    source: S3Bucket,
    target: S3Bucket,
    target_key_arn: str,
    role: IamRole,
    after: Sequence[ITerraformDependable],
) -> None:
    """Copy everything from `source` in `site` to `target` in its peer, encrypted there with the peer's key.

    `after` holds what has to exist before: the versioning of both buckets, and what the role may do.
    """
    S3BucketReplicationConfigurationA(
        stack,
        f"replication_{site.role}",
        bucket=source.id,
        role=role.arn,
        rule=[
            S3BucketReplicationConfigurationRule(
                id=RULE_ID,
                priority=1,
                status="Enabled",
                filter=S3BucketReplicationConfigurationRuleFilter(prefix=""),
                delete_marker_replication=S3BucketReplicationConfigurationRuleDeleteMarkerReplication(status="Enabled"),
                source_selection_criteria=_selection(),
                destination=_destination(target, target_key_arn),
            )
        ],
        depends_on=list(after),
        provider=site.provider,
    )


def _selection() -> S3BucketReplicationConfigurationRuleSourceSelectionCriteria:
    return S3BucketReplicationConfigurationRuleSourceSelectionCriteria(
        sse_kms_encrypted_objects=(
            S3BucketReplicationConfigurationRuleSourceSelectionCriteriaSseKmsEncryptedObjects(status="Enabled")
        ),
        replica_modifications=(
            S3BucketReplicationConfigurationRuleSourceSelectionCriteriaReplicaModifications(status="Enabled")
        ),
    )


def _destination(target: S3Bucket, key_arn: str) -> S3BucketReplicationConfigurationRuleDestination:
    return S3BucketReplicationConfigurationRuleDestination(
        bucket=target.arn,
        storage_class="STANDARD",
        encryption_configuration=S3BucketReplicationConfigurationRuleDestinationEncryptionConfiguration(
            replica_kms_key_id=key_arn
        ),
        replication_time=S3BucketReplicationConfigurationRuleDestinationReplicationTime(
            status="Enabled",
            time=S3BucketReplicationConfigurationRuleDestinationReplicationTimeTime(minutes=RTC_MINUTES),
        ),
        metrics=S3BucketReplicationConfigurationRuleDestinationMetrics(
            status="Enabled",
            event_threshold=S3BucketReplicationConfigurationRuleDestinationMetricsEventThreshold(minutes=RTC_MINUTES),
        ),
    )
