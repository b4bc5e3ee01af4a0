"""The pair of document buckets: replication in both directions, event notifications and the quarantine policy."""

from cdktn_provider_aws import s3_bucket_notification as notification
from cdktn_provider_aws import s3_bucket_replication_configuration as replication
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.iam_role_policy import IamRolePolicy
from cdktn_provider_aws.s3_bucket import S3Bucket
from cdktn_provider_aws.s3_bucket_cors_configuration import (
    S3BucketCorsConfiguration,
    S3BucketCorsConfigurationCorsRule,
)

from healthcare_dr.infra import policy
from healthcare_dr.infra.api import PREFLIGHT_SECONDS
from healthcare_dr.infra.buckets import SecureBucket, secure_bucket
from healthcare_dr.infra.region_context import RegionContext, Sites
from healthcare_dr.settings import SIX_YEARS_IN_DAYS
from patient_api.contract.functions import CONFIRM_DOCUMENTS
from patient_api.contract.keys import QUARANTINE_TAG

RULE_ID = "all-documents"
# The only value that S3 accepts. The two-step acknowledgement is what keeps the recovery point of one minute.
RTC_MINUTES = 15


def _selection() -> replication.S3BucketReplicationConfigurationRuleSourceSelectionCriteria:
    return replication.S3BucketReplicationConfigurationRuleSourceSelectionCriteria(
        sse_kms_encrypted_objects=(
            replication.S3BucketReplicationConfigurationRuleSourceSelectionCriteriaSseKmsEncryptedObjects(
                status="Enabled"
            )
        ),
        replica_modifications=(
            replication.S3BucketReplicationConfigurationRuleSourceSelectionCriteriaReplicaModifications(
                status="Enabled"
            )
        ),
    )


def _destination(target: S3Bucket, key_arn: str) -> replication.S3BucketReplicationConfigurationRuleDestination:
    return replication.S3BucketReplicationConfigurationRuleDestination(
        bucket=target.arn,
        storage_class="STANDARD",
        encryption_configuration=replication.S3BucketReplicationConfigurationRuleDestinationEncryptionConfiguration(
            replica_kms_key_id=key_arn
        ),
        replication_time=replication.S3BucketReplicationConfigurationRuleDestinationReplicationTime(
            status="Enabled",
            time=replication.S3BucketReplicationConfigurationRuleDestinationReplicationTimeTime(minutes=RTC_MINUTES),
        ),
        metrics=replication.S3BucketReplicationConfigurationRuleDestinationMetrics(
            status="Enabled",
            event_threshold=replication.S3BucketReplicationConfigurationRuleDestinationMetricsEventThreshold(
                minutes=RTC_MINUTES
            ),
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


def document_buckets(sites: Sites, key_arns: tuple[str, str]) -> tuple[SecureBucket, SecureBucket]:
    """Create both buckets, both replications, and the events of uploads and of failed replications."""
    first, second = (
        secure_bucket(
            site.stack,
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
    for site, source, target, (source_key, target_key) in (
        (sites[0], first, second, key_arns),
        (sites[1], second, first, key_arns[::-1]),
    ):
        role, permissions = _replication_role(site, source_key, target_key)
        rule = replication.S3BucketReplicationConfigurationRule(
            id=RULE_ID,
            priority=1,
            status="Enabled",
            filter=replication.S3BucketReplicationConfigurationRuleFilter(prefix=""),
            delete_marker_replication=replication.S3BucketReplicationConfigurationRuleDeleteMarkerReplication(
                status="Enabled"
            ),
            source_selection_criteria=_selection(),
            destination=_destination(target.bucket, target_key),
        )
        replication.S3BucketReplicationConfigurationA(
            site.stack,
            f"replication_{site.role}",
            bucket=source.bucket.id,
            role=role.arn,
            rule=[rule],
            # S3 would not retry an object that was written before the role had its permissions.
            depends_on=[first.versioning, second.versioning, permissions],
            provider=site.provider,
        )
        _events(site, source)
        if site.settings.cors_origins:
            _cors(site, source)
    return first, second


def _cors(site: RegionContext, documents: SecureBucket) -> None:
    """Let browser applications upload and download through the addresses that the API signs."""
    S3BucketCorsConfiguration(
        site.stack,
        f"documents_cors_{site.role}",
        bucket=documents.bucket.id,
        cors_rule=[
            S3BucketCorsConfigurationCorsRule(
                allowed_origins=list(site.settings.cors_origins),
                allowed_methods=["GET", "HEAD", "PUT"],
                # The signature limits the headers.
                allowed_headers=["*"],
                expose_headers=["ETag"],
                max_age_seconds=PREFLIGHT_SECONDS,
            )
        ],
        provider=site.provider,
    )


def _events(site: RegionContext, documents: SecureBucket) -> None:
    """Notify the topic of failed replications and the function of uploads. A bucket has one configuration for both."""
    notification.S3BucketNotification(
        site.stack,
        # With a new identifier Terraform could delete the old configuration after it has written the new one.
        f"replication_events_{site.role}",
        bucket=documents.bucket.id,
        topic=[
            notification.S3BucketNotificationTopic(
                id="replication-failures", topic_arn=site.topic_arn, events=list(FAILURE_EVENTS)
            )
        ],
        lambda_function=[
            notification.S3BucketNotificationLambdaFunction(
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


def _replication_role(site: RegionContext, source_key: str, target_key: str) -> tuple[IamRole, IamRolePolicy]:
    """Create the role by which S3 copies from `site` to its peer, and its permissions.

    With bucket keys the encryption context is the bucket, not the object, on both sides (trap 12).
    """
    target_arn = f"arn:aws:s3:::{site.peer_documents_bucket}"
    role = IamRole(
        site.stack,
        f"replication_role_{site.role}",
        name=site.names.of("replication", site.region),
        assume_role_policy=policy.trust_service("s3.amazonaws.com"),
        provider=site.provider,
    )
    permissions = IamRolePolicy(
        site.stack,
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
        # The bucket is the context of objects under its bucket key; others have a context of their own.
        "ArnLike": {"kms:EncryptionContext:aws:s3:arn": [bucket_arn, f"{bucket_arn}/*"]},
    }
