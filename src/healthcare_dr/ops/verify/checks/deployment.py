"""Checks of the deployment: tags, and the location of Terraform's state."""

from collections.abc import Iterator
from typing import Final

from healthcare_dr.ops.verify.check import REDEPLOY, each_region, platform
from healthcare_dr.ops.verify.live_target import LiveTarget

TAGS: Final = {"Environment": "Production", "DisasterRecovery": "Enabled"}
# Resources with data and functions, as far as the tagging API returns them on both targets.
TAGGED: Final = ("aws_dynamodb_table", "aws_kms_key", "aws_kms_replica_key", "aws_lambda_function", "aws_s3_bucket",
                 "aws_sns_topic")  # fmt: skip


@each_region(
    "tags", "R9.1", "trap 6",
    expects="Tables with their replicas, buckets, keys, functions and topics have both tags of the platform",
    why="Backup plans, access rules and cost reports use tags, and a replica has its own.",
    fix=REDEPLOY,
)  # fmt: skip
def tags(live: LiveTarget, region: str) -> Iterator[str]:
    wanted = {resource["arn"] for kind in TAGGED for resource in live.deployed.of(kind, region)}
    # One resource owns each table; its replica is a table of its own.
    wanted |= {
        live.arn("dynamodb", region, f"table/{name}") for name in (live.names.records_table, live.names.audit_table)
    }
    filters = [{"Key": key, "Values": [value]} for key, value in TAGS.items()]
    answer = live.request("resourcegroupstaggingapi", region, "get_resources", TagFilters=filters)
    tagged = {found["ResourceARN"] for found in answer["ResourceTagMappingList"]}
    for arn in sorted(wanted - tagged):
        yield f"{arn} does not have {' and '.join(f'{key}={value}' for key, value in TAGS.items())}"


@platform(
    "state", "R1.1", "trap 37",
    expects="On AWS, Terraform's state is in a versioned bucket outside us-east-1",
    why="If the state is lost with us-east-1 or with one machine, the platform cannot be changed.",
    fix="name a versioned bucket in the state's region as HDR_STATE_BUCKET: docs/deploy.md",
)  # fmt: skip
def state(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    if live.target.name != "aws":
        return
    bucket, place = live.settings.state_bucket, live.settings.state_region
    if bucket is None:
        yield "the state is on this machine only: HDR_STATE_BUCKET is not set"
        return
    located = live.request_optional("s3", place, "get_bucket_location", ("NoSuchBucket",), Bucket=bucket)
    if located is None:
        yield f"{bucket} does not exist"
        return
    # The response has no name for us-east-1.
    actual = located.get("LocationConstraint") or "us-east-1"
    if actual != place:
        yield f"{bucket} is in {actual}, not in {place}"
    if live.request("s3", place, "get_bucket_versioning", Bucket=bucket).get("Status") != "Enabled":
        yield f"{bucket} keeps no versions: a damaged state could not be restored"
