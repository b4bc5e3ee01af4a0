"""Reconciliation: its cost, and the markers of conflicts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patient_api.clock import Stamp
from patient_api.contract.keys import HEARTBEAT_PARTITION, OPEN_CONFLICTS, PATIENT, key
from patient_api.errors import Stale, StorageFault
from patient_api.fhir.codec import Number
from patient_api.http.named_versions import LATEST_MS
from patient_api.http.payload import Resource
from patient_api.http.preconditions import weak
from patient_api.store.model import (
    Marker,
    Method,
    RecordKey,
    Version,
    head_item,
    lineage_item,
    marker_item,
    version_item,
    version_of,
)
from patient_api.store.reconciliation import ORIGIN, Link, lineage_of
from unit.patient_api.fakes.aws import PEER, RECORDS, Item, key_of, size_of
from unit.patient_api.fakes.regions import TENANT, Message, Moment, Region, TwoRegions, check_consistency, request

BODY: Resource = {"resourceType": PATIENT, "name": [{"family": "Example"}]}
NUMBERS = count()
THIRD = "eu-central-1"
"""The region of versions that both regions receive."""


@pytest.fixture
def regions() -> TwoRegions:
    return TwoRegions()


Diverged = tuple[Version, Version, Version]


def create(region: Region) -> Version:
    return region.containers[0].creation.create(request(BODY)).version


def update(region: Region, known: Version, container: int = 0, value: str | None = None) -> Version:
    """Update a record with a value of its own, or with the given one."""
    name = known.key.id
    identifier = [{"value": f"{next(NUMBERS)}" if value is None else value}]
    body = request({**BODY, "id": name, "identifier": identifier}, if_match=weak(str(known.stamp)))
    return region.containers[container].patients.update(body, name)


def merge(region: Region, known: Version, *merged: Version) -> Version:
    stamps = [version.stamp for version in merged]
    return region.containers[0].merge(known.key, BODY, known=known.stamp, merged=stamps)


def arrive(regions: TwoRegions, to: Region, version: Version) -> None:
    """Replicate the version and its lineage item only."""
    for prefix in ("v#", "l#"):
        arrive_alone(regions, to, f"{prefix}{version.stamp}")


def arrive_alone(regions: TwoRegions, to: Region, sk: str) -> None:
    """Replicate one item of a record."""
    sks = [message.key[1] for message in regions.waiting(to)]
    regions.deliver(to, sks.index(sk))


def markers(region: Region) -> dict[str, Item]:
    return {sk: item for (_, sk), item in region.replica.records.items() if sk.startswith("c#")}


def members(item: Item) -> list[str]:
    return [member["S"] for member in item["members"]["L"]]


def stamps(*versions: Version) -> list[str]:
    return sorted(str(version.stamp) for version in versions)


def head_of(region: Region, version: Version) -> Stamp | None:
    head = region.head(version.key)
    return head.stamp if head else None


def calls(region: Region) -> list[str]:
    """Return the DynamoDB calls that processing the whole stream makes."""
    region.replica.calls.clear()
    region.reconcile()
    return [operation for operation, _ in region.replica.calls]


@pytest.fixture
def diverged(regions: TwoRegions) -> Diverged:
    """A version and its two successors, the newer one in the west, neither of them replicated."""
    first = create(regions.east)
    regions.settle()
    east = update(regions.east, first)
    regions.now_ms += 5
    return first, east, update(regions.west, first)


def test_change_that_continues_the_newest_version_costs_one_query(regions: TwoRegions) -> None:
    version = create(regions.east)
    assert calls(regions.east) == ["query"]
    for _ in range(3):
        version = update(regions.east, version)
        assert calls(regions.east) == ["query"]
        ((_, query),) = regions.east.replica.calls
        assert query["Limit"] == 2
        assert query["ExpressionAttributeValues"][":low"] == {"S": "l#0"}
    versions = [update(regions.east, version)]
    versions.append(update(regions.east, versions[0]))
    assert calls(regions.east) == ["query"]
    assert regions.east.replica.calls[0][1]["Limit"] == 3


@pytest.mark.parametrize("order", [("v#", "l#"), ("l#", "v#")])
def test_half_of_a_version_that_continues_the_newest_one_costs_one_query(
    regions: TwoRegions, order: tuple[str, str]
) -> None:
    first = create(regions.east)
    regions.settle()
    version = update(regions.east, first)
    for prefix in order:
        arrive_alone(regions, regions.west, f"{prefix}{version.stamp}")
        assert calls(regions.west) == (["put_item"] if prefix == "v#" else []) + ["query"]


def test_reconciliation_reads_no_versions() -> None:
    regions = TwoRegions(page=1_000)
    first = create(regions.east)
    regions.settle()
    other = add_line(regions, regions.west, first, 1)
    add_line(regions, regions.east, first, 200)
    regions.settle()
    (marker,) = markers(regions.east).values()
    assert "resolved" not in marker
    # The change continues the older line of the conflict, so all versions are compared.
    add_line(regions, regions.east, other, 1)
    with metered(regions.east) as read:
        assert calls(regions.east) == ["query"] * 5
    assert len(read) > 200
    assert not any(sk.startswith("v#") for sk in read)
    assert sum(read.values()) < 45_000
    regions.settle()
    check_consistency(regions)


def add_line(regions: TwoRegions, region: Region, start: Version, length: int) -> Version:
    """Add versions of 200 KB, each of which follows the one before it, without the API. Returns the last one."""
    version = start
    for _ in range(length):
        regions.now_ms += 1
        version = version_of(
            {**BODY, "text": {"div": f"{regions.now_ms}".ljust(200_000)}},
            key=start.key,
            stamp=Stamp(regions.now_ms, 0, region.name),
            method=Method.PUT,
            replaces=version.stamp,
        )
        for item in (version_item(version), lineage_item(version), head_item(version, region.name)):
            region.replica.add(RECORDS, item)
    return version


@contextmanager
def metered(region: Region) -> Iterator[dict[str, int]]:
    """Add up the bytes that queries of a region read, by sort key. DynamoDB reads whole items for a projection."""
    read: dict[str, int] = {}
    query = region.replica.query

    def measured(**request: Any) -> dict[str, Any]:
        response = query(**request)
        pk = request["ExpressionAttributeValues"][":pk"]["S"]
        for item in response["Items"]:
            sk = item["sk"]["S"]
            read[sk] = read.get(sk, 0) + size_of(region.replica.records[pk, sk])
        return response

    region.replica.query = measured  # type: ignore[method-assign]
    yield read
    region.replica.query = query  # type: ignore[method-assign]


@pytest.mark.parametrize("order", [("v#", "l#"), ("l#", "v#")])
def test_version_and_its_lineage_item_arrive_in_any_order(
    regions: TwoRegions, diverged: Diverged, order: tuple[str, str]
) -> None:
    first, east, west = diverged
    for number, prefix in enumerate(order):
        arrive_alone(regions, regions.east, f"{prefix}{west.stamp}")
        regions.east.reconcile()
        assert head_of(regions.east, first) == (west.stamp if "v#" in order[: number + 1] else east.stamp)
        (marker,) = markers(regions.east).values()
        assert members(marker) == stamps(east, west)
        concurrent = regions.east.containers[0].records.concurrent(first.key, [east])
        assert concurrent == {east.stamp: [str(west.stamp)]}
    regions.settle()
    check_consistency(regions)


@pytest.mark.parametrize("marked_by", ["east", "west"])
def test_conflict_with_a_version_whose_lineage_item_is_lost_can_be_closed(
    regions: TwoRegions, diverged: Diverged, marked_by: str
) -> None:
    _, east, west = diverged
    if marked_by == "west":
        regions.deliver_all(regions.west)
        regions.west.reconcile()
        ((_, sk),) = (message.key for message in regions.waiting(regions.east) if message.key[1].startswith("c#"))
        arrive_alone(regions, regions.east, sk)
    arrive_alone(regions, regions.east, f"v#{west.stamp}")
    regions.waiting(regions.east).clear()
    regions.east.reconcile()
    (marker,) = markers(regions.east).values()
    assert members(marker) == stamps(east, west)
    assert "resolved" not in marker
    regions.now_ms += 5
    merged = merge(regions.east, west, east)
    regions.east.reconcile()
    (marker,) = markers(regions.east).values()
    assert marker["resolved"] == {"S": str(merged.stamp)}
    update(regions.east, merged)
    regions.east.reconcile()
    assert markers(regions.east).keys() == {marker["sk"]["S"]}


def test_version_lost_with_its_region_can_be_merged_when_a_marker_names_it(
    regions: TwoRegions, diverged: Diverged
) -> None:
    _, east, west = diverged
    regions.deliver_all(regions.west)
    regions.west.reconcile()
    ((_, sk),) = (message.key for message in regions.waiting(regions.east) if message.key[1].startswith("c#"))
    arrive_alone(regions, regions.east, sk)
    regions.waiting(regions.east).clear()
    # A heartbeat that is so much younger shows that the version will not arrive any more.
    regions.now_ms += LATEST_MS
    late = {"at": {"N": str(regions.now_ms)}, "endpoint": {"S": "https://west.example"}}
    regions.east.replica.add(RECORDS, {**key(HEARTBEAT_PARTITION, PEER), **late})
    merged = merge(regions.east, east, west)
    regions.east.reconcile()
    (marker,) = markers(regions.east).values()
    assert marker["resolved"] == {"S": str(merged.stamp)}


def test_concurrent_versions_are_compared_without_their_content(regions: TwoRegions, diverged: Diverged) -> None:
    _, east, west = diverged
    regions.settle()
    regions.east.replica.calls.clear()
    assert regions.east.containers[0].records.concurrent(east.key, [west]) == {west.stamp: [str(east.stamp)]}
    (read,) = [request for operation, request in regions.east.replica.calls if operation == "get_item"]
    assert read["Key"]["sk"] == {"S": f"l#{east.stamp}"}


def test_version_from_the_other_region_costs_one_more_put(regions: TwoRegions) -> None:
    made = create(regions.east)
    regions.deliver_all(regions.west)
    assert head_of(regions.west, made) is None
    assert calls(regions.west) == ["put_item", "query"]
    assert head_of(regions.west, made) == made.stamp
    regions.settle()
    check_consistency(regions)


@pytest.mark.trap(1, 2)
def test_late_reconciliation_in_the_other_region_does_not_allow_stale_writes(regions: TwoRegions) -> None:
    first = create(regions.east)
    arrive(regions, regions.west, first)
    regions.now_ms += 500
    second = update(regions.east, first)
    regions.now_ms += 200
    regions.west.reconcile()
    regions.deliver_all(regions.east)
    assert head_of(regions.east, first) == second.stamp
    for container in (0, 1):
        with pytest.raises(Stale):
            update(regions.east, first, container)
    regions.settle()
    assert [region.conflicts() for region in regions.all] == [0, 0]
    check_consistency(regions)


@pytest.mark.trap(1)
def test_head_of_deleted_record_stays_deleted(regions: TwoRegions) -> None:
    first = create(regions.east)
    arrive(regions, regions.west, first)
    regions.now_ms += 500
    regions.east.containers[0].patients.delete(request(), first.key.id)
    regions.now_ms += 200
    regions.west.reconcile()
    regions.deliver_all(regions.east)
    head = regions.east.head(first.key)
    assert (head and (head.method, head.resource)) == (Method.DELETE, None)


def test_older_version_does_not_move_the_head(regions: TwoRegions, diverged: Diverged) -> None:
    _, east, west = diverged
    regions.west.reconcile()
    arrive(regions, regions.west, east)
    regions.west.reconcile()
    assert head_of(regions.west, west) == west.stamp


def test_record_with_many_versions_is_read_in_pages() -> None:
    regions = TwoRegions(page=3)
    first = create(regions.east)
    regions.settle()
    version = first
    for _ in range(10):
        regions.now_ms += 1
        version = update(regions.east, version)
    west = update(regions.west, first)
    regions.settle()
    ((_, marker),) = markers(regions.west).items()
    assert str(west.stamp) in members(marker)
    assert len(members(marker)) == 2
    check_consistency(regions)


@pytest.mark.trap(1)
def test_siblings_are_recorded_in_one_marker(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.settle()
    for region in regions.all:
        ((sk, marker),) = markers(region).items()
        assert sk == f"c#{first.stamp}"
        assert members(marker) == stamps(east, west)
        assert marker["updated"] == {"S": str(west.stamp)}
        assert marker["update_shard"] == {"S": "$platform#conflicts"}
        assert region.containers[0].records.newest(first.key) == west
        assert region.conflicts() <= 1
    assert regions.east.conflicts() + regions.west.conflicts() >= 1


def test_merge_resolves_the_conflict_in_both_regions(regions: TwoRegions, diverged: Diverged) -> None:
    _, east, west = diverged
    regions.settle()
    merged = merge(regions.east, west, east)
    regions.settle()
    for region in regions.all:
        ((_, marker),) = markers(region).items()
        assert marker["resolved"] == {"S": str(merged.stamp)}
        assert "update_shard" not in marker
        assert "updated" not in marker
    counted = [region.conflicts() for region in regions.all]
    update(regions.west, merged)
    regions.settle()
    assert [region.conflicts() for region in regions.all] == counted
    check_consistency(regions)


def test_version_unknown_to_a_merge_conflicts_with_it(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.deliver(regions.west)
    later = update(regions.east, east)
    merged = merge(regions.west, west, east)
    regions.settle()
    found = markers(regions.east)
    assert found.keys() == {f"c#{first.stamp}", f"c#{east.stamp}"}
    assert found[f"c#{first.stamp}"]["resolved"] == {"S": str(merged.stamp)}
    assert "resolved" not in found[f"c#{east.stamp}"]
    assert members(found[f"c#{east.stamp}"]) == stamps(later, merged)
    check_consistency(regions)


def test_marker_that_arrives_meanwhile_is_extended(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.deliver_all(regions.east)
    other = Stamp(west.stamp.millis + 1, 0, PEER)
    theirs = Marker(
        first.key, f"c#{first.stamp}", other, OPEN_CONFLICTS, members=[str(stamp) for stamp in (west.stamp, other)]
    )
    item = marker_item(theirs)
    arriving = [Message(RECORDS, key_of(item), item, Moment(2**60, PEER))]

    def before(operation: str, _request: object) -> None:
        if operation == "put_item" and arriving:
            regions.east.replica.receive(arriving.pop())

    regions.east.replica.before = before
    regions.east.reconcile()
    ((_, marker),) = markers(regions.east).items()
    assert members(marker) == [*stamps(east, west), str(other)]
    assert regions.east.conflicts() == 0


def test_conflict_resolved_in_the_other_region_stays_resolved(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.settle()
    merged = merge(regions.west, west, east)
    regions.west.reconcile()
    (marker,) = [message for message in regions.waiting(regions.east) if message.key[1].startswith("c#")]
    regions.east.replica.receive(marker)
    # The merge itself has not arrived, and the change of a sibling is delivered again.
    item = regions.east.replica.records[f"{TENANT}#{PATIENT}#{first.key.id}", f"l#{east.stamp}"]
    change = {"Keys": {name: item[name] for name in ("pk", "sk")}, "NewImage": item, "SequenceNumber": "1"}
    assert regions.east.reconciliation({"Records": [{"eventName": "INSERT", "dynamodb": change}]}) == {
        "batchItemFailures": []
    }
    assert markers(regions.east)[f"c#{first.stamp}"]["resolved"] == {"S": str(merged.stamp)}


def test_new_sibling_reopens_a_resolved_conflict(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.settle()
    merge(regions.east, west, east)
    regions.settle()
    counted = regions.west.conflicts()
    third = replace(east, stamp=Stamp(east.stamp.millis, 9, "eu-central-1"), digest="of another content")
    for item in (version_item(third), lineage_item(third)):
        regions.west.replica.receive(Message(RECORDS, key_of(item), item, Moment(2**60, THIRD)))
    regions.west.reconcile()
    marker = markers(regions.west)[f"c#{first.stamp}"]
    assert members(marker) == stamps(east, west, third)
    assert "resolved" not in marker
    assert regions.west.conflicts() == counted + 1


def test_merge_that_arrives_out_of_order_resolves_the_conflict_later(regions: TwoRegions, diverged: Diverged) -> None:
    first, east, west = diverged
    regions.deliver_all(regions.east)
    later = regions.east.containers[0].merge(first.key, BODY, known=west.stamp, merged=[east.stamp])
    merged = update(regions.east, later)
    for version in (east, merged):
        arrive(regions, regions.west, version)
    regions.west.reconcile()
    assert "resolved" not in markers(regions.west)[f"c#{first.stamp}"]
    arrive(regions, regions.west, later)
    regions.west.reconcile()
    assert markers(regions.west)[f"c#{first.stamp}"]["resolved"] == {"S": str(later.stamp)}


@pytest.mark.parametrize("item", [{"replaces": {"S": "x"}}, {"version": {"S": "x"}, "merges": {"S": "y"}}])
def test_item_of_another_form_raises_storage_fault(item: Item) -> None:
    with pytest.raises(StorageFault, match="UnreadableVersion"):
        Link.of(item)


def test_link_has_replaced_and_merged_versions() -> None:
    stamp = Stamp(1_800_000_000_000, 0, PEER)
    link = Link.of(
        {"version": {"S": str(stamp)}, "replaces": {"S": "a"}, "merges": {"L": [{"S": "b"}]}, "digest": {"S": "c"}}
    )
    assert link == Link(str(stamp), ("a", "b"), "c")


@st.composite
def histories(draw: st.DrawFn) -> list[Link]:
    """A record's versions, oldest first: each replaces an older one, and may merge another."""
    stamps = [str(Stamp(1_800_000_000_000 + number, 0, THIRD)) for number in range(draw(st.integers(4, 6)))]
    links = [Link(stamps[0], (ORIGIN,), "a")]
    for number, stamp in enumerate(stamps[1:], 1):
        older = [stamps[number - 1], ORIGIN, *stamps[: number - 1]]
        merged = draw(st.just(None) | st.sampled_from(stamps[:number]))
        follows = (draw(st.sampled_from(older)), *filter(None, [merged]))
        links.append(Link(stamp, follows, draw(st.sampled_from("aab"))))
    return links


