"""Rules on the trail of data events."""

from collections.abc import Iterator

from healthcare_dr.infra.lint.model import rule
from healthcare_dr.infra.lint.view import ACCOUNT, Platform, Resource, allows, principals
from healthcare_dr.naming import Names

Problems = Iterator[tuple[str, str]]
NARROWED_BY = {"eventCategory", "resources.type", "resources.ARN"}


@rule("data-event-trail", "C6", "R1.3", why="Access that does not come through the API is audited too (164.312(b)).")
def trail(platform: Platform) -> Problems:
    names = Names(platform.settings.environment_suffix)
    for region in platform.settings.regions:
        wanted = {("AWS::S3::Object", f"arn:aws:s3:::{names.documents_bucket(ACCOUNT, region)}/")} | {
            ("AWS::DynamoDB::Table", f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}")
            for table in (names.records_table, names.audit_table)
        }
        trails = list(platform.resources("aws_cloudtrail", region=region))
        recorded = {event for found in trails for event in _recorded(found)}
        for kind, prefix in sorted(wanted - recorded):
            yield region, f"data events ({kind}) of {prefix} must be recorded"
        for found in trails:
            if found.get("enable_log_file_validation") is not True:
                yield found.address, "enable_log_file_validation must be true"
            yield from _delivery(platform, found)


def _recorded(found: Resource) -> Iterator[tuple[str, str]]:
    for selector in found.blocks("advanced_event_selector"):
        fields = {field["field"]: field for field in selector["field_selector"]}
        if set(fields) == NARROWED_BY and fields["eventCategory"].get("equals") == ["Data"]:
            for kind in fields["resources.type"].get("equals", ()):
                for prefix in fields["resources.ARN"].get("starts_with", ()):
                    yield kind, prefix


def _delivery(platform: Platform, found: Resource) -> Problems:
    bucket = platform.referred(found.stack, found.get("s3_bucket_name"))
    if bucket is None:
        yield found.address, "must write into a bucket of its own stack"
        return
    statements = [
        statement
        for holder in platform.of_parent(bucket, "bucket", "aws_s3_bucket_policy")
        for statement in holder.statements("policy")
        if "cloudtrail.amazonaws.com" in principals(statement, "Service")
    ]
    arn = f"arn:aws:s3:::{bucket.get('bucket')}"
    for action, resource in (("s3:GetBucketAcl", arn), ("s3:PutObject", f"{arn}/AWSLogs/{ACCOUNT}/*")):
        if not any(allows(statement, action, resource) for statement in statements):
            yield bucket.address, f"its policy must let CloudTrail {action} on {resource}"
