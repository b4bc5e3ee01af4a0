"""Patch CloudTrail."""

from typing import Any

from ministack.services import cloudtrail

Response = tuple[int, dict[str, str], bytes]


def keep_trail_tags() -> None:
    """CreateTrail dropped its tags, so the next plan set them again."""
    inner = cloudtrail._create_trail

    def create(body: dict[str, Any]) -> Response:
        response: Response = inner(body)
        if response[0] == 200 and body.get("TagsList"):
            arn = cloudtrail._trail_arn(body["Name"].strip())
            cloudtrail._add_tags({"ResourceId": arn, "TagsList": body["TagsList"]})
        return response

    cloudtrail._DISPATCH["CreateTrail"] = create
