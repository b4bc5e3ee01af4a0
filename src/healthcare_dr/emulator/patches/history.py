"""Limit the history that the services keep: log events, metric data, stream records and the like.

Stored items and objects are never dropped here. Everything else is kept as long as tests and drills read it, and
limited in number and in age, so that a process that runs for hours keeps its size.
"""

import asyncio
import ctypes
import itertools
import logging
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs, dynamodb, eventbridge, lambda_svc

Record = dict[str, Any]
Key = tuple[str, str, str]

# A round reads the whole history, in a few milliseconds; under load, some thousands of entries are added between
# rounds.
TRIM_SECONDS = 20.0
# malloc_trim reads the whole heap, so it does not run in every round.
ROUNDS_PER_RELEASE = 3

# 25,000 events are the last 4,000 API calls of a log group or so, some 20 MB: more than a drill makes in an hour.
MOST_LOG_EVENTS = 25_000
LOG_EVENT_SECONDS = 24 * 3600.0
# The name of a stream that Lambda creates. Streams that clients created are kept, without their oldest events.
CALL_STREAM = re.compile(r"\d{4}/\d{2}/\d{2}/\[")

# The longest range that is read is the length of a drill. CloudWatch keeps data of less than a minute for three hours.
MOST_METRIC_DATA = 5_000
METRIC_SECONDS = 3 * 3600.0
# From this age on, equal data of one minute are one datum with a count, as CloudWatch rolls them up. No alarm with a
# period below a minute reads further back.
ROLL_UP_SECONDS = 300.0
MINUTE = 60

# A table is restored to a moment minutes ago, before the damage of a drill. At 20 writes a second of six items each,
# 30,000 records are four minutes, and some 40 MB. Records that a mapping has not read are always kept.
MOST_STREAM_RECORDS = 30_000
STREAM_SECONDS = 6 * 3600.0

# State changes of alarms and events of EventBridge: far more than a day of drills makes.
MOST_ENTRIES = 5_000

logger = logging.getLogger("healthcare_dr.emulator")

# Held while records are dropped and while another thread reads a mapping's next batch: positions count from the first
# record that is kept.
streams_lock = threading.Lock()
# The time of the newest dropped record by account, region and table, in seconds since the epoch. Earlier states cannot
# be restored.
dropped_until: dict[Key, float] = {}

# asyncio keeps only weak references to tasks.
_trimming: list[asyncio.Task[None]] = []


def limit_history() -> None:
    """History was unlimited: some 14 KB for each API call, and every request to CloudWatch copied the whole history of
    all metrics.
    """
    cloudwatch._evict_old_metrics = lambda: None
    _trimming.append(asyncio.get_running_loop().create_task(_run()))


async def _run() -> None:
    for number in itertools.count(1):
        await asyncio.sleep(TRIM_SECONDS)
        for trim in (trim_logs, trim_metrics, trim_streams, trim_entries):
            try:
                trim(time.time())
            except Exception:
                logger.exception("Old history could not be dropped")
            # Let requests run between two functions: none of them keeps data that it has read.
            await asyncio.sleep(0)
        if number % ROUNDS_PER_RELEASE == 0:
            await asyncio.to_thread(_release_memory)


def _release_memory() -> None:
    """Return free memory of the C library to the operating system: 12 of 15 MB that 12,000 API calls had used
    temporarily.
    """
    with suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def trim_logs(now: float) -> None:
    """Drop the oldest events of every log group."""
    for group in list(cloudwatch_logs._log_groups._data.values()):
        streams = group["streams"]
        excess = sum(len(stream["events"]) for stream in list(streams.values())) - MOST_LOG_EVENTS
        oldest = (now - LOG_EVENT_SECONDS) * 1000
        for name, stream in list(streams.items()):
            last = stream["lastEventTimestamp"]
            if excess <= 0 and (last is None or last >= oldest):
                continue
            events = stream["events"]
            if CALL_STREAM.match(name):
                excess -= len(events)
                streams.pop(name, None)
                continue
            with cloudwatch_logs._log_events_lock:
                kept = [event for event in stream["events"][max(0, excess) :] if event["timestamp"] >= oldest]
                stream["events"] = kept
            excess -= len(events) - len(kept)


def trim_metrics(now: float) -> None:
    """Drop the oldest data of every metric, and roll up what is older than some minutes."""
    for points in list(cloudwatch._metrics._data.values()):
        # Threads of functions append at the same time: entries after `count` are kept, and so is the list object.
        count = len(points)
        kept = rolled_up(points[:count], now)[-MOST_METRIC_DATA:]
        if len(kept) != count:
            points[:count] = kept


def rolled_up(points: list[Record], now: float) -> list[Record]:
    """Return the data that are not too old, by time, with equal data of a past minute rolled up into one."""
    recent, past = now - ROLL_UP_SECONDS, now - METRIC_SECONDS
    alike: dict[tuple[Any, ...], Record] = {}
    kept: list[Record] = []
    for point in points:
        at = point["Timestamp"]
        if at >= recent:
            kept.append(point)
        elif at >= past:
            if "_stat" in point:
                kept.append(point)
                continue
            minute = at // MINUTE * MINUTE
            entry = (minute, point["Value"], point["Unit"])
            count = point.get("Count", 1.0)
            if (first := alike.get(entry)) is None:
                alike[entry] = first = {**point, "Timestamp": minute, "Count": 0.0}
                kept.append(first)
            first["Count"] += count
    kept.sort(key=lambda point: float(point["Timestamp"]))
    return kept


def trim_streams(now: float) -> None:
    """Drop the oldest records that all mappings of a table's stream have read."""
    with streams_lock:
        unread = _read_positions()
        for key, records in list(dynamodb._stream_records._data.items()):
            trimmed = dynamodb._stream_trimmed._data.get(key, 0)
            readable = max(0, unread.get(key, trimmed + len(records)) - trimmed)
            count = min(readable, _outdated(records, now - STREAM_SECONDS, len(records) - MOST_STREAM_RECORDS))
            if count > 0:
                dropped_until[key] = records[count - 1]["dynamodb"]["ApproximateCreationDateTime"]
                del records[:count]
                dynamodb._stream_trimmed._data[key] = trimmed + count


def _outdated(records: list[Record], oldest: float, excess: int) -> int:
    aged = itertools.takewhile(lambda record: record["dynamodb"]["ApproximateCreationDateTime"] < oldest, records)
    return max(excess, sum(1 for _ in aged))


def _read_positions() -> Mapping[Key, int]:
    """Return the position up to which all mappings of a table have read, by table."""
    positions: dict[Key, int] = {}
    for (account, region, name), mapping in list(lambda_svc._esms._data.items()):
        source = str(mapping.get("EventSourceArn", ""))
        if ":dynamodb:" in source:
            key = (account, region, source.partition(":table/")[2].partition("/")[0])
            # A mapping without a position starts at the beginning of the stream, or has not been polled yet.
            position = lambda_svc._dynamodb_stream_positions._data.get((account, region, name), 0)
            positions[key] = min(position, positions.get(key, position))
    return positions


def trim_entries(_: float) -> None:
    """Drop the oldest state changes of alarms and the oldest events of EventBridge."""
    for store in (cloudwatch._alarm_history, eventbridge._events_log):
        for entries in list(store._data.values()):
            del entries[:-MOST_ENTRIES]
