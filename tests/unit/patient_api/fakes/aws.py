"""In-memory fakes of DynamoDB and KMS, as strict about requests as AWS.

Expressions are limited to those that the functions use
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html).
"""

import hashlib
import hmac
import operator
import re
import threading
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from zlib import crc32

from botocore.exceptions import ClientError

from patient_api.contract.functions import Environment
from patient_api.contract.keys import RECORD_INDEX, UPDATE_INDEX

Item = dict[str, Any]
Test = Callable[[Item], bool]

RECORDS, AUDIT = "patient_records-test", "audit_logs-test"
REGION, PEER = "us-east-1", "us-west-2"
START_MS = 1_800_000_000_000
ENVIRONMENT = Environment(
    region=REGION,
    peer_region=PEER,
    records_table=RECORDS,
    audit_table=AUDIT,
    documents_bucket="documents-east-test",
    key_arn="arn:aws:kms:us-east-1:123456789012:key/data",
    peer_documents_bucket="documents-west-test",
    peer_role_arn="arn:aws:iam::123456789012:role/documents-peer-west",
    index_key="alias/index-test",
    log_level="DEBUG",
    clock_bound=5,
)

Key = tuple[str, str]
# Partition and sort key of the tables and their indexes.
INDEX_KEYS = {None: ("pk", "sk"), UPDATE_INDEX: ("update_shard", "updated"), RECORD_INDEX: ("record", "sk")}
LARGEST_ITEM = 400 * 1024
LARGEST_RESPONSE = 1024 * 1024
LARGEST_REQUEST = 100  # keys or actions
_PLACEHOLDERS = {"ExpressionAttributeNames", "ExpressionAttributeValues"}
_TYPES = frozenset({"S", "N", "BOOL", "L", "M"})
# Other attributes may be reserved words, now or later, so they need an alias.
_PLAIN = frozenset({"pk", "sk", "update_shard", "updated"})
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(
    r"attribute_not_exists\((?P<tested>#?\w+)\)|begins_with\((?P<begun>#?\w+), (?P<prefix>:\w+)\)|"
    r"(?P<ranged>#?\w+) BETWEEN (?P<low>:\w+) AND (?P<high>:\w+)|"
    r"(?P<compared>#?\w+) (?P<sign>=|<=?|>=?) (?P<value>:\w+)"
)
_KEY_CONDITION = re.compile(
    r"(?P<hash>#?\w+) = (?P<value>:\w+)"
    r"( AND (begins_with\((?P<a>#?\w+), :\w+\)|(?P<b>#?\w+) BETWEEN :\w+ AND :\w+|(?P<c>#?\w+) (=|<|<=|>|>=) :\w+))?"
)
REQUEST_FIELDS = {
    "get_item": {"TableName", "Key", "ConsistentRead", "ProjectionExpression"},
    "batch_get_item": {"RequestItems"},
    "query": {
        "TableName", "IndexName", "KeyConditionExpression", "ProjectionExpression", "ConsistentRead", "Limit",
        "ScanIndexForward", "ExclusiveStartKey", *_PLACEHOLDERS,
    },
    "put_item": {
        "TableName", "Item", "ConditionExpression", "ReturnValuesOnConditionCheckFailure", *_PLACEHOLDERS,
    },
    "transact_write_items": {"TransactItems", "ClientRequestToken"},
}  # fmt: skip


def client_error(
    code: str, operation: str = "Any", *, message: str = "", reasons: tuple[str, ...] = (), status: int = 400
) -> ClientError:
    """Return the exception that botocore raises for an error response."""
    response: dict[str, Any] = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, operation)


class InvalidRequestError(AssertionError):
    """DynamoDB would reject the request with a ValidationException."""


