"""CloudTrail data events of a region's documents and tables, encrypted and signed, also for access without the API."""

from cdktn_provider_aws.cloudtrail import (
    Cloudtrail,
    CloudtrailAdvancedEventSelector,
    CloudtrailAdvancedEventSelectorFieldSelector,
)
from cdktn_provider_aws.kms_key import KmsKey

from healthcare_dr.infra import policy
from healthcare_dr.infra.buckets import secure_bucket
from healthcare_dr.infra.region_context import RegionContext

CLOUDTRAIL = {"Service": "cloudtrail.amazonaws.com"}


def data_event_trail(site: RegionContext, key: KmsKey) -> None:
    """Create a trail of this region's data events, with a bucket of its own in the same region."""
    name = site.names.of("data-events")
    trail_arn = site.regional_arn("cloudtrail", f"trail/{name}")
    bucket_arn = f"arn:aws:s3:::{site.trail_bucket}"
    archive = secure_bucket(
        site.stack,
        "trail_bucket",
        name=site.trail_bucket,
        key_arn=key.arn,
        tags={"DataClass": "audit"},
        old_version_days=site.settings.audit_retention_days,
        expiration_days=site.settings.audit_retention_days,
        # CloudTrail may write digests under S3's own key, because they contain hashes and signatures only.
        keyed_prefix=f"AWSLogs/{site.account}/CloudTrail/",
        statements=(
            policy.allow(
                "TrailReadsAcl",
                ["s3:GetBucketAcl"],
                bucket_arn,
                principal=CLOUDTRAIL,
                condition={"StringEquals": {"aws:SourceArn": trail_arn}},
            ),
            policy.allow(
                "TrailWrites",
                ["s3:PutObject"],
                f"{bucket_arn}/AWSLogs/{site.account}/*",
                principal=CLOUDTRAIL,
                condition={"StringEquals": {"aws:SourceArn": trail_arn}},
            ),
        ),
    )
    Cloudtrail(
        site.stack,
        "data_events",
        name=name,
        s3_bucket_name=archive.bucket.bucket,
        kms_key_id=key.arn,
        enable_log_file_validation=True,
        include_global_service_events=False,
        is_multi_region_trail=False,
        advanced_event_selector=[
            _data_events("Documents", "AWS::S3::Object", [f"{site.documents_arn}/"]),
            _data_events("Tables", "AWS::DynamoDB::Table", list(site.table_arns)),
        ],
        depends_on=[archive.policy],
    )


def _data_events(name: str, kind: str, arns: list[str]) -> CloudtrailAdvancedEventSelector:
    return CloudtrailAdvancedEventSelector(
        name=name,
        field_selector=[
            CloudtrailAdvancedEventSelectorFieldSelector(field="eventCategory", equal_to=["Data"]),
            CloudtrailAdvancedEventSelectorFieldSelector(field="resources.type", equal_to=[kind]),
            CloudtrailAdvancedEventSelectorFieldSelector(field="resources.ARN", starts_with=arns),
        ],
    )