@settings(max_examples=1_000)
@given(histories(), st.data())
def test_version_follows_no_fewer_versions_when_more_have_arrived(links: list[Link], data: st.DataObject) -> None:
    late = data.draw(st.sampled_from(links))
    whole = lineage_of(links)
    for stamp, follows in lineage_of(link for link in links if link != late).items():
        assert set(follows) <= set(whole[stamp])


def linked(*versions: tuple[list[int], str]) -> list[Link]:
    """Return versions from the numbers of those that each follows, and a letter for its content."""
    stamps = [str(Stamp(1_800_000_000_000 + number, 0, THIRD)) for number in range(len(versions))]
    return [
        Link(stamp, tuple(stamps[number] for number in follows) or (ORIGIN,), content)
        for stamp, (follows, content) in zip(stamps, versions, strict=True)
    ]


@given(histories(), st.integers(0, 2**32))
# The version 1 and its later equal sibling 3, which merged 2, are both older and newer than a version in conflict.
@example(linked(([], "a"), ([0], "a"), ([1], "a"), ([0, 2], "a"), ([2, 0], "a"), ([2], "a"), ([5], "a")), 2)
def test_markers_do_not_depend_on_the_order_of_arrival(links: list[Link], seed: int) -> None:
    regions, dice, key = TwoRegions(), Random(seed), RecordKey(TENANT, PATIENT, "r1")  # noqa: S311 - dice
    items = [write(version_in(link, key)) for link in links for write in (version_item, lineage_item)]
    waiting = {region.name: dice.sample(items, len(items)) for region in regions.all}
    while any(waiting.values()):
        region = dice.choice(regions.all)
        if waiting[region.name] and dice.random() < 0.7:
            item = waiting[region.name].pop()
            region.replica.receive(Message(RECORDS, key_of(item), item, Moment(2**60, THIRD)))
        elif region.replica.stream:
            region.reconcile()
        else:
            regions.deliver(region, dice.randrange(5))
    regions.settle()
    check_consistency(regions)


