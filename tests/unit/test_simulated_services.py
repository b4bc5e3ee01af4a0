"""The services of the simulation behave as AWS documents where runs depend on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from patient_api.contract.functions import API
from patient_api.contract.keys import UPDATE_INDEX
from simulation.platform import EAST, WEST, Container, CrashedError, Platform
from unit.patient_api.fakes.aws import AUDIT, RECORDS

NEW = {"ConditionExpression": "attribute_not_exists(pk)"}


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform("services")
    yield made
    made.close()


def item(sk: str = "one", **texts: str) -> dict[str, Any]:
    return {"pk": {"S": "record"}, "sk": {"S": sk}, **{name: {"S": text} for name, text in texts.items()}}


def invoke(platform: Platform, call: Callable[[Any], Any], region: str = EAST) -> list[Any]:
    """Run an invocation that calls DynamoDB, and return its result, or the error in place of it."""
    results: list[Any] = []

    def run() -> None:
        def function(container: Container) -> object:
            try:
                return call(container.dynamodb())
            except (ClientError, ConnectTimeoutError) as error:
                return error

        try:
            results.append(platform.invoke(region, API, function))
        except CrashedError as error:
            results.append(error)

    task = platform.scheduler.spawn("test", run)
    while not task.done.is_set:
        platform.scheduler.run(1.0)
    return results


def records(platform: Platform, region: str) -> dict[tuple[str, str], Any]:
    return platform.tables[region].tables[RECORDS]


@pytest.mark.trap(2)
def test_condition_checks_the_local_replica_and_the_later_write_wins(platform: Platform) -> None:
    platform.faults.paused |= {("records", EAST), ("records", WEST)}

    def write(table: Any) -> object:
        return table.put_item(TableName=RECORDS, Item=item(text=table._region), **NEW)

    for region in (EAST, WEST):
        (response,) = invoke(platform, write, region)
        assert not isinstance(response, ClientError)
    platform.restore()
    platform.scheduler.run(20.0)
    assert [records(platform, region)["record", "one"]["text"] for region in (EAST, WEST)] == [{"S": WEST}] * 2


def test_deletion_replicates(platform: Platform) -> None:
    platform.tables[EAST].add(RECORDS, item())
    platform.scheduler.run(20.0)
    platform.tables[WEST].remove(RECORDS, ("record", "one"))
    platform.scheduler.run(20.0)
    assert ("record", "one") not in records(platform, EAST)


@pytest.mark.trap(3)
def test_items_of_a_transaction_replicate_one_by_one(platform: Platform) -> None:
    puts = [{"Put": {"TableName": RECORDS, "Item": item(f"{number:02d}")}} for number in range(20)]
    platform.tables[EAST].transact_write_items(TransactItems=puts, ClientRequestToken="token")
    counts = set()
    while len(records(platform, WEST)) < len(puts):
        platform.scheduler.run(0.05)
        counts.add(len(records(platform, WEST)))
    assert counts - {0, len(puts)}


def test_index_follows_later_than_the_table(platform: Platform) -> None:
    table = platform.tables[EAST]
    table.add(RECORDS, item(update_shard="shard", updated="1"))
    query = {
        "TableName": RECORDS,
        "IndexName": UPDATE_INDEX,
        "KeyConditionExpression": "update_shard = :shard",
        "ExpressionAttributeValues": {":shard": {"S": "shard"}},
    }
    assert table.query(**query)["Items"] == []
    platform.scheduler.run(1.0)
    assert len(table.query(**query)["Items"]) == 1


def test_request_whose_response_is_lost_is_repeated_after_it_took_effect(platform: Platform) -> None:
    platform.faults.lost_responses = 1.0
    (error,) = invoke(platform, lambda table: table.put_item(TableName=RECORDS, Item=item(), **NEW))
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert records(platform, EAST)


def test_transaction_with_a_token_is_repeated_without_effect(platform: Platform) -> None:
    put = {"Put": {"TableName": RECORDS, "Item": item(), **NEW}}
    for _ in range(2):
        platform.tables[EAST].transact_write_items(TransactItems=[put], ClientRequestToken="token")
    assert len(records(platform, EAST)) == 1


def test_killed_container_makes_no_further_calls(platform: Platform) -> None:
    platform.faults.crashing[EAST] = 0.2

    def write(table: Any) -> None:
        try:
            for number in range(100):
                table.put_item(TableName=AUDIT, Item=item(f"{number:02d}"))
        finally:
            table.put_item(TableName=AUDIT, Item=item("after"))

    (error,) = invoke(platform, write)
    assert isinstance(error, CrashedError)
    assert ("record", "after") not in platform.tables[EAST].tables[AUDIT]


def test_region_that_is_lost_cannot_be_reached_and_sends_nothing(platform: Platform) -> None:
    platform.tables[EAST].add(RECORDS, item())
    platform.lose(EAST)
    platform.scheduler.run(30.0)
    assert ("record", "one") not in records(platform, WEST)
    platform.restore()
    platform.scheduler.run(30.0)
    assert ("record", "one") in records(platform, WEST)


def test_bucket_refuses_an_object_that_is_there_and_replicates_versions(platform: Platform) -> None:
    east, west = platform.buckets[EAST], platform.buckets[WEST]
    stored = east.place("documents/t/1", b"bytes")
    platform.scheduler.run(300.0)
    assert [one.version for one in west.objects["documents/t/1"]] == [stored.version]
    url = west.generate_presigned_url(
        "put_object", Params={"Key": "documents/t/1", "IfNoneMatch": "*", "ContentLength": 1}, ExpiresIn=60
    )
    refused: list[str] = []

    def upload() -> None:
        try:
            platform.transfer(url, b"-")
        except ClientError as error:
            refused.append(error.response["Error"]["Code"])

    platform.scheduler.spawn("test", upload)
    platform.scheduler.run(1.0)
    assert refused == ["PreconditionFailed"]


def test_quarantine_replicates_and_denies_downloads(platform: Platform) -> None:
    east, west = platform.buckets[EAST], platform.buckets[WEST]
    stored = east.place("documents/t/1", b"bytes")
    platform.scheduler.run(300.0)
    tags = {"TagSet": [{"Key": "quarantine", "Value": "true"}]}
    east.put_object_tagging(Key="documents/t/1", VersionId=stored.version, Tagging=tags)
    platform.scheduler.run(300.0)
    address = west.generate_presigned_url("get_object", Params={"Key": "documents/t/1"}, ExpiresIn=60)
    with pytest.raises(ClientError, match="AccessDenied"):
        west.use(platform.addresses[address])
