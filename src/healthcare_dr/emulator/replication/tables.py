"""Global tables: each item replicates by itself, and the last writer wins."""

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import dynamodb

from healthcare_dr.emulator.replication.queue import Lanes

Item = dict[str, Any]
# When and where an item was last written: the greater one wins, by its region when both are of one moment.
Stamp = tuple[int, str]
# Account, region, table and key of a copy of an item.
Copy = tuple[str, str, str, Any, Any]


@dataclass
class Stamps:
    """The times at which the copies of a table's items were last written."""

    # Only of what is queued and what might be overtaken by it: deletions leave no other trace.
    of: dict[Copy, Stamp] = field(default_factory=dict)
    # The same in the order of their writes, so that what no queued change can overtake is forgotten.
    order: deque[tuple[Stamp, Copy]] = field(default_factory=deque)

    def remember(self, place: Copy, stamp: Stamp) -> None:
        """Note a write."""
        self.of[place] = stamp
        self.order.append((stamp, place))

    def forget(self, arrived: Stamp, *, all_arrived: bool) -> None:
        """Forget the writes before `arrived`, which came in order: no change of the table that is queued is older."""
        while self.order and (self.order[0][0] < arrived or all_arrived):
            stamp, place = self.order.popleft()
            if self.of.get(place) == stamp:
                del self.of[place]


class Tables:
    """Queues what is written to global tables."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._stamps: defaultdict[str, Stamps] = defaultdict(Stamps)

    def install(self) -> None:
        """Take the place of ministack's replication."""
        dynamodb._replicate_write = self._written

    def _written(self, table: dict[str, Any], _: str, old: Item | None, new: Item | None) -> None:
        account, home, name = get_account_id(), get_region(), table["TableName"]
        regions = [region for region in dynamodb._replica_group(table) if region != home]
        if not regions:
            return
        stamp = (time.time_ns(), home)
        key = _key(table, new if new is not None else old or {})
        self._stamps[name].remember((account, home, name, *key), stamp)
        for region in regions:
            replica = dynamodb._tables.get_scoped(account, region, name)
            if replica is not None:
                place = (account, region, name, *key)
                # Not a copy: an item is replaced when it changes, never altered, so that both regions and their
                # streams can hold the same one.
                self._lanes.put(name, partial(self._arrive, place, stamp, replica["TableId"], new))

    def _arrive(self, place: Copy, stamp: Stamp, table: str, item: Item | None) -> None:
        account, region, name, partition, sort = place
        stamps = self._stamps[name]
        with request_scope(account, region):
            replica = dynamodb._tables.get(name)
            # A table of the same name may have taken its place.
            if replica is not None and replica["TableId"] == table and stamps.of.get(place, stamp) <= stamp:
                stamps.remember(place, stamp)
                _store(replica, partition, sort, item)
        stamps.forget(stamp, all_arrived=not self._lanes.waiting(name))


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
