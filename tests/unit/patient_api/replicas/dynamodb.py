"""A fake of one region's replica of a DynamoDB global table, in memory.

Writes take effect at once in their region and replicate item by item. Of two writes to an item, the later one by
DynamoDB's clock wins in every replica (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html).
A write is always later than the one that it replaces in its region.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unit.patient_api.fakes import AUDIT, RECORDS, client_error
from unit.patient_api.replicas.expressions import (
    Item,
    Names,
    compile_condition,
    compile_key_condition,
    validation_error,
)

LARGEST_ITEM = 400 * 1024
LARGEST_ANSWER = 1024 * 1024
LARGEST_TRANSACTION = 100

Key = tuple[str, str]
_KNOWN = {
    "get_item": {"TableName", "Key", "ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames"},
    "query": {
        "TableName",
        "KeyConditionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "ConsistentRead",
        "Limit",
        "ScanIndexForward",
        "ProjectionExpression",
        "ExclusiveStartKey",
    },
    "put_item": {
        "TableName",
        "Item",
        "ConditionExpression",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
    },
}


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


class Replica:
    """A DynamoDB client for tables with `pk` and `sk`. `wall` is the clock of this region's DynamoDB, in microseconds.

    `before` runs before each call. `outbox` has the writes to replicate, `stream` the changes for the stream
    processor. A response has at most `page` items.
    """

    def __init__(self, *, region: str, wall: Callable[[], int], page: int = 100) -> None:
        self.region = region
        self.before: Callable[[str], None] = lambda _operation: None
        self.outbox: list[Message] = []
        self.stream: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tables: dict[str, dict[Key, Item]] = {RECORDS: {}, AUDIT: {}}
        self._page = page
        self._wall = wall
        self._moments: dict[Key, Moment] = {}
        self._tokens: dict[str, Any] = {}
        self._sequence = 1000

    @property
    def records(self) -> dict[Key, Item]:
        """The items of the records table."""
        return self.tables[RECORDS]

    def receive(self, message: Message) -> None:
        """Apply a write from the other region, unless there is a later one."""
        key = _key(message.item)
        known = self._moments.get(key)
        if known is None or message.moment > known:
            self._store(message.item, message.moment)

    def get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("get_item", request)
        names = Names(request)
        project = _projection(request, names)
        names.check()
        if request["Key"].keys() != {"pk", "sk"}:
            raise validation_error("the key does not match the schema")
        item = self.tables[request["TableName"]].get((request["Key"]["pk"]["S"], request["Key"]["sk"]["S"]))
        return {"Item": project(item)} if item else {}

    def query(self, **request: Any) -> dict[str, Any]:
        self._enter("query", request)
        names = Names(request)
        matches = compile_key_condition(request["KeyConditionExpression"], names, partition="pk", order="sk")
        project = _projection(request, names)
        names.check()
        forward = request.get("ScanIndexForward", True)
        found = [item for item in self.tables[request["TableName"]].values() if matches(item)]
        found.sort(key=_key, reverse=not forward)
        start = request.get("ExclusiveStartKey")
        if start:
            last = start["pk"]["S"], start["sk"]["S"]
            found = [item for item in found if (_key(item) > last if forward else _key(item) < last)]
        limit = min(request.get("Limit", self._page), self._page)
        if limit < 1:
            raise validation_error("Limit must be at least 1")
        taken, size = 0, 0
        while taken < min(limit, len(found)) and size < LARGEST_ANSWER:
            size += _size(found[taken])
            taken += 1
        answer: dict[str, Any] = {"Items": [project(item) for item in found[:taken]]}
        # At the limit DynamoDB does not check whether there is a next item.
        if taken < len(found) or taken == limit:
            answer["LastEvaluatedKey"] = {name: found[taken - 1][name] for name in ("pk", "sk")}
        return answer

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._enter("put_item", request)
        if not self._allows(request):
            raise client_error("ConditionalCheckFailedException", "PutItem")
        self._write(request)
        return {}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self._enter("transact_write_items", request)
        puts = [entry["Put"] for entry in request["TransactItems"]]
        if not 0 < len(puts) <= LARGEST_TRANSACTION:
            raise validation_error("1 to 100 actions")
        if len({(put["TableName"], _key(put["Item"])) for put in puts}) < len(puts):
            raise validation_error("an item more than once")
        token = request["ClientRequestToken"]
        if token in self._tokens:
            if self._tokens[token] != request["TransactItems"]:
                raise client_error("IdempotentParameterMismatchException", "TransactWriteItems")
            return {}
        met = [self._allows(put) for put in puts]
        if not all(met):
            reasons = tuple("None" if ok else "ConditionalCheckFailed" for ok in met)
            raise client_error("TransactionCanceledException", "TransactWriteItems", reasons=reasons)
        for put in puts:
            self._write(put)
        self._tokens[token] = request["TransactItems"]
        return {}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("batch_get_item", request)
        ((table, asked),) = request["RequestItems"].items()
        if not asked["ConsistentRead"] or not 0 < len(asked["Keys"]) <= LARGEST_TRANSACTION:
            raise validation_error("1 to 100 keys")
        taken, left = asked["Keys"][: self._page], asked["Keys"][self._page :]
        found = [self.tables[table].get(_key(key)) for key in taken]
        unprocessed = {table: {"Keys": left, "ConsistentRead": True}} if left else {}
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": unprocessed}

    def _enter(self, operation: str, request: dict[str, Any]) -> None:
        if operation in _KNOWN and not request.keys() <= _KNOWN[operation]:
            raise validation_error(f"unknown: {sorted(request.keys() - _KNOWN[operation])}")
        self.calls.append((operation, request))
        self.before(operation)

    def _allows(self, put: Mapping[str, Any]) -> bool:
        if not put.keys() <= _KNOWN["put_item"]:
            raise validation_error(f"unknown: {sorted(put.keys() - _KNOWN['put_item'])}")
        names = Names(put)
        text = put.get("ConditionExpression")
        test = compile_condition(text, names) if text is not None else None
        names.check()
        _check_item(put["Item"])
        return test is None or test(self.tables[put["TableName"]].get(_key(put["Item"]), {}))

    def _write(self, put: Mapping[str, Any]) -> None:
        item = put["Item"]
        if put["TableName"] != RECORDS:
            self.tables[put["TableName"]][_key(item)] = item
            return
        known = self._moments.get(_key(item))
        micros = max(self._wall(), known.micros + 1) if known else self._wall()
        moment = Moment(micros, self.region)
        self._store(item, moment)
        self.outbox.append(Message(item, moment))

    def _store(self, item: Item, moment: Moment) -> None:
        key = _key(item)
        before = self.records.get(key)
        self._moments[key] = moment
        self.records[key] = item
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


def _projection(request: Mapping[str, Any], names: Names) -> Callable[[Item], Item]:
    text = request.get("ProjectionExpression")
    if text is None:
        return dict
    wanted = [names.attribute(token.strip()) for token in text.split(",")]
    return lambda item: {name: item[name] for name in wanted if name in item}


def _check_item(item: Item) -> None:
    for name in ("pk", "sk", "update_shard", "updated"):
        if name in item and not item[name].get("S"):
            raise validation_error(f"the key attribute {name} must be a text that is not empty")
    if not {"pk", "sk"} <= item.keys() or ("update_shard" in item) != ("updated" in item):
        raise validation_error("a key attribute is missing")
    for name, value in item.items():
        if len(value) != 1 or value.keys() - {"S", "N", "BOOL", "L", "M"}:
            raise validation_error(f"{name} is of no type that is used here")
    if _size(item) > LARGEST_ITEM:
        raise validation_error("the item is too large")


def _size(item: Item) -> int:
    return sum(len(name) + _bytes(next(iter(value.values()))) for name, value in item.items())


def _bytes(value: object) -> int:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return 3 + sum(_bytes(next(iter(entry.values()))) for entry in value)
    return len(str(value).encode())


def _key(item: Item) -> Key:
    return item["pk"]["S"], item["sk"]["S"]
