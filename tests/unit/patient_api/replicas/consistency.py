"""Check the invariants that hold once everything is replicated and reconciled, from the versions alone."""

from collections.abc import Iterable

from patient_api.store.model import head_sk
from unit.patient_api.dynamodb_expressions import Item
from unit.patient_api.replicas.dynamodb import Replica
from unit.patient_api.replicas.regions import TwoRegions

Lineage = dict[str, set[str]]


def lineage_of(replica: Replica, pk: str) -> Lineage:
    """Return the versions that each version of a record follows. `0` stands for none."""
    return {
        item["version"]["S"]: {
            item.get("replaces", {"S": "0"})["S"],
            *(merged["S"] for merged in item.get("merges", {"L": []})["L"]),
        }
        for (partition, sk), item in replica.records.items()
        if partition == pk and sk.startswith("v#")
    }


def check_consistency(regions: TwoRegions, records: Iterable[str]) -> None:
    """Check that the replicas are equal, heads are the newest versions, and markers name all siblings."""
    east, west = regions.east.replica, regions.west.replica
    assert east.records == west.records
    markers = {key: item for key, item in east.records.items() if key[1].startswith("c#")}
    for pk in records:
        lineage = lineage_of(east, pk)
        newest = east.records[pk, f"v#{max(lineage)}"]
        for region in regions.all:
            head = east.records[pk, head_sk(region.name)]
            assert head["version"] == head["updated"] == newest["version"], "the head is not the newest version"
            assert head.get("resource") == newest.get("resource")
            assert head["update_shard"]["S"].endswith(f"#{region.name}")
        for followed in set().union(*lineage.values()):
            _check_marker(followed, lineage, markers.pop((pk, f"c#{followed}"), None))
    assert not markers, "there is a marker without siblings"
    counted = regions.east.conflicts() + regions.west.conflicts()
    assert counted >= sum(sk.startswith("c#") for _, sk in east.records)


def _check_marker(followed: str, lineage: Lineage, marker: Item | None) -> None:
    siblings = {stamp for stamp, follows in lineage.items() if followed in follows}
    united = {stamp for stamp in lineage if siblings <= _behind(stamp, lineage)}
    if len(siblings) < 2:
        assert marker is None
        return
    if marker is None:
        assert united & siblings, "siblings have no marker"
        return
    assert [member["S"] for member in marker["members"]["L"]] == sorted(siblings)
    assert marker["version"]["S"] == max(siblings)
    assert (marker.get("update_shard", {}).get("S") == "$platform#conflicts") == (not united)
    assert ("resolved" in marker) == bool(united)
    assert not united or marker["resolved"]["S"] in united


def _behind(stamp: str, lineage: Lineage) -> set[str]:
    """Return a version and all that it descends from."""
    found, ahead = {stamp}, [stamp]
    while ahead:
        for other in lineage.get(ahead.pop(), ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return found
