"""Reads of the index: heads in batches, and records by their last update."""

from collections.abc import Callable

import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.errors import StorageFault
from patient_api.store.index import BATCH_ATTEMPTS, Index
from patient_api.store.model import Method, RecordKey, Version, head_item
from unit.patient_api.fakes.aws import PEER, RECORDS, REGION, START_MS, FakeDynamoDB, key_of

KEYS = [RecordKey("north-clinic", PATIENT, f"p-{number}") for number in range(4)]


def index(dynamodb: FakeDynamoDB, pause: Callable[[float], None], region: str = REGION) -> Index:
    for key in KEYS:
        for at, place in ((7, REGION), (3, PEER)):
            version = Version(key, Stamp(START_MS + at, 0, place), Method.PUT, "{}", "")
            item = head_item(version, place)
            dynamodb.tables[RECORDS][key_of(item)] = item
    return Index(client=dynamodb, table=RECORDS, region=region, pause=pause)


def test_unprocessed_keys_are_read_again_after_a_pause() -> None:
    pauses: list[float] = []
    heads = index(FakeDynamoDB(page=1), pauses.append).heads(KEYS)
    assert list(heads) == KEYS
    assert len(pauses) == len(KEYS) - 1
    assert all(0 < pause < 0.2 for pause in pauses)
    assert len(set(pauses)) == len(pauses), "all readers would retry at the same time"


def test_complete_response_needs_no_pause() -> None:
    pauses: list[float] = []
    assert len(index(FakeDynamoDB(page=100), pauses.append).heads(KEYS)) == len(KEYS)
    assert pauses == []


def test_keys_that_stay_unprocessed_raise_storage_fault() -> None:
    pauses: list[float] = []
    with pytest.raises(StorageFault, match="UnprocessedKeys") as raised:
        index(FakeDynamoDB(page=0), pauses.append).heads(KEYS)
    assert raised.value.throttled
    assert len(pauses) == BATCH_ATTEMPTS - 1


@pytest.mark.trap(1)
@pytest.mark.parametrize(("region", "at"), [(REGION, 7), (PEER, 3)])
def test_index_uses_the_heads_of_its_region(region: str, at: int) -> None:
    region_index = index(FakeDynamoDB(), lambda _seconds: None, region)
    assert {head.stamp for head in region_index.heads(KEYS).values()} == {Stamp(START_MS + at, 0, region)}
    listed = [
        one
        for partition in region_index.update_partitions("north-clinic", PATIENT)
        for one in region_index.updates(partition, low="0", high="9", ascending=True, limit=10)
    ]
    assert sorted(one.id for one in listed) == [key.id for key in KEYS]
    assert {one.updated for one in listed} == {str(Stamp(START_MS + at, 0, region))}
