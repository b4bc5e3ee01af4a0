"""What reconciling costs, and what becomes of a conflict."""

from dataclasses import replace

import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import OPEN_CONFLICTS, PATIENT
from patient_api.errors import Stale, StorageFault
from patient_api.http.payload import Resource
from patient_api.http.preconditions import weak
from patient_api.store.model import Marker, Method, Version, marker_item, version_item
from patient_api.store.reconciliation import Link
from unit.patient_api.fakes import PEER
from unit.patient_api.replicas.dynamodb import Message, Moment
from unit.patient_api.replicas.expressions import Item
from unit.patient_api.replicas.oracle import check_agreement
from unit.patient_api.replicas.world import TENANT, Region, World, request

BODY: Resource = {"resourceType": PATIENT, "name": [{"family": "Example"}]}


@pytest.fixture
def world() -> World:
    return World()


def create(region: Region) -> Version:
    return region.containers[0].creation.create(request(BODY)).version


def update(region: Region, known: Version) -> Version:
    name = known.key.id
    body = request(BODY | {"id": name}, if_match=weak(str(known.stamp)))
    return region.containers[0].patients.update(body, name)


def merge(region: Region, known: Version, *merged: Version) -> Version:
    stamps = [version.stamp for version in merged]
    return region.containers[0].merge(known.key, BODY, known=known.stamp, merged=stamps)


def arrive(world: World, to: Region, version: Version) -> None:
    """Let the version's own item arrive, and nothing else."""
    sks = [message.item["sk"]["S"] for message in world.waiting(to)]
    world.deliver(to, sks.index(f"v#{version.stamp}"))


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
    """What reconciling the whole stream takes."""
    region.replica.calls.clear()
    region.reconcile()
    return [operation for operation, _ in region.replica.calls]


@pytest.fixture
def diverged(world: World) -> tuple[Version, Version, Version]:
    """A version, and the two that followed it, the newer one in the west; nothing of those has arrived elsewhere."""
    first = create(world.east)
    world.settle()
    east = update(world.east, first)
    world.now_ms += 5
    return first, east, update(world.west, first)


def test_the_common_changes_cost_one_query_of_one_item_more(world: World) -> None:
    version = create(world.east)
    assert calls(world.east) == ["query"]
    for _ in range(3):
        version = update(world.east, version)
        assert calls(world.east) == ["query"]
        ((_, asked),) = world.east.replica.calls
        assert asked["Limit"] == 2
        assert asked["ProjectionExpression"] == "sk, #version, #replaces, #merges"
    versions = [update(world.east, version)]
    versions.append(update(world.east, versions[0]))
    assert calls(world.east) == ["query"]
    assert world.east.replica.calls[0][1]["Limit"] == 3


def test_a_version_from_the_other_region_costs_one_put_more(world: World) -> None:
    made = create(world.east)
    while world.waiting(world.west):
        world.deliver(world.west)
    assert head_of(world.west, made) is None
    assert calls(world.west) == ["put_item", "query"]
    assert head_of(world.west, made) == made.stamp
    world.settle()
    check_agreement(world, {f"{TENANT}#{PATIENT}#{made.key.id}"})


@pytest.mark.trap(1, 2)
def test_what_the_other_region_reconciles_late_lets_no_stale_write_pass(world: World) -> None:
    first = create(world.east)
    arrive(world, world.west, first)
    world.now_ms += 500
    second = update(world.east, first)
    world.now_ms += 200
    world.west.reconcile()
    while world.waiting(world.east):
        world.deliver(world.east)
    assert head_of(world.east, first) == second.stamp
    for container in world.east.containers:
        with pytest.raises(Stale):
            container.patients.update(
                request(BODY | {"id": first.key.id}, if_match=weak(str(first.stamp))), first.key.id
            )
    world.settle()
    assert [region.conflicts() for region in world.regions] == [0, 0]
    check_agreement(world, {f"{TENANT}#{PATIENT}#{first.key.id}"})


@pytest.mark.trap(1)
def test_a_deleted_record_has_a_deleted_head_whatever_the_other_region_does(world: World) -> None:
    first = create(world.east)
    arrive(world, world.west, first)
    world.now_ms += 500
    world.east.containers[0].patients.delete(request(), first.key.id)
    world.now_ms += 200
    world.west.reconcile()
    while world.waiting(world.east):
        world.deliver(world.east)
    head = world.east.head(first.key)
    assert (head and (head.method, head.resource)) == (Method.DELETE, None)


def test_a_version_older_than_the_head_leaves_it_alone(
    world: World, diverged: tuple[Version, Version, Version]
) -> None:
    _, east, west = diverged
    world.west.reconcile()
    arrive(world, world.west, east)
    world.west.reconcile()
    assert head_of(world.west, west) == west.stamp


@pytest.mark.trap(1)
def test_siblings_are_marked_and_counted_once_in_a_region(
    world: World, diverged: tuple[Version, Version, Version]
) -> None:
    first, east, west = diverged
    world.settle()
    for region in world.regions:
        ((sk, marker),) = markers(region).items()
        assert sk == f"c#{first.stamp}"
        assert members(marker) == stamps(east, west)
        assert marker["updated"] == {"S": str(west.stamp)}
        assert marker["update_shard"] == {"S": "$platform#conflicts"}
        assert region.containers[0].records.newest(first.key) == west
        assert region.conflicts() <= 1
    assert world.east.conflicts() + world.west.conflicts() >= 1


