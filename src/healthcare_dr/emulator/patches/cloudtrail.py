"""Patch CloudTrail."""

from typing import Any

from ministack.services import cloudtrail

from healthcare_dr.emulator.patches.replacement import Operation, Response, replaces


@replaces(cloudtrail._DISPATCH, "CreateTrail")
def keep_trail_tags(inner: Operation, body: dict[str, Any]) -> Response:
    """CreateTrail dropped its tags, so the next plan set them again."""
    response = inner(body)
    if response[0] == 200 and body.get("TagsList"):
        arn = cloudtrail._trail_arn(body["Name"].strip())
        cloudtrail._add_tags({"ResourceId": arn, "TagsList": body["TagsList"]})
    return response
