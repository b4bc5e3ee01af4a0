"""Tests of the replication of global tables, and of its settings."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.replication import Replication
from healthcare_dr.emulator.replication.queue import ReplicationQueue
from healthcare_dr.emulator.replication.settings import change, read
from healthcare_dr.errors import EmulatorError
from unit.emulator.aws import EAST, REGIONS, WEST, Aws, eventually
from unit.emulator.replicas import get, global_table, put, settle, two_buckets


def test_write_replicates_after_the_lag(replicating: Emulator, patched: Aws) -> None:
    replicating.set_replication(lag_seconds=2)
    table = global_table(patched)
    start = time.monotonic()
    put(patched, EAST, table, "a", value="1")
    assert replicating.pending() == 1
    assert replicating.waiting_seconds() > 0
    early = get(patched, WEST, table, "a")
    assert early is None or time.monotonic() - start >= 2
    assert eventually(lambda: get(patched, WEST, table, "a") == {"value": "1"})
    assert time.monotonic() - start >= 2
    assert (replicating.pending(), replicating.waiting_seconds()) == (0, 0)


def test_unpatched_ministack_replicates_within_the_write(unpatched: Aws) -> None:
    table = global_table(unpatched)
    put(unpatched, EAST, table, "a", value="1")
    assert get(unpatched, WEST, table, "a") == {"value": "1"}
    assert unpatched.emulator.pending() == 0


@pytest.mark.parametrize("last", ["put", "delete"])
def test_last_writer_wins_in_both_regions(replicating: Emulator, patched: Aws, last: str) -> None:
    table = global_table(patched)
    put(patched, EAST, table, "a", value="first")
    settle(replicating)
    replicating.set_replication(tables=False)
    put(patched, WEST, table, "a", value="earlier")
    if last == "put":
        put(patched, EAST, table, "a", value="later")
    else:
        patched("dynamodb").delete_item(TableName=table, Key={"pk": {"S": "p"}, "sk": {"S": "a"}})
    assert replicating.pending() == 2
    replicating.set_replication(tables=True)
    settle(replicating)
    expected = {"value": "later"} if last == "put" else None
    assert [get(patched, region, table, "a") for region in REGIONS] == [expected, expected]


@pytest.fixture
def environments(replicating: Emulator, patched: Aws) -> Iterator[tuple[Emulator, str, Emulator, str]]:
    """Two environments with a table each, and their handles."""
    tables = [global_table(patched) for _ in range(2)]
    one, other = (replace(replicating, only=frozenset({table})) for table in tables)
    yield one, tables[0], other, tables[1]
    one.set_replication(tables=True, lag_seconds=replicating.replication().lag_seconds)


def test_paused_replication_of_one_environment_does_not_block_others(
    environments: tuple[Emulator, str, Emulator, str], replicating: Emulator, patched: Aws
) -> None:
    one, table, other, other_table = environments
    one.set_replication(tables=False)
    assert (one.replication().tables, other.replication().tables, replicating.replication().tables) == (
        False,
        True,
        True,
    )
    put(patched, EAST, table, "a", value="held")
    put(patched, EAST, other_table, "a", value="arrives")
    assert eventually(lambda: get(patched, WEST, other_table, "a") == {"value": "arrives"})
    assert get(patched, WEST, table, "a") is None
    assert (one.pending(), other.pending(), replicating.pending()) == (1, 0, 1)
    assert one.waiting_seconds() > other.waiting_seconds() == 0
    one.set_replication(tables=True)
    assert eventually(lambda: get(patched, WEST, table, "a") == {"value": "held"})


def test_lag_of_one_environment_does_not_delay_others(
    environments: tuple[Emulator, str, Emulator, str], patched: Aws
) -> None:
    one, table, _, other_table = environments
    one.set_replication(lag_seconds=3600)
    put(patched, EAST, table, "a", value="late")
    put(patched, EAST, other_table, "a", value="1")
    assert eventually(lambda: get(patched, WEST, other_table, "a") == {"value": "1"})
    assert get(patched, WEST, table, "a") is None


def test_last_writer_wins_while_another_environment_replicates(
    environments: tuple[Emulator, str, Emulator, str], replicating: Emulator, patched: Aws
) -> None:
    one, table, other, other_table = environments
    one.set_replication(tables=False)
    put(patched, EAST, table, "a", value="earlier")
    put(patched, WEST, table, "a", value="later")
    put(patched, EAST, other_table, "b", value="1")
    settle(other)
    one.set_replication(tables=True)
    settle(replicating)
    assert [get(patched, region, table, "a") for region in REGIONS] == [{"value": "later"}] * 2


def test_settings_without_own_entries_are_read(tmp_path: Path) -> None:
    settings = tmp_path / "replication.json"
    settings.write_text('{"tables": false, "documents": true, "lag_seconds": 2}')
    assert read(settings).of("any") == Replication(tables=False, lag_seconds=2)


def test_own_settings_are_kept_only_while_they_differ(tmp_path: Path) -> None:
    settings = tmp_path / "replication.json"
    change(settings, tables=False, only=["a", "b"])
    change(settings, lag_seconds=3, only=["b"])
    assert read(settings).own == {
        "a": Replication(tables=False),
        "b": Replication(tables=False, lag_seconds=3),
    }
    change(settings, tables=True, only=["a", "b"])
    assert read(settings).own == {"b": Replication(lag_seconds=3)}
    change(settings, documents=False)
    found = read(settings)
    assert (found.of("a"), found.of("b")) == (Replication(documents=False), Replication(lag_seconds=3))


def test_items_of_a_transaction_replicate_separately(replicating: Emulator, patched: Aws) -> None:
    table = global_table(patched)
    replicating.set_replication(tables=False)
    writes = [{"sk": {"S": name}, "pk": {"S": "p"}, "value": {"S": "east"}} for name in ("a", "b")]
    patched("dynamodb").transact_write_items(
        TransactItems=[{"Put": {"TableName": table, "Item": write}} for write in writes]
    )
    put(patched, WEST, table, "b", value="west, later")
    replicating.set_replication(tables=True)
    settle(replicating)
    for region in REGIONS:
        assert get(patched, region, table, "a") == {"value": "east"}
        assert get(patched, region, table, "b") == {"value": "west, later"}


def test_condition_reads_only_its_own_region(replicating: Emulator, patched: Aws) -> None:
    table = global_table(patched)
    replicating.set_replication(tables=False)
    for region in REGIONS:
        patched("dynamodb", region).put_item(
            TableName=table,
            Item={"pk": {"S": "p"}, "sk": {"S": "a"}, "value": {"S": region}},
            ConditionExpression="attribute_not_exists(pk)",
        )
    replicating.set_replication(tables=True)
    settle(replicating)
    assert get(patched, EAST, table, "a") == {"value": WEST}


def test_receiving_regions_stream_contains_only_winning_writes(replicating: Emulator, patched: Aws) -> None:
    table = global_table(patched)

    def stream() -> list[tuple[str, str | None]]:
        streams = patched("dynamodbstreams", WEST)
        arn = streams.list_streams(TableName=table)["Streams"][0]["StreamArn"]
        (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = streams.get_records(ShardIterator=iterator)["Records"]
        assert {record["awsRegion"] for record in records} <= {WEST}
        return [
            (record["eventName"], record["dynamodb"].get("NewImage", {}).get("value", {}).get("S"))
            for record in records
        ]

    replicating.set_replication(tables=False)
    put(patched, EAST, table, "a", value="loses")
    put(patched, EAST, table, "b", value="arrives")
    put(patched, WEST, table, "a", value="wins")
    assert stream() == [("INSERT", "wins")]
    replicating.set_replication(tables=True)
    settle(replicating)
    assert stream() == [("INSERT", "wins"), ("INSERT", "arrives")]


def test_pending_write_is_not_applied_to_a_new_table_of_the_same_name(replicating: Emulator, patched: Aws) -> None:
    table = global_table(patched)
    replicating.set_replication(tables=False)
    put(patched, EAST, table, "a", value="old table's")
    for region in REGIONS:
        patched("dynamodb", region).delete_table(TableName=table)
    patched.table(name=table, keys=("pk", "sk"), region=WEST)
    replicating.set_replication(tables=True)
    settle(replicating)
    assert get(patched, WEST, table, "a") is None


def test_tables_and_documents_are_paused_separately(replicating: Emulator, patched: Aws) -> None:
    table, buckets = global_table(patched), two_buckets(patched)
    replicating.set_replication(documents=False)
    put(patched, EAST, table, "a", value="1")
    buckets.put(EAST)
    assert eventually(lambda: get(patched, WEST, table, "a"))
    assert buckets.head(EAST)["ReplicationStatus"] == "PENDING"
    assert replicating.pending() == 1


def test_paused_changes_are_applied_at_the_end(fresh: Emulator) -> None:
    fresh.set_replication(tables=False, documents=False)
    fresh.start()
    aws = Aws(fresh)
    table, buckets = global_table(aws), two_buckets(aws)
    put(aws, EAST, table, "a", value="1")
    version = buckets.put(EAST, Metadata={"kept": "yes"})
    assert fresh.pending() == 2
    fresh.stop()
    assert fresh.pending() == 0
    fresh.start()
    assert fresh.replication() == Replication(tables=False, documents=False)
    assert get(aws, WEST, table, "a") == {"value": "1"}
    replica = buckets.head(WEST)
    assert (replica["VersionId"], replica["Metadata"], replica["ReplicationStatus"]) == (
        version,
        {"kept": "yes"},
        "REPLICA",
    )
    assert buckets.head(EAST)["ReplicationStatus"] == "COMPLETED"
    assert buckets.read(WEST) == b"content"
    fresh.erase()
    assert fresh.replication() == Replication()


def test_settings_change_separately(fresh: Emulator) -> None:
    assert fresh.replication() == Replication(tables=True, documents=True, lag_seconds=0.5)
    fresh.set_replication(documents=False)
    fresh.set_replication(lag_seconds=2)
    assert fresh.replication() == Replication(tables=True, documents=False, lag_seconds=2)
    assert fresh.pending() == 0


@pytest.mark.parametrize(
    "invalid",
    [{"lag_seconds": -1}, {"lag_seconds": float("nan")}, {"lag_seconds": 3601}, {"lag_seconds": "1"}, {"tables": 1}],
)
def test_invalid_settings_raise_a_one_line_error(fresh: Emulator, invalid: dict[str, Any]) -> None:
    with pytest.raises(EmulatorError, match=next(iter(invalid))) as refusal:
        fresh.set_replication(**invalid)
    assert "\n" not in str(refusal.value)
    assert fresh.replication() == Replication()


@pytest.mark.parametrize("content", ["", "[]", '{"speed": 1}', json.dumps({"lag_seconds": None})])
def test_damaged_settings_file_is_named(fresh: Emulator, content: str) -> None:
    fresh.set_replication()
    (fresh.home / "replication.json").write_text(content)
    with pytest.raises(EmulatorError, match=r"replication\.json|lag_seconds"):
        fresh.replication()


def test_pending_changes_require_the_root_secret(patched: Aws) -> None:
    address = f"https://127.0.0.1:{patched.emulator.port}/_ministack/replication"
    with patched.web() as web:
        assert web.get(address).status_code == 404
        assert web.get(address, headers={"x-healthcare-dr-root": "guess"}).status_code == 404


def test_unreachable_process_raises_an_error(unpatched: Aws) -> None:
    with pytest.raises(EmulatorError, match="HTTP 4"):
        replace(unpatched.emulator, patched=True).pending()


def test_replication_error_ends_the_process(tmp_path: Path) -> None:
    settings = tmp_path / "replication.json"
    change(settings, lag_seconds=0)
    queue, applied = ReplicationQueue(settings), []

    def fail() -> None:
        raise ArithmeticError

    queue.tables.put("table", fail)
    queue.tables.put("table", lambda: applied.append("next"))
    with pytest.raises(ArithmeticError):
        asyncio.run(queue.run())
    queue.drain()
    assert (applied, queue.pending()) == (["next"], 0)


def test_failed_write_at_the_end_is_logged_and_others_are_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue, applied = ReplicationQueue(tmp_path / "settings.json"), []

    def fail() -> None:
        raise ValueError("no such table")

    queue.tables.put("table", fail)
    queue.tables.put("table", lambda: applied.append("table"))
    queue.documents.put("bucket", lambda: applied.append("document"))
    queue.drain()
    assert applied == ["table", "document"]
    assert [(record.name, record.levelname) for record in caplog.records] == [("persistence", "ERROR")]