def test_a_merge_closes_the_conflict_in_both_regions(world: World, diverged: tuple[Version, Version, Version]) -> None:
    first, east, west = diverged
    world.settle()
    merged = merge(world.east, west, east)
    world.settle()
    for region in world.regions:
        ((_, marker),) = markers(region).items()
        assert marker["resolved"] == {"S": str(merged.stamp)}
        assert "update_shard" not in marker
        assert "updated" not in marker
    counted = [region.conflicts() for region in world.regions]
    update(world.west, merged)
    world.settle()
    assert [region.conflicts() for region in world.regions] == counted
    check_agreement(world, {f"{TENANT}#{PATIENT}#{first.key.id}"})


def test_what_a_merge_did_not_know_is_a_conflict_with_it(
    world: World, diverged: tuple[Version, Version, Version]
) -> None:
    first, east, west = diverged
    world.deliver(world.west)
    later = update(world.east, east)
    merged = merge(world.west, west, east)
    world.settle()
    found = markers(world.east)
    assert found.keys() == {f"c#{first.stamp}", f"c#{east.stamp}"}
    assert found[f"c#{first.stamp}"]["resolved"] == {"S": str(merged.stamp)}
    assert "resolved" not in found[f"c#{east.stamp}"]
    assert members(found[f"c#{east.stamp}"]) == stamps(later, merged)
    check_agreement(world, {f"{TENANT}#{PATIENT}#{first.key.id}"})


def test_a_marker_that_arrives_meanwhile_is_added_to(world: World, diverged: tuple[Version, Version, Version]) -> None:
    first, east, west = diverged
    while world.waiting(world.east):
        world.deliver(world.east)
    other = Stamp(west.stamp.millis + 1, 0, PEER)
    theirs = Marker(
        first.key, f"c#{first.stamp}", other, OPEN_CONFLICTS, members=[str(stamp) for stamp in (west.stamp, other)]
    )
    arriving = [Message(marker_item(theirs), Moment(2**60, PEER))]

    def before(operation: str) -> None:
        if operation == "put_item" and arriving:
            world.east.replica.receive(arriving.pop())

    world.east.replica.before = before
    world.east.reconcile()
    ((_, marker),) = markers(world.east).items()
    assert members(marker) == [*stamps(east, west), str(other)]
    assert world.east.conflicts() == 0


def test_what_the_other_region_knows_to_be_resolved_stays_so(
    world: World, diverged: tuple[Version, Version, Version]
) -> None:
    first, east, west = diverged
    world.settle()
    merged = merge(world.west, west, east)
    world.west.reconcile()
    (marker,) = [message for message in world.waiting(world.east) if message.item["sk"]["S"].startswith("c#")]
    world.east.replica.receive(marker)
    # The merge itself has not arrived, and the sibling's change is handed over once more.
    item = world.east.replica.records[f"{TENANT}#{PATIENT}#{first.key.id}", f"v#{east.stamp}"]
    change = {"Keys": {name: item[name] for name in ("pk", "sk")}, "NewImage": item, "SequenceNumber": "1"}
    assert world.east.reconciliation({"Records": [{"eventName": "INSERT", "dynamodb": change}]}) == {
        "batchItemFailures": []
    }
    assert markers(world.east)[f"c#{first.stamp}"]["resolved"] == {"S": str(merged.stamp)}


def test_only_a_new_member_opens_a_conflict_again(world: World, diverged: tuple[Version, Version, Version]) -> None:
    first, east, west = diverged
    world.settle()
    merge(world.east, west, east)
    world.settle()
    counted = world.west.conflicts()
    third = replace(east, stamp=Stamp(east.stamp.millis, 9, "eu-central-1"))
    world.west.replica.receive(Message(version_item(third), Moment(2**60, "eu-central-1")))
    world.west.reconcile()
    marker = markers(world.west)[f"c#{first.stamp}"]
    assert members(marker) == stamps(east, west, third)
    assert "resolved" not in marker
    assert world.west.conflicts() == counted + 1


def test_a_merge_that_comes_ahead_of_what_it_merges_closes_the_conflict_later(
    world: World, diverged: tuple[Version, Version, Version]
) -> None:
    first, east, west = diverged
    while world.waiting(world.east):
        world.deliver(world.east)
    later = world.east.containers[0].merge(first.key, BODY, known=west.stamp, merged=[east.stamp])
    merged = update(world.east, later)
    for version in (east, merged):
        arrive(world, world.west, version)
    world.west.reconcile()
    assert "resolved" not in markers(world.west)[f"c#{first.stamp}"]
    arrive(world, world.west, later)
    world.west.reconcile()
    assert markers(world.west)[f"c#{first.stamp}"]["resolved"] == {"S": str(later.stamp)}


def test_a_record_of_many_versions_is_read_in_pages() -> None:
    world = World(page=3)
    first = create(world.east)
    world.settle()
    version = first
    for _ in range(10):
        world.now_ms += 1
        version = update(world.east, version)
    west = update(world.west, first)
    world.settle()
    ((_, marker),) = markers(world.west).items()
    assert str(west.stamp) in members(marker)
    assert len(members(marker)) == 2
    check_agreement(world, {f"{TENANT}#{PATIENT}#{first.key.id}"})


@pytest.mark.parametrize("item", [{"replaces": {"S": "x"}}, {"version": {"S": "x"}, "merges": {"S": "y"}}])
def test_what_nobody_of_ours_has_written_is_a_fault(item: Item) -> None:
    with pytest.raises(StorageFault, match="UnreadableVersion"):
        Link.of(item)


def test_a_link_holds_what_it_follows() -> None:
    stamp = Stamp(1_800_000_000_000, 0, PEER)
    link = Link.of({"version": {"S": str(stamp)}, "replaces": {"S": "a"}, "merges": {"L": [{"S": "b"}]}})
    assert link == Link(str(stamp), ("a", "b"))
