"""The pair of document buckets: replication in both directions, event notifications and the quarantine policy."""

from collections.abc import Sequence

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy
from cdktn_provider_aws.s3_bucket import S3Bucket
from cdktn_provider_aws.s3_bucket_cors_configuration import (
    S3BucketCorsConfiguration,
    S3BucketCorsConfigurationCorsRule,
)
from cdktn_provider_aws.s3_bucket_notification import (
    S3BucketNotification,
    S3BucketNotificationLambdaFunction,
    S3BucketNotificationTopic,
)
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

from healthcare_dr.infra import policy
from healthcare_dr.infra.api import PREFLIGHT_SECONDS
from healthcare_dr.infra.buckets import SecureBucket, secure_bucket
from healthcare_dr.infra.region_context import RegionContext
from healthcare_dr.settings import SIX_YEARS_IN_DAYS
from patient_api.contract.functions import CONFIRM_DOCUMENTS
from patient_api.contract.keys import QUARANTINE_TAG

RULE_ID = "all-documents"
RTC_MINUTES = 15  # the only value S3 accepts; what meets one minute is the two-step acknowledgement


def replicate(
    stack: TerraformStack,
    site: RegionContext,
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


FAILURE_EVENTS = (
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationNotTracked",
)
UPLOADED = "s3:ObjectCreated:*"
UPLOADS = "documents/"

_READ_SOURCE = ("s3:GetReplicationConfiguration", "s3:ListBucket")
_READ_VERSIONS = (
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionForReplication",
    "s3:GetObjectVersionTagging",
)
_WRITE_REPLICAS = ("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags")


def document_buckets(
    stack: TerraformStack, sites: tuple[RegionContext, RegionContext], key_arns: tuple[str, str]
) -> tuple[SecureBucket, SecureBucket]:
    """Both buckets, both replications, and the events of uploads and of a replication that fails."""
    first, second = (
        secure_bucket(
            stack,
            f"documents_{site.role}",
            name=site.documents_bucket,
            key_arn=key_arn,
            statements=(_refuse_quarantined(site),),
            tags={"DataClass": "phi"},
            old_version_days=SIX_YEARS_IN_DAYS,
            provider=site.provider,
        )
        for site, key_arn in zip(sites, key_arns, strict=True)
    )
    versionings = [first.versioning, second.versioning]
    for site, source, target, source_key, target_key in (
        (sites[0], first, second, key_arns[0], key_arns[1]),
        (sites[1], second, first, key_arns[1], key_arns[0]),
    ):
        role, permissions = _replication_role(stack, site, source_key, target_key)
        replicate(
            stack,
            site,
            source=source.bucket,
            target=target.bucket,
            target_key_arn=target_key,
            role=role,
            # An object written before the role may copy it would fail once and never be tried again.
            after=[*versionings, permissions],
        )
        _events(stack, site, source)
        if site.settings.cors_origins:
            _cors(stack, site, source)
    return first, second


def _cors(stack: TerraformStack, site: RegionContext, documents: SecureBucket) -> None:
    """Let browser applications use the addresses that the API signs for them: to upload, and to download."""
    S3BucketCorsConfiguration(
        stack,
        f"documents_cors_{site.role}",
        bucket=documents.bucket.id,
        cors_rule=[
            S3BucketCorsConfigurationCorsRule(
                allowed_origins=list(site.settings.cors_origins),
                allowed_methods=["GET", "HEAD", "PUT"],
                # The signature decides which headers may be sent.
                allowed_headers=["*"],
                expose_headers=["ETag"],
                max_age_seconds=PREFLIGHT_SECONDS,
            )
        ],
        provider=site.provider,
    )


def _events(stack: TerraformStack, site: RegionContext, documents: SecureBucket) -> None:
    """Failed replications to the topic, uploads to the function that confirms them. A bucket has one list for all."""
    S3BucketNotification(
        stack,
        # With a new identifier Terraform could delete the old list after it wrote the new one: a bucket has only one.
        f"replication_events_{site.role}",
        bucket=documents.bucket.id,
        topic=[
            S3BucketNotificationTopic(id="replication-failures", topic_arn=site.topic_arn, events=list(FAILURE_EVENTS))
        ],
        lambda_function=[
            S3BucketNotificationLambdaFunction(
                id="uploads",
                lambda_function_arn=site.function_arn(CONFIRM_DOCUMENTS.name),
                events=[UPLOADED],
                filter_prefix=UPLOADS,
            )
        ],
        provider=site.provider,
    )


def _refuse_quarantined(site: RegionContext) -> policy.Statement:
    """Deny downloads of quarantined objects, also through presigned URLs. Administrators are exempt."""
    return policy.deny_everyone(
        "RefuseQuarantined",
        ["s3:GetObject", "s3:GetObjectVersion"],
        f"{site.documents_arn}/*",
        condition={
            "StringEquals": {f"s3:ExistingObjectTag/{QUARANTINE_TAG}": "true"},
            "ArnEquals": {
                "aws:PrincipalArn": [site.role_arn(name, site.region) for name in ("patient-api", "documents-peer")]
            },
        },
    )


def _replication_role(
    stack: TerraformStack, site: RegionContext, source_key: str, target_key: str
) -> tuple[IamRole, IamRolePolicy]:
    """The role S3 takes to copy from `site` to its peer, and what it may do.

    With bucket keys the encryption context is the bucket, not the object, on both sides (trap 12).
    """
    target_arn = f"arn:aws:s3:::{site.peer_documents_bucket}"
    role = IamRole(
        stack,
        f"replication_role_{site.role}",
        name=site.names.of("replication", site.region),
        assume_role_policy=policy.trust_service("s3.amazonaws.com"),
        provider=site.provider,
    )
    permissions = IamRolePolicy(
        stack,
        f"replication_policy_{site.role}",
        name=site.names.of("replication"),
        role=role.name,
        policy=policy.document(
            policy.allow("ReadSource", _READ_SOURCE, site.documents_arn),
            policy.allow("ReadVersions", _READ_VERSIONS, f"{site.documents_arn}/*"),
            policy.allow("WriteReplicas", _WRITE_REPLICAS, f"{target_arn}/*"),
            policy.allow(
                "DecryptSource",
                ["kms:Decrypt"],
                source_key,
                condition=_through_s3(site.region, site.documents_arn),
            ),
            policy.allow(
                "EncryptReplicas",
                ["kms:Encrypt", "kms:GenerateDataKey"],
                target_key,
                condition=_through_s3(site.peer_region, target_arn),
            ),
        ),
        provider=site.provider,
    )
    return role, permissions


def _through_s3(region: str, bucket_arn: str) -> policy.Condition:
    return {
        "StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"},
        "ArnLike": {"kms:EncryptionContext:aws:s3:arn": bucket_arn},
    }
