"""The list of open conflicts, as both regions tell it."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.conflicts import OpenConflict, read_conflicts

EAST, WEST = "us-east-1", "us-west-2"
OLD, NEW = "1795322255188-0000-us-east-1", "1795322255235-0000-us-west-2"
KEY = {"pk": {"S": "clinic-a#Patient#p1"}, "sk": {"S": "c#1795322254594-0000-us-east-1"}}
MARKER = KEY | {"members": {"L": [{"S": NEW}, {"S": OLD}]}, "version": {"S": NEW}}


class Region:
    """DynamoDB of a region: `markers` in pages of one, as the index lists them and as they are read then."""

    def __init__(self, *markers: Mapping[str, Any], lost: bool = False) -> None:
        self.markers = markers
        self.lost = lost

    def query(self, **request: Any) -> Mapping[str, Any]:
        if self.lost:
            raise EndpointConnectionError(endpoint_url="https://x")
        assert request["ExpressionAttributeValues"] == {":shelf": {"S": "$platform#conflicts"}}
        at = request.get("ExclusiveStartKey", 0)
        if not self.markers:
            return {"Items": []}
        more = {"LastEvaluatedKey": at + 1} if at + 1 < len(self.markers) else {}
        return {"Items": [{**self.markers[at], "updated": {"S": NEW}}], **more}

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        (found,) = [marker for marker in self.markers if all(marker[name] == request["Key"][name] for name in KEY)]
        return {"Item": found}


def of(record: str, **other: Any) -> dict[str, Any]:
    return MARKER | {"pk": {"S": f"clinic-a#Patient#{record}"}} | other


def test_a_conflict_that_both_regions_know_is_one() -> None:
    found = read_conflicts({EAST: Region(MARKER), WEST: Region(MARKER)}, table="records")
    assert found.open == (
        OpenConflict(
            tenant="clinic-a",
            record="Patient/p1",
            versions=(OLD, NEW),
            since="2026-11-22T04:37:35Z",
            listed_in=(EAST, WEST),
        ),
    )
    assert found.unasked == {}


def test_all_pages_of_both_regions_are_read_and_the_oldest_comes_first() -> None:
    earlier = of("p2", members={"L": [{"S": "1795322250000-0000-us-east-1"}, {"S": "1795322251000-0000-us-west-2"}]})
    found = read_conflicts({EAST: Region(MARKER, of("p3")), WEST: Region(earlier)}, table="records")
    assert [(conflict.record, conflict.listed_in) for conflict in found.open] == [
        ("Patient/p2", (WEST,)),
        ("Patient/p1", (EAST,)),
        ("Patient/p3", (EAST,)),
    ]


def test_what_was_merged_meanwhile_is_left_out() -> None:
    merged = of("p2", resolved={"S": NEW})
    assert read_conflicts({EAST: Region(merged), WEST: Region()}, table="records").open == ()


@pytest.mark.trap(27)
@pytest.mark.parametrize("lost", [EAST, WEST])
def test_a_lost_region_hides_nothing_of_the_other(lost: str) -> None:
    regions = {region: Region(MARKER, lost=region == lost) for region in (EAST, WEST)}
    found = read_conflicts(regions, table="records")
    assert [conflict.record for conflict in found.open] == ["Patient/p1"]
    assert list(found.unasked) == [lost]


def test_no_answer_at_all_is_not_an_empty_list() -> None:
    with pytest.raises(DeploymentError, match="no region tells its conflicts"):
        read_conflicts({EAST: Region(lost=True), WEST: Region(lost=True)}, table="records")
