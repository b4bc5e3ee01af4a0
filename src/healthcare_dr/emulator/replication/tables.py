"""Replicate global tables of DynamoDB: each item by itself, and the last writer wins."""

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import dynamodb

from healthcare_dr.emulator.replication.queue import ChangeQueues

Item = dict[str, Any]
# The time and region of an item's last write. The greater one wins; the region decides between equal times.
WriteTime = tuple[int, str]
# Account, region, table and key of a copy of an item.
ItemCopy = tuple[str, str, str, Any, Any]


@dataclass
class LastWrites:
    """The times of the last writes to the copies of a table's items."""

    # Only items with pending changes, or that a pending change could overwrite: deletions leave no other trace.
    of: dict[ItemCopy, WriteTime] = field(default_factory=dict)
    # The same in the order of the writes, so that entries are removed which no pending change can overwrite.
    order: deque[tuple[WriteTime, ItemCopy]] = field(default_factory=deque)

    def record(self, place: ItemCopy, written: WriteTime) -> None:
        """Record a write."""
        self.of[place] = written
        self.order.append((written, place))

    def discard_before(self, arrived: WriteTime, *, all_arrived: bool) -> None:
        """Remove the writes before `arrived`: changes arrive in order, so no pending change of the table is older."""
        while self.order and (self.order[0][0] < arrived or all_arrived):
            written, place = self.order.popleft()
            if self.of.get(place) == written:
                del self.of[place]


class TableReplication:
    """Queues the writes to global tables."""

    def __init__(self, queues: ChangeQueues) -> None:
        self._queues = queues
        self._last_writes: defaultdict[str, LastWrites] = defaultdict(LastWrites)

    def install(self) -> None:
        """Replace ministack's replication."""
        dynamodb._replicate_write = self._on_write

    def _on_write(self, table: dict[str, Any], _: str, old: Item | None, new: Item | None) -> None:
        account, home, name = get_account_id(), get_region(), table["TableName"]
        regions = [region for region in dynamodb._replica_group(table) if region != home]
        if not regions:
            return
        written = (time.time_ns(), home)
        key = _key(table, new if new is not None else old or {})
        self._last_writes[name].record((account, home, name, *key), written)
        for region in regions:
            replica = dynamodb._tables.get_scoped(account, region, name)
            if replica is not None:
                place = (account, region, name, *key)
                # Not a copy: a changed item is replaced, never altered, so both regions and their streams can share the
                # object.
                self._queues.put(name, partial(self._apply, place, written, replica["TableId"], new))

    def _apply(self, place: ItemCopy, written: WriteTime, table: str, item: Item | None) -> None:
        account, region, name, partition, sort = place
        writes = self._last_writes[name]
        with request_scope(account, region):
            replica = dynamodb._tables.get(name)
            # A new table may have the same name.
            if replica is not None and replica["TableId"] == table and writes.of.get(place, written) <= written:
                writes.record(place, written)
                _store(replica, partition, sort, item)
        writes.discard_before(written, all_arrived=not self._queues.has_pending(name))


def _key(table: dict[str, Any], item: Item) -> tuple[Any, Any]:
    sort = dynamodb._extract_key_val(item[table["sk_name"]]) if table["sk_name"] else "__no_sort__"
    return dynamodb._extract_key_val(item[table["pk_name"]]), sort


def _store(replica: dict[str, Any], partition: Any, sort: Any, item: Item | None) -> None:
    name = replica["TableName"]
    if item is None:
        previous = dynamodb._remove_item(replica, partition, sort)
        if previous is not None:
            dynamodb._emit_stream_event(name, "REMOVE", previous, None, replicate=False)
    else:
        previous = dynamodb._set_item(replica, partition, sort, item)
        event = "INSERT" if previous is None else "MODIFY"
        dynamodb._emit_stream_event(name, event, previous, item, replicate=False)