def version_in(link: Link, key: RecordKey) -> Version:
    """Return a version of a record with the lineage of a link."""
    replaces, *merges = (Stamp.parse(stamp) for stamp in link.follows)
    return version_of(
        {**BODY, "name": [{"family": link.digest}]},
        key=key,
        stamp=known(link.stamp),
        method=Method.PUT,
        replaces=replaces,
        merges=tuple(filter(None, merges)),
    )


def known(text: str) -> Stamp:
    stamp = Stamp.parse(text)
    assert stamp is not None
    return stamp


def create_once(region: Region) -> Version:
    return region.containers[0].creation.create(request(BODY, idempotency_key="once")).version


def delete(region: Region, known: Version) -> Version:
    return region.containers[0].patients.delete(request(), known.key.id)


def equal_creations(regions: TwoRegions) -> list[Version]:
    """Create a record with the same request in both regions before either version replicates."""
    east = create_once(regions.east)
    regions.now_ms += 5
    return [east, create_once(regions.west)]


def equal_updates(regions: TwoRegions) -> list[Version]:
    first = create(regions.east)
    regions.settle()
    east = update(regions.east, first, value="same")
    regions.now_ms += 5
    return [east, update(regions.west, first, value="same")]


def equal_deletions(regions: TwoRegions) -> list[Version]:
    first = create(regions.east)
    regions.settle()
    east = delete(regions.east, first)
    regions.now_ms += 5
    return [east, delete(regions.west, first)]