class Names:
    """The placeholders of a request. All must be defined, and all must be used."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._defined: dict[str, Any] = {}
        for part in _PLACEHOLDERS & request.keys():
            if not request[part]:
                raise InvalidRequestError(f"{part} must not be empty")
            self._defined |= request[part]
        self._used: set[str] = set()

    def attribute(self, token: str) -> str:
        """Return the attribute of a token."""
        return token if token in _PLAIN else str(self._placeholder(token))

    def attributes(self, request: Mapping[str, Any]) -> list[str]:
        """Return the attributes that a request projects, none without a projection."""
        return [self.attribute(token.strip()) for token in request.get("ProjectionExpression", "").split(",") if token]

    def value(self, token: str) -> Any:
        """Return the value that a token stands for."""
        return self._placeholder(token)

    def text(self, token: str) -> str:
        """Return the text that a token stands for."""
        return str(self.value(token)["S"])

    def check(self) -> None:
        """Raise InvalidRequestError for unused placeholders."""
        if unused := self._defined.keys() - self._used:
            raise InvalidRequestError(f"unused: {sorted(unused)}")

    def _placeholder(self, token: str) -> Any:
        self._used.add(token)
        if token not in self._defined:
            raise InvalidRequestError(f"{token} is not defined")
        return self._defined[token]


def compile_condition(text: str, names: Names) -> Test:
    """Return a predicate of items for a condition: alternatives of conjunctions, without parentheses."""
    alternatives = [[_compile_term(term, names) for term in conjunction] for conjunction in _terms(text)]
    if len(alternatives) == 1:
        (tests,) = alternatives
        return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)
    return lambda item: any(all(test(item) for test in tests) for tests in alternatives)


@lru_cache
def _terms(text: str) -> list[list[re.Match[str]]]:
    """Return the terms of a condition, by alternatives."""
    return [[_matched(term) for term in re.split(" AND (?!:)", conjunction)] for conjunction in text.split(" OR ")]


def _matched(term: str) -> re.Match[str]:
    match = _TERM.fullmatch(term)
    if not match:
        raise InvalidRequestError(f"syntax error: {term!r}")
    return match


def _compile_term(match: re.Match[str], names: Names) -> Test:
    name = names.attribute(next(filter(None, match.group("tested", "begun", "ranged", "compared"))))
    if match["tested"]:
        return lambda item: name not in item
    if match["begun"]:
        prefix = names.text(match["prefix"])
        return lambda item: name in item and item[name]["S"].startswith(prefix)
    if match["ranged"]:
        low, high = names.text(match["low"]), names.text(match["high"])
        if low > high:
            raise InvalidRequestError("BETWEEN: the upper bound is below the lower one")
        return lambda item: low <= item[name]["S"] <= high
    if match["sign"] == "=":
        value = names.value(match["value"])
        return lambda item: item.get(name) == value
    compare, limit = _ORDERS[match["sign"]], names.text(match["value"])
    return lambda item: name in item and compare(item[name]["S"], limit)


@lru_cache
def _key_condition(text: str) -> re.Match[str] | None:
    return _KEY_CONDITION.fullmatch(text)


def selected_partition(text: str, names: Names, *, partition: str, order: str) -> str:
    """Return the partition that a condition selects. It must select one partition, and at most one range."""
    match = _key_condition(text)
    attributes = [names.attribute(match[name]) for name in ("hash", "a", "b", "c") if match[name]] if match else []
    if attributes not in ([partition], [partition, order]):
        raise InvalidRequestError(f"{text!r} is no condition on the key")
    assert match is not None
    return names.text(match["value"])


class FakeDynamoDB:
    """A DynamoDB client for tables with `pk` and `sk` in memory, as strict about requests as DynamoDB.

    `faults[operation]` lists what the next calls raise, None for success. `before` runs before each call. A response
    has at most `page` items; a batch leaves the other keys unprocessed. `time` is the time of the service in seconds
    since 1970.
    """

    def __init__(self, *, page: int = 1_000_000) -> None:
        self.tables: dict[str, dict[Key, Item]] = {RECORDS: {}, AUDIT: {}}
        self.faults: dict[str, list[BaseException | None]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.before: Callable[[str, Mapping[str, Any]], None] = lambda _operation, _request: None
        self.time: Callable[[], float] = lambda: START_MS / 1000
        self._page = page
        self._transactions: dict[str, Any] = {}
        self._lock = threading.Lock()

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of a response, with the time of the service."""
        return {"HTTPStatusCode": 200, "HTTPHeaders": {"date": _date(self.time() // 1)}}

    def get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("get_item", request)
        assert request["ConsistentRead"] is True
        assert request["Key"].keys() == {"pk", "sk"}
        item = self.tables[request["TableName"]].get(key_of(request["Key"]))
        names = Names(request)
        attributes = names.attributes(request)
        names.check()
        return self._response({"Item": _project(item, attributes)} if item else {})

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("batch_get_item", request)
        ((table, batch),) = request["RequestItems"].items()
        assert batch["ConsistentRead"] is True
        assert 0 < len(batch["Keys"]) <= LARGEST_REQUEST
        found = [self.tables[table].get(key_of(key)) for key in batch["Keys"][: self._page]]
        rest = batch["Keys"][self._page :]
        unprocessed = {table: {"Keys": rest, "ConsistentRead": True}} if rest else {}
        return self._response({"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": unprocessed})

    def query(self, **request: Any) -> dict[str, Any]:
        self._enter("query", request)
        index = request.get("IndexName")
        assert index is None or not request.get("ConsistentRead"), "an index has no consistent reads"
        partition, order = INDEX_KEYS[index]
        names = Names(request)
        selected = selected_partition(request["KeyConditionExpression"], names, partition=partition, order=order)
        matches = compile_condition(request["KeyConditionExpression"], names)
        attributes = names.attributes(request)
        names.check()

        def position(item: Item) -> tuple[str, int, str]:
            # An index has no order among equal sort keys.
            return item[order]["S"], crc32(item["pk"]["S"].encode()), item["sk"]["S"]

        forward = request.get("ScanIndexForward", True)
        found = [item for item in self._listed(request["TableName"], index, selected) if matches(item)]
        found.sort(key=position if index else _sort_key, reverse=not forward)
        if start := request.get("ExclusiveStartKey"):
            last = position(start)
            found = [item for item in found if (position(item) > last if forward else position(item) < last)]
        limit = min(request.get("Limit", self._page), self._page)
        assert limit > 0
        taken, size = 0, 0
        # Two items fit into every response.
        if len(found) <= 2:
            taken = min(limit, len(found))
        while taken < min(limit, len(found)) and size < LARGEST_RESPONSE:
            size += size_of(found[taken])
            taken += 1
        if index == UPDATE_INDEX:
            attributes = ["pk", "sk", partition, order]
        response: dict[str, Any] = {"Items": [_project(item, attributes) for item in found[:taken]]}
        # At the limit, DynamoDB does not check whether there is a next item.
        if taken < len(found) or taken == limit:
            response["LastEvaluatedKey"] = _project(found[taken - 1], ["pk", "sk", partition, order])
        return self._response(response)

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._enter("put_item", request)
        with self._lock:
            if not self._condition_holds(request):
                raise self._condition_failure(request)
            self._put(request["TableName"], request["Item"])
        return self._response({})

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self._enter("transact_write_items", request)
        puts = [entry["Put"] for entry in request["TransactItems"]]
        assert 0 < len(puts) <= LARGEST_REQUEST
        assert len({(put["TableName"], key_of(put["Item"])) for put in puts}) == len(puts), "an item twice"
        with self._lock:
            token = request["ClientRequestToken"]
            if token in self._transactions:
                assert self._transactions[token] == puts, "another request with the same token"
                return self._response({})
            holds = [self._condition_holds(put) for put in puts]
            if not all(holds):
                reasons = tuple("None" if one else "ConditionalCheckFailed" for one in holds)
                raise client_error("TransactionCanceledException", "TransactWriteItems", reasons=reasons)
            for put in puts:
                self._put(put["TableName"], put["Item"])
            self._transactions[token] = puts
        return self._response({})

    def _condition_failure(self, put: Mapping[str, Any]) -> ClientError:
        error = client_error("ConditionalCheckFailedException", "PutItem")
        stored = self.tables[put["TableName"]].get(key_of(put["Item"]))
        if stored is not None and put.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            error.response["Item"] = stored
        return error

    def items(self, table: str, **attributes: str) -> list[dict[str, Any]]:
        """Return the items of a table with these attributes, in key order and as plain values."""
        plain = [
            {name: next(iter(value.values())) for name, value in item.items()}
            for _, item in sorted(self.tables[table].items())
        ]
        return [item for item in plain if attributes.items() <= item.items()]

    def _listed(self, table: str, index: str | None, partition: str) -> list[Item]:
        """Return at least the items of a table, or of its index, that are in a partition."""
        order = INDEX_KEYS[index][1]
        return [item for item in list(self.tables[table].values()) if order in item]

    def _response(self, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "ResponseMetadata": self.metadata()}

    def _enter(self, operation: str, request: dict[str, Any]) -> None:
        self.calls.append((operation, request))
        self.before(operation, request)
        unknown = request.keys() - REQUEST_FIELDS[operation]
        assert not unknown, unknown
        fault = (self.faults.get(operation) or [None]).pop(0)
        if fault:
            raise fault

    def _condition_holds(self, put: Mapping[str, Any]) -> bool:
        assert put.keys() <= REQUEST_FIELDS["put_item"]
        names = Names(put)
        condition = compile_condition(put["ConditionExpression"], names) if "ConditionExpression" in put else None
        names.check()
        _check_item(put["Item"])
        return condition is None or condition(self.tables[put["TableName"]].get(key_of(put["Item"]), {}))

    def _put(self, table: str, item: Item) -> None:
        self.tables[table][key_of(item)] = item


@lru_cache
def _date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def key_of(item: Item) -> Key:
    """Return the key of an item."""
    return item["pk"]["S"], item["sk"]["S"]


def _sort_key(item: Item) -> str:
    return str(item["sk"]["S"])


def _project(item: Item, attributes: list[str]) -> Item:
    return {name: item[name] for name in attributes if name in item} if attributes else dict(item)


def _check_item(item: Item) -> None:
    for name in ("pk", "sk", "update_shard", "updated"):
        assert name not in item or item[name].get("S"), f"the key attribute {name} must be a text that is not empty"
    assert {"pk", "sk"} <= item.keys()
    assert ("update_shard" in item) == ("updated" in item)
    for name, value in item.items():
        (kind,) = value
        assert kind in _TYPES, name
    assert size_of(item) <= LARGEST_ITEM


def size_of(item: Item) -> int:
    """Return the bytes of an item."""
    size = 0
    for name, typed in item.items():
        (value,) = typed.values()
        size += len(name) + _bytes(value)
    return size


def _bytes(value: object) -> int:
    if isinstance(value, list):
        return 3 + sum(_bytes(next(iter(entry.values()))) for entry in value)
    text = str(value)
    return len(text) if text.isascii() else len(text.encode())


class FakeKms:
    """The HMAC key that both regions share, and the region's key for data. `data_keys` counts the data keys."""

    def __init__(self) -> None:
        self.data_keys = 0

    def generate_mac(self, **request: Any) -> dict[str, Any]:
        assert request["KeyId"] == ENVIRONMENT.index_key
        return {"Mac": hmac.digest(b"of the key", request["Message"], hashlib.sha256)}

    def generate_data_key_without_plaintext(self, **request: Any) -> dict[str, Any]:
        assert request == {"KeyId": ENVIRONMENT.key_arn, "KeySpec": "AES_256"}
        self.data_keys += 1
        return {}


class FakeClients:
    """The clients of one region, as `patient_api.aws.Clients`. `buckets` are those of documents, by region."""

    def __init__(self, dynamodb: FakeDynamoDB, buckets: Mapping[str, object] | None = None) -> None:
        self._dynamodb = dynamodb
        self._buckets = buckets or {}
        self._kms = FakeKms()

    def dynamodb(self) -> FakeDynamoDB:
        return self._dynamodb

    def kms(self) -> FakeKms:
        return self._kms

    def macs(self) -> FakeKms:
        return self._kms

    def s3(self) -> "FakeClients":
        return self

    def head_bucket(self, **request: Any) -> None:
        assert request == {"Bucket": ENVIRONMENT.documents_bucket}
        raise client_error("404", "HeadBucket", status=404)

    def documents(self) -> object:
        return self._bucket(REGION)

    def documents_of(self, *, region: str, role: str) -> object:
        assert role == ENVIRONMENT.peer_role_arn
        return self._bucket(region)

    def _bucket(self, region: str) -> object:
        assert region in self._buckets, "the test must not read documents"
        return self._buckets[region]
