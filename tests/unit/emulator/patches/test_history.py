"""Tests of the limits of the services' history by count and by age."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ministack.core.responses import request_scope
from ministack.services import cloudwatch, cloudwatch_logs, dynamodb, lambda_svc

from healthcare_dr.emulator.patches import dynamodb as dynamodb_patches
from healthcare_dr.emulator.patches import history

ACCOUNT, REGION, TABLE = "123456789012", "us-east-1", "table"
NOW = 1_800_000_000.0
KEY = (ACCOUNT, REGION, TABLE)


def record(at: float) -> dict[str, Any]:
    return {"dynamodb": {"ApproximateCreationDateTime": at, "SequenceNumber": f"{int(at * 1000):020d}0"}}


def test_dropped_changes_limit_the_earliest_restorable_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_patches, "_STARTED", 0.0)
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setitem(dynamodb._tables, TABLE, {"CreationDateTime": 0})
    last = NOW - history.STREAM_SECONDS - 60
    dynamodb._stream_records[TABLE] = [record(last - 60), record(last)]
    before = dynamodb_patches._earliest(TABLE)
    history.trim_streams(NOW)
    assert dynamodb._stream_records[TABLE] == []
    assert before < last < dynamodb_patches._earliest(TABLE)


@pytest.fixture(autouse=True)
def stores() -> Iterator[None]:
    """Run in one region with empty stores, and empty them afterwards."""
    used = (
        cloudwatch._metrics,
        cloudwatch_logs._log_groups,
        dynamodb._stream_records,
        dynamodb._stream_trimmed,
        lambda_svc._esms,
        lambda_svc._dynamodb_stream_positions,
    )
    with request_scope(ACCOUNT, REGION):
        yield
    for store in used:
        store.clear()
    history.dropped_until.clear()


def stream(*times: float) -> dict[str, Any]:
    events = [{"timestamp": int(at * 1000), "message": str(at), "ingestionTime": 0} for at in times]
    return {"events": events, "lastEventTimestamp": events[-1]["timestamp"] if events else None}


def test_log_group_keeps_its_newest_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_LOG_EVENTS", 4)
    calls = {f"2027/01/15/[1]{number}": stream(NOW + number, NOW + number) for number in range(4)}
    cloudwatch_logs._log_groups["group"] = {"streams": dict(calls)}
    history.trim_logs(NOW)
    assert list(cloudwatch_logs._log_groups["group"]["streams"]) == list(calls)[2:]
    history.trim_logs(NOW + history.LOG_EVENT_SECONDS + 2.5)
    assert list(cloudwatch_logs._log_groups["group"]["streams"]) == list(calls)[3:]


def test_stream_of_a_client_loses_only_its_oldest_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_LOG_EVENTS", 2)
    cloudwatch_logs._log_groups["group"] = {"streams": {"own": stream(NOW, NOW + 1, NOW + 2), "empty": stream()}}
    history.trim_logs(NOW)
    streams = cloudwatch_logs._log_groups["group"]["streams"]
    assert [event["message"] for event in streams["own"]["events"]] == [str(NOW + 1), str(NOW + 2)]
    assert "empty" in streams


def datum(age: float, value: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"Timestamp": NOW - age, "Unit": "None", "Dimensions": {}, "Value": value, **more}


def test_equal_data_of_a_past_minute_are_rolled_up() -> None:
    recent = [datum(1), datum(2)]
    past = NOW // 60 * 60 - NOW + 600  # the beginning of a minute
    alike = [datum(past - 1), datum(past - 2, Count=2.0), datum(past - 3)]
    other, statistics = datum(past - 4, value=5.0), datum(past - 5, _stat={"SampleCount": 3})
    kept = history.rolled_up([*recent, *alike, other, statistics], NOW)
    assert len(kept) == 5
    assert cloudwatch._calc_stats(kept) == cloudwatch._calc_stats([*recent, *alike, other, statistics])
    assert [point["Count"] for point in kept if point["Timestamp"] == NOW - past and point["Value"] == 1.0] == [4.0]
    assert history.rolled_up(kept, NOW) == kept


def test_metric_keeps_its_newest_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_METRIC_DATA", 3)
    bucket = cloudwatch._metric_bucket(("namespace", "name", ""))
    bucket += [datum(age, value=age) for age in (5, 4, 3, 2, 1)]
    history.trim_metrics(NOW)
    # The same list object: another thread may be about to append to it.
    assert [point["Value"] for point in bucket] == [3, 2, 1]
    assert cloudwatch._metrics["namespace", "name", ""] is bucket
    history.trim_metrics(NOW + history.METRIC_SECONDS)
    assert bucket == []


def test_history_is_trimmed_periodically(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudwatch, "_evict_old_metrics", cloudwatch._evict_old_metrics)
    monkeypatch.setattr(history, "TRIM_SECONDS", 0.01)
    monkeypatch.setattr(history, "MOST_METRIC_DATA", 3)
    bucket = cloudwatch._metric_bucket(("namespace", "name", ""))
    bucket += [datum(age) for age in (5, 4, 3, 2, 1)]

    async def serve() -> None:
        history.limit_history()
        async with asyncio.timeout(30):
            while len(bucket) > 3:
                await asyncio.sleep(0.01)

    asyncio.run(serve())


def records(count: int) -> list[dict[str, Any]]:
    return [{"dynamodb": {"ApproximateCreationDateTime": NOW, "number": number}} for number in range(count)]


def numbers() -> list[int]:
    return [record["dynamodb"]["number"] for record in dynamodb._stream_records[TABLE]]


def test_table_stream_keeps_its_newest_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_STREAM_RECORDS", 3)
    dynamodb._stream_records[TABLE] = records(5)
    history.trim_streams(NOW)
    assert numbers() == [2, 3, 4]
    assert dynamodb._stream_trimmed[TABLE] == 2
    history.trim_streams(NOW + history.STREAM_SECONDS + 1)
    assert numbers() == []
    assert dynamodb._stream_trimmed[TABLE] == 5


@pytest.mark.parametrize(("positions", "first"), [([1, 4], 1), ([4, 4], 3), ([None, 4], 0)])
def test_unread_stream_record_is_kept(monkeypatch: pytest.MonkeyPatch, positions: list[int | None], first: int) -> None:
    monkeypatch.setattr(history, "MOST_STREAM_RECORDS", 2)
    dynamodb._stream_records[TABLE] = records(5)
    for number, position in enumerate(positions):
        name = f"mapping-{number}"
        arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}/stream/2027"
        lambda_svc._esms[name] = {"UUID": name, "EventSourceArn": arn}
        if position is not None:
            lambda_svc._dynamodb_stream_positions[name] = position
    history.trim_streams(NOW)
    assert numbers()[0] == first
