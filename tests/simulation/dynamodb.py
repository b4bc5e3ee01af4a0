"""DynamoDB in one region, with a global table's replication, streams and indexes.

What AWS documents, and what the simulation does accordingly:

- Conditional writes check the local replica (trap 2), and a transaction is atomic in its own region only: its items
  replicate one by one
  (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html).
- Of concurrent writes to an item, the last one wins in every replica, by the time of the write (the same page).
- Consistent reads see all writes that succeeded in the region before; reads of a global secondary index are eventually
  consistent (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html).
- A transaction that is repeated with its ClientRequestToken succeeds without writing again
  (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
- A stream has the changes of an item in order, and each change once; Lambda delivers a batch at least once
  (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html,
  https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html).

Requests are evaluated by `FakeDynamoDB`, with its conditions and errors.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from simulation.scheduler import Scheduler
from unit.patient_api.fakes.aws import AUDIT, INDEX_KEYS, RECORDS, Item, Key, key_of
from unit.patient_api.fakes.regions import Message, Replica

TABLES = (RECORDS, AUDIT)
INDEXES = {name: keys[0] for name, keys in INDEX_KEYS.items() if name is not None}
INDEX_SECONDS = (0.001, 0.4)
"""How late an index is, at least and at most."""


class SimulatedDynamoDB(Replica):
    """One region's replicas of both tables. `wall` is the region's time in microseconds since 1970.

    `send` receives each write, to replicate it; `publish` receives each change, for the stream.
    """

    def __init__(
        self,
        *,
        region: str,
        scheduler: Scheduler,
        random: Random,
        wall: Callable[[], int],
        send: Callable[[Message], None],
        publish: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__(region=region, wall=wall, page=1000, replicated=TABLES)
        self._scheduler = scheduler
        self._random = random
        self._sent = send
        self._published = publish
        self._partitions: dict[tuple[str, str], dict[Key, Item]] = defaultdict(dict)
        self._indexed: dict[tuple[str, str], dict[Key, Item]] = defaultdict(dict)
        self._places: dict[tuple[str, Key], str] = {}

    def partition(self, table: str, pk: str) -> list[Item]:
        """Return the items of a partition."""
        return list(self._partitions[table, pk].values())

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        entries = request["TransactItems"]
        # The application writes index items in the order of a set, which depends on the hash seed of the process.
        free = [place for place, entry in enumerate(entries) if "ConditionExpression" not in entry["Put"]]
        ordered = sorted((entries[place] for place in free), key=lambda entry: key_of(entry["Put"]["Item"]))
        by_place = dict(enumerate(entries)) | dict(zip(free, ordered, strict=True))
        return super().transact_write_items(**request | {"TransactItems": list(by_place.values())})

    def _store(self, message: Message) -> None:
        super()._store(message)
        partition = self._partitions[message.table, message.key[0]]
        if message.item is None:
            partition.pop(message.key, None)
        else:
            partition[message.key] = message.item
        for index, attribute in INDEXES.items():
            if (index, message.key) in self._places or (message.item and attribute in message.item):
                delay = self._random.uniform(*INDEX_SECONDS)
                self._scheduler.at(
                    delay,
                    partial(self._refresh, index, message.table, message.key),
                )

    def _refresh(self, index: str, table: str, key: Key) -> None:
        """Let an index follow an item."""
        before = self._places.pop((index, key), None)
        if before is not None:
            self._indexed[index, before].pop(key)
        item = self.tables[table].get(key, {})
        if INDEXES[index] in item:
            place = self._places[index, key] = item[INDEXES[index]]["S"]
            self._indexed[index, place][key] = item

    def _listed(self, table: str, index: str | None, partition: str) -> list[Item]:
        found = self._partitions if index is None else self._indexed
        return list(found[table if index is None else index, partition].values())

    def _send(self, message: Message) -> None:
        self._sent(message)

    def _publish(self, change: dict[str, Any]) -> None:
        self._published(change)
