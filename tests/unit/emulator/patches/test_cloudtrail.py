"""Tests of CloudTrail."""

import uuid

from unit.emulator.aws import Aws, only_when_patched


@only_when_patched
def test_new_trail_keeps_its_tags(aws: Aws) -> bool:
    tags = [{"Key": "Environment", "Value": "Production"}]
    trail = aws("cloudtrail").create_trail(Name=uuid.uuid4().hex, S3BucketName=aws.bucket(), TagsList=tags)
    (found,) = aws("cloudtrail").list_tags(ResourceIdList=[trail["TrailARN"]])["ResourceTagList"]
    return bool(found["TagsList"] == tags)
