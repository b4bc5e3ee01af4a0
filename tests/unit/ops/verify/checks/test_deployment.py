"""Checks of Terraform's state."""

from typing import Any

import pytest

from unit.ops.verify.fakes import WEST, Answers, found, live, problems, refusal


@pytest.mark.trap(37)
@pytest.mark.parametrize(
    ("location", "versioning", "expected"),
    [
        ({"LocationConstraint": WEST}, {"Status": "Enabled"}, []),
        ({"LocationConstraint": None}, {"Status": "Enabled"}, ["states is in us-east-1, not in us-west-2"]),
        ({"LocationConstraint": WEST}, {}, ["states keeps no versions: a damaged state could not be restored"]),
        (refusal("NoSuchBucket", 404), {}, ["states does not exist"]),
    ],
)
def test_state_is_in_a_versioned_bucket_outside_us_east_1(location: Any, versioning: Any, expected: list[str]) -> None:
    answers: Answers = {
        ("s3", WEST, "get_bucket_location"): location,
        ("s3", WEST, "get_bucket_versioning"): versioning,
    }
    assert problems("state", live(answers, settings={"state_bucket": "states"})) == expected


@pytest.mark.trap(37)
def test_local_state_is_a_failure_on_aws_only() -> None:
    (finding,) = found("state", live({}))
    assert (finding.severity, "HDR_STATE_BUCKET" in finding.problem) == ("failure", True)
    assert found("state", live({}, name="embedded")) == []