EQUAL = pytest.mark.parametrize("repeated", [equal_creations, equal_updates, equal_deletions])
Repeated = Callable[[TwoRegions], list[Version]]


class TestEqualSiblings:
    @EQUAL
    def test_request_repeated_in_the_other_region_is_no_conflict(self, regions: TwoRegions, repeated: Repeated) -> None:
        east, west = repeated(regions)
        assert east.stamp != west.stamp
        regions.settle()
        for region in regions.all:
            assert not markers(region)
            assert not region.conflicts()
            assert head_of(region, east) == west.stamp
            concurrent = region.containers[0].records.concurrent(east.key, [east, west])
            assert concurrent == {east.stamp: [], west.stamp: []}
        check_consistency(regions)

    @EQUAL
    @pytest.mark.parametrize("place", [0, 1])
    def test_version_that_follows_one_of_them_descends_from_both(
        self, regions: TwoRegions, repeated: Repeated, place: int
    ) -> None:
        regions.now_ms += 50
        known = repeated(regions)[place]
        regions.now_ms += 50
        later = update(regions.all[place], known)
        regions.settle()
        for region in regions.all:
            assert not markers(region)
            assert head_of(region, known) == later.stamp
        check_consistency(regions)

    @EQUAL
    def test_versions_that_follow_different_ones_conflict(self, regions: TwoRegions, repeated: Repeated) -> None:
        known = repeated(regions)
        regions.now_ms += 50
        later = [update(region, version) for region, version in zip(regions.all, known, strict=True)]
        regions.settle()
        for region in regions.all:
            ((_, marker),) = markers(region).items()
            assert members(marker) == stamps(*later)
            assert "resolved" not in marker
        merge(regions.east, max(later, key=lambda version: version.stamp), *later[:1])
        regions.settle()
        ((_, marker),) = markers(regions.west).items()
        assert "resolved" in marker
        check_consistency(regions)

    def test_repetition_that_hides_a_later_change_conflicts_with_it(self, regions: TwoRegions) -> None:
        first = create_once(regions.west)
        regions.now_ms += 5
        changed = update(regions.west, first)
        regions.now_ms += 5
        repeated = create_once(regions.east)
        regions.settle()
        for region in regions.all:
            ((_, marker),) = markers(region).items()
            assert members(marker) == stamps(changed, repeated)
            assert "resolved" not in marker
        check_consistency(regions)

    @pytest.mark.parametrize("repeated_first", [False, True])
    def test_change_of_the_hidden_change_closes_the_conflict(self, regions: TwoRegions, repeated_first: bool) -> None:
        first = create_once(regions.west)
        regions.now_ms += 5
        changed = update(regions.west, first)
        regions.now_ms += 5
        repeated = create_once(regions.east)
        if repeated_first:
            regions.deliver_all(regions.east)
            regions.east.reconcile()
        regions.now_ms += 5
        second = update(regions.west, changed)
        regions.now_ms += 5
        third = update(regions.west, second)
        regions.settle()
        for region in regions.all:
            assert head_of(region, first) == third.stamp
            found = markers(region)
            assert found.keys() <= {f"c#{first.stamp}"}
            for marker in found.values():
                assert members(marker) == stamps(changed, repeated)
                assert marker["resolved"] == {"S": str(second.stamp)}
        check_consistency(regions)

    def test_change_of_the_repetition_conflicts_with_that_of_the_hidden_change(self, regions: TwoRegions) -> None:
        first = create_once(regions.west)
        regions.now_ms += 5
        changed = update(regions.west, first)
        regions.now_ms += 5
        repeated = create_once(regions.east)
        regions.now_ms += 5
        later = [update(regions.west, changed), update(regions.east, repeated)]
        regions.settle()
        for region in regions.all:
            marker = markers(region)[f"c#{repeated.stamp}"]
            assert members(marker) == stamps(*later)
            assert "resolved" not in marker
        check_consistency(regions)

    def test_third_sibling_conflicts_with_both(self, regions: TwoRegions) -> None:
        first = create(regions.east)
        regions.settle()
        other = update(regions.east, first, value="same")
        same = replace(other, stamp=Stamp(other.stamp.millis, 9, THIRD))
        regions.now_ms += 5
        west = update(regions.west, first)
        for region in regions.all:
            for item in (version_item(same), lineage_item(same)):
                region.replica.receive(Message(RECORDS, key_of(item), item, Moment(2**60, THIRD)))
        regions.settle()
        ((_, marker),) = markers(regions.west).items()
        assert members(marker) == stamps(other, same, west)
        check_consistency(regions)

    def test_merge_after_a_repetition_resolves_the_conflict(self, regions: TwoRegions) -> None:
        first = create_once(regions.west)
        regions.now_ms += 5
        changed = update(regions.west, first)
        regions.now_ms += 5
        repeated = create_once(regions.east)
        regions.settle()
        (marker,) = markers(regions.east).values()
        assert "resolved" not in marker
        regions.now_ms += 5
        later = update(regions.east, repeated)
        merged = merge(regions.east, later, changed)
        regions.settle()
        (marker,) = markers(regions.west).values()
        assert marker["resolved"] == {"S": str(merged.stamp)}
        check_consistency(regions)

    def test_merge_of_one_of_them_before_its_own_ancestors_arrive_is_no_conflict_afterwards(
        self, regions: TwoRegions
    ) -> None:
        east, west = equal_creations(regions)
        regions.settle()
        regions.now_ms += 5
        changed = update(regions.west, west)
        regions.settle()
        regions.now_ms += 5
        onward = update(regions.west, changed)
        regions.now_ms += 5
        merged = merge(regions.west, onward, east)
        # The east receives the merge first, and does not see yet that it descends from the change.
        arrive(regions, regions.east, merged)
        regions.east.reconcile()
        (marker,) = markers(regions.east).values()
        assert members(marker) == stamps(changed, merged)
        assert "resolved" not in marker
        regions.settle()
        for region in regions.all:
            (marker,) = markers(region).values()
            assert marker["resolved"] == {"S": str(merged.stamp)}
            concurrent = region.containers[0].records.concurrent(east.key, [changed, merged])
            assert concurrent == {changed.stamp: [], merged.stamp: []}
        check_consistency(regions)

    def test_siblings_of_different_content_or_of_different_versions_are_not_equal(self, regions: TwoRegions) -> None:
        first = create(regions.east)
        one = update(regions.east, first, value="same")
        two = update(regions.east, one, value="same")
        other = update(regions.east, two, value="other")
        links = {version: Link.of(lineage_item(version)) for version in (one, two)}
        assert not links[one].equals(links[two])
        assert one.digest == two.digest != other.digest
        assert not links[one].equals(links[one])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"id": "a", "meta": {"versionId": "1"}}, {"id": "b"}, True),
        ({"meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}, {"meta": {"versionId": "1"}}, True),
        ({"meta": {"tag": [{"code": "a"}]}}, {}, False),
        ({"gender": "other", "active": True}, {"active": True, "gender": "other"}, True),
        ({"gender": "other"}, {"gender": "male"}, False),
        (
            {"extension": [{"url": "x", "valueDecimal": Number("1.0")}]},
            {"extension": [{"url": "x", "valueDecimal": Number("1.00")}]},
            False,
        ),
        ({"extension": [{"url": "x", "value": Number("1")}]}, {"extension": [{"url": "x", "value": "1"}]}, False),
    ],
)
def test_digest_identifies_the_content_alone(one: Resource, other: Resource, same: bool) -> None:
    key, stamp = RecordKey(TENANT, PATIENT, "a"), Stamp(1_800_000_000_000, 0, PEER)
    here, there = (
        version_of({**BODY, **part}, key=key, stamp=stamp, method=Method.PUT).digest for part in (one, other)
    )
    assert (here == there) == same
