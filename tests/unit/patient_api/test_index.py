"""Heads by the hundred, and the lists of one region."""

from collections.abc import Callable
from typing import Any

import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.errors import StorageFault
from patient_api.store.index import BATCH_ATTEMPTS, Index
from patient_api.store.model import Method, RecordKey, Version, head_item
from unit.patient_api.fakes import PEER, RECORDS, REGION, START_MS, FakeDynamoDB

KEYS = [RecordKey("north-clinic", PATIENT, f"p-{number}") for number in range(4)]


class Hurried(FakeDynamoDB):
    """Gives `share` items of each batch, and leaves the rest unprocessed."""

    def __init__(self, share: int) -> None:
        super().__init__()
        self.share = share

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        keys = request["RequestItems"][RECORDS]["Keys"]
        found: dict[str, Any] = {"Responses": {}}
        if self.share:
            some = {RECORDS: {"Keys": keys[: self.share], "ConsistentRead": True}}
            found = super().batch_get_item(RequestItems=some)
        left = {RECORDS: {"Keys": keys[self.share :], "ConsistentRead": True}} if keys[self.share :] else {}
        return {"Responses": found["Responses"], "UnprocessedKeys": left}


def index(dynamodb: FakeDynamoDB, pause: Callable[[float], None], region: str = REGION) -> Index:
    for key in KEYS:
        for at, place in ((7, REGION), (3, PEER)):
            version = Version(key, Stamp(START_MS + at, 0, place), Method.PUT, "{}")
            item = head_item(version, place)
            dynamodb.tables[RECORDS][item["pk"]["S"], item["sk"]["S"]] = item
    return Index(client=dynamodb, table=RECORDS, region=region, pause=pause)


def test_what_dynamodb_left_is_asked_for_again_after_a_pause() -> None:
    pauses: list[float] = []
    heads = index(Hurried(1), pauses.append).heads(KEYS)
    assert list(heads) == KEYS
    assert len(pauses) == len(KEYS) - 1
    assert all(0 < pause < 0.2 for pause in pauses)
    assert len(set(pauses)) == len(pauses), "all readers would come back at once"


def test_an_answer_in_one_piece_waits_for_nothing() -> None:
    pauses: list[float] = []
    assert len(index(Hurried(100), pauses.append).heads(KEYS)) == len(KEYS)
    assert pauses == []


def test_a_table_that_gives_nothing_is_a_fault_in_the_end() -> None:
    pauses: list[float] = []
    with pytest.raises(StorageFault, match="UnprocessedKeys") as raised:
        index(Hurried(0), pauses.append).heads(KEYS)
    assert raised.value.throttled
    assert len(pauses) == BATCH_ATTEMPTS - 1


@pytest.mark.trap(1)
@pytest.mark.parametrize(("region", "at"), [(REGION, 7), (PEER, 3)])
def test_a_region_goes_by_its_own_heads(region: str, at: int) -> None:
    ways = index(FakeDynamoDB(), lambda _seconds: None, region)
    assert {head.stamp for head in ways.heads(KEYS).values()} == {Stamp(START_MS + at, 0, region)}
    listed = [
        one
        for partition in ways.update_partitions("north-clinic", PATIENT)
        for one in ways.updates(partition, low="0", high="9", ascending=True, limit=10)
    ]
    assert sorted(one.id for one in listed) == [key.id for key in KEYS]
    assert {one.updated for one in listed} == {str(Stamp(START_MS + at, 0, region))}
