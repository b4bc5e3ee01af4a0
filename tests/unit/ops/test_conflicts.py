"""The list of open conflicts, as both regions tell it."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.conflicts import OpenConflict, read_conflicts

EAST, WEST = "us-east-1", "us-west-2"
FIRST, EASTERN, WESTERN = "1795322254594-0000-us-east-1", "1795322255188-0000-us-east-1", "1795322255235-0000-us-west-2"
LATER = "1795322259000-0000-us-east-1"

Versions = Mapping[str, tuple[str, ...]]
SIBLINGS: Versions = {FIRST: (), EASTERN: (FIRST,), WESTERN: (FIRST,)}


class Region:
    """DynamoDB of a region, in pages of one: `records` are what each version of an id follows, all of them in
    conflict since `WESTERN`. The region returns the newest of them, or `head`."""

    def __init__(
        self, records: Mapping[str, Versions] | None = None, *, lost: bool = False, head: str | None = None
    ) -> None:
        self.records = records or {}
        self.lost = lost
        self.head = head

    def query(self, **request: Any) -> Mapping[str, Any]:
        if self.lost:
            raise EndpointConnectionError(endpoint_url="https://x")
        values = request["ExpressionAttributeValues"]
        if request.get("IndexName") == "by-update":
            assert values == {":shelf": {"S": "$platform#conflicts"}}
            return self._page(
                request, [{"pk": {"S": f"clinic-a#Patient#{name}"}, "updated": {"S": WESTERN}} for name in self.records]
            )
        assert (values[":heads"], values[":lineage"]) == ({"S": "head#"}, {"S": "l#~"}), "versions may be large"
        versions = self.records[values[":pk"]["S"].rpartition("#")[2]]
        head = {"version": {"S": self.head or max(versions)}}
        return self._page(
            request,
            [
                *({"sk": {"S": f"head#{region}"}, **head} for region in (EAST, WEST)),
                *(
                    {
                        "sk": {"S": f"l#{version}"},
                        "version": {"S": version},
                        **({"replaces": {"S": follows[0]}} if follows else {}),
                        **({"merges": {"L": [{"S": other} for other in follows[1:]]}} if follows[1:] else {}),
                    }
                    for version, follows in versions.items()
                ),
            ],
        )

    def _page(self, request: Mapping[str, Any], items: list[dict[str, Any]]) -> Mapping[str, Any]:
        at = request.get("ExclusiveStartKey", 0)
        return {"Items": items[at : at + 1], **({"LastEvaluatedKey": at + 1} if at + 1 < len(items) else {})}


def of(**regions: Region) -> tuple[OpenConflict, ...]:
    return read_conflicts({EAST: regions["east"], WEST: regions["west"]}, table="records").open


def test_conflict_of_both_regions_counts_once() -> None:
    assert of(east=Region({"p1": SIBLINGS}), west=Region({"p1": SIBLINGS})) == (
        OpenConflict(
            tenant="clinic-a",
            record="Patient/p1",
            current=WESTERN,
            others=(EASTERN,),
            since="2026-11-22T04:37:35Z",
            listed_in=(EAST, WEST),
        ),
    )


def test_last_version_of_each_branch_has_to_be_merged() -> None:
    written_on = {**SIBLINGS, LATER: (EASTERN,)}
    (conflict,) = of(east=Region({"p1": written_on}), west=Region({"p1": SIBLINGS}))
    assert (conflict.current, conflict.others) == (LATER, (WESTERN,))


def test_conflict_merged_in_one_region_has_no_other_versions() -> None:
    merged = {**SIBLINGS, LATER: (WESTERN, EASTERN)}
    (conflict,) = of(east=Region({"p1": merged}), west=Region({"p1": SIBLINGS}))
    assert (conflict.current, conflict.others) == (LATER, ())


@pytest.mark.parametrize(
    ("versions", "head"),
    [(SIBLINGS, EASTERN), ({FIRST: (), WESTERN: (FIRST,)}, EASTERN), ({FIRST: (), EASTERN: (FIRST,)}, WESTERN)],
    ids=["newest version", "newest version, and lineage item of the other", "lineage item of the newest version"],
)
def test_lost_item_of_a_version_does_not_change_how_the_conflict_is_closed(versions: Versions, head: str) -> None:
    (conflict,) = of(east=Region({"p1": versions}, head=head), west=Region(lost=True))
    assert (conflict.current, conflict.others) == (head, (WESTERN if head == EASTERN else EASTERN,))


def test_each_region_may_know_of_others() -> None:
    found = of(east=Region({"p1": SIBLINGS, "p3": SIBLINGS}), west=Region({"p2": SIBLINGS}))
    assert [(conflict.record, conflict.listed_in) for conflict in found] == [
        ("Patient/p1", (EAST,)),
        ("Patient/p2", (WEST,)),
        ("Patient/p3", (EAST,)),
    ]


@pytest.mark.trap(27)
@pytest.mark.parametrize("lost", [EAST, WEST])
def test_lost_region_does_not_hide_conflicts_of_the_other(lost: str) -> None:
    regions = {region: Region({"p1": SIBLINGS}, lost=region == lost) for region in (EAST, WEST)}
    found = read_conflicts(regions, table="records")
    assert [conflict.record for conflict in found.open] == ["Patient/p1"]
    assert list(found.unasked) == [lost]


def test_no_answer_at_all_is_not_an_empty_list() -> None:
    with pytest.raises(DeploymentError, match="no region returns its conflicts"):
        read_conflicts({EAST: Region(lost=True), WEST: Region(lost=True)}, table="records")
