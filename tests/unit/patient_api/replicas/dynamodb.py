"""A fake of one region's replica of a DynamoDB global table, in memory.

Writes take effect at once in their region and replicate item by item. Of two writes to an item, the later one by
DynamoDB's clock wins in every replica (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html).
A write is always later than the one that it replaces in its region.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unit.patient_api.dynamodb_expressions import Item
from unit.patient_api.fakes import RECORDS, FakeDynamoDB, Key, key_of


@dataclass(frozen=True, order=True)
class Moment:
    """The time of a write by DynamoDB's clock, by which the last writer wins."""

    micros: int
    region: str


@dataclass(frozen=True)
class Message:
    """A write that has yet to replicate."""

    item: Item
    moment: Moment


class Replica(FakeDynamoDB):
    """A client of one region. `wall` is the clock of its DynamoDB, in microseconds.

    `outbox` has the writes to replicate, `stream` the changes for the stream processor.
    """

    def __init__(self, *, region: str, wall: Callable[[], int], page: int = 100) -> None:
        super().__init__(page=page)
        self.region = region
        self.outbox: list[Message] = []
        self.stream: list[dict[str, Any]] = []
        self._wall = wall
        self._moments: dict[Key, Moment] = {}
        self._sequence = 1000

    @property
    def records(self) -> dict[Key, Item]:
        """The items of the records table."""
        return self.tables[RECORDS]

    def receive(self, message: Message) -> None:
        """Apply a write from the other region, unless there is a later one."""
        known = self._moments.get(key_of(message.item))
        if known is None or message.moment > known:
            self._store(message.item, message.moment)

    def _put(self, table: str, item: Item) -> None:
        if table != RECORDS:
            super()._put(table, item)
            return
        known = self._moments.get(key_of(item))
        moment = Moment(max(self._wall(), known.micros + 1) if known else self._wall(), self.region)
        self._store(item, moment)
        self.outbox.append(Message(item, moment))

    def _store(self, item: Item, moment: Moment) -> None:
        before = self.records.get(key_of(item))
        self._moments[key_of(item)] = moment
        self.records[key_of(item)] = item
        # A write without a change is not in the stream.
        if before != item:
            self._sequence += 1
            self.stream.append(
                {
                    "eventName": "MODIFY" if before else "INSERT",
                    "eventSourceARN": f"arn:aws:dynamodb:{self.region}:123456789012:table/{RECORDS}/stream/now",
                    "dynamodb": {
                        "Keys": {name: item[name] for name in ("pk", "sk")},
                        "NewImage": item,
                        "SequenceNumber": str(self._sequence),
                    },
                }
            )
