"""AWS as the patient API sees it: in memory, small, and strict about conditions and permissions."""

import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from patient_api.contract.functions import Environment

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
)

Item = dict[str, Any]


def client_error(code: str, operation: str = "Any", *, message: str = "", reasons: tuple[str, ...] = ()) -> ClientError:
    """What botocore raises for a service's refusal."""
    response: dict[str, Any] = {"Error": {"Code": code, "Message": message}}
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, operation)


class FakeDynamoDB:
    """Tables with `pk` and `sk`; the few condition expressions the API uses; faults on demand, in order.

    `faults[operation]` holds what the next calls raise (or None to let one pass); `before` runs ahead of each call.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, str], Item]] = {RECORDS: {}, AUDIT: {}}
        self.faults: dict[str, list[BaseException | None]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.before: Callable[[str, Mapping[str, Any]], None] = lambda _operation, _request: None
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("get_item", request)
        assert request["ConsistentRead"] is True
        item = self.tables[request["TableName"]].get((request["Key"]["pk"]["S"], request["Key"]["sk"]["S"]))
        return {"Item": item} if item else {}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self._enter("batch_get_item", request)
        ((table, wanted),) = request["RequestItems"].items()
        assert 0 < len(wanted["Keys"]) <= 100
        assert wanted["ConsistentRead"] is True
        found = [self.tables[table].get((key["pk"]["S"], key["sk"]["S"])) for key in wanted["Keys"]]
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def query(self, **request: Any) -> dict[str, Any]:
        self._enter("query", request)
        return {"Items": query(self.tables[request["TableName"]].values(), request)}

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._enter("put_item", request)
        with self._lock:
            if not self._allows(request):
                raise client_error("ConditionalCheckFailedException", "PutItem")
            self._put(request)
        return {}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self._enter("transact_write_items", request)
        puts = [item["Put"] for item in request["TransactItems"]]
        assert 0 < len(puts) <= 100
        assert len({(put["TableName"], *_key(put["Item"])) for put in puts}) == len(puts), "an item twice"
        with self._lock:
            if request["ClientRequestToken"] in self._tokens:
                return {}
            met = [self._allows(put) for put in puts]
            if not all(met):
                reasons = tuple("None" if ok else "ConditionalCheckFailed" for ok in met)
                raise client_error("TransactionCanceledException", "TransactWriteItems", reasons=reasons)
            for put in puts:
                self._put(put)
            self._tokens.add(request["ClientRequestToken"])
        return {}

    def items(self, table: str, **wanted: str) -> list[Item]:
        """The items of a table in key order, as plain values."""
        plain = [
            {name: next(iter(value.values())) for name, value in item.items()}
            for _, item in sorted(self.tables[table].items())
        ]
        return [item for item in plain if wanted.items() <= item.items()]

    def _enter(self, operation: str, request: dict[str, Any]) -> None:
        self.calls.append((operation, request))
        self.before(operation, request)
        fault = (self.faults.get(operation) or [None]).pop(0)
        if fault:
            raise fault

    def _allows(self, put: Mapping[str, Any]) -> bool:
        existing = self.tables[put["TableName"]].get(_key(put["Item"]))
        condition = put.get("ConditionExpression")
        if condition is None:
            return True
        if condition == "attribute_not_exists(pk)":
            return existing is None
        assert condition == "#version = :expected"
        name = put["ExpressionAttributeNames"]["#version"]
        return existing is not None and existing[name] == put["ExpressionAttributeValues"][":expected"]

    def _put(self, put: Mapping[str, Any]) -> None:
        size = sum(len(name) + len(str(next(iter(value.values()))).encode()) for name, value in put["Item"].items())
        assert size <= 400 * 1024, "DynamoDB refuses items over 400 KB"
        self.tables[put["TableName"]][_key(put["Item"])] = put["Item"]


def _key(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


RESERVED = {"record", "version", "status", "resource", "action", "region", "method", "at"}
# Partition and range key of the tables and their indexes.
KEYS = {None: ("pk", "sk"), "by-update": ("update_shard", "updated"), "by-record": ("record", "sk")}


def query(items: Iterable[Item], request: Mapping[str, Any]) -> list[Item]:
    """What DynamoDB finds for the key conditions the API uses; an index is never read consistently."""
    index = request.get("IndexName")
    assert index is None or not request.get("ConsistentRead")
    partition, order = KEYS[index]
    values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
    condition = request["KeyConditionExpression"]
    assert not RESERVED.intersection(re.findall(r"[#:]?\w+", condition)), "a word of DynamoDB's own"
    for placeholder, name in request.get("ExpressionAttributeNames", {}).items():
        condition = condition.replace(placeholder, name)
    first, *rest = condition.split(" AND ", 1)
    name, _, value = first.split()
    assert name == partition
    found = [item for item in items if item.get(partition, {}).get("S") == values[value] and order in item]
    for condition in rest:
        found = [item for item in found if _meets(item[order]["S"], condition, order, values)]
    found.sort(key=lambda item: str(item[order]["S"]), reverse=not request.get("ScanIndexForward", True))
    found = found[: request.get("Limit")]
    if index == "by-update":
        return [{name: item[name] for name in ("pk", "sk", "update_shard", "updated")} for item in found]
    return found


def _meets(key: str, condition: str, order: str, values: Mapping[str, str]) -> bool:
    if condition.startswith("begins_with("):
        name, value = condition.removeprefix("begins_with(").removesuffix(")").split(", ")
        assert name == order
        return key.startswith(values[value])
    name, operator, value, *more = condition.split()
    assert name == order
    if operator == "BETWEEN":
        return values[value] <= key <= values[more[1]]
    compared = {
        ">": key > values[value],
        ">=": key >= values[value],
        "<": key < values[value],
        "<=": key <= values[value],
    }
    return compared[operator]


class FakeKms:
    """The HMAC key that both regions share."""

    def generate_mac(self, **request: Any) -> dict[str, Any]:
        assert request["KeyId"] == ENVIRONMENT.index_key
        return {"Mac": hmac.digest(b"of the key", request["Message"], hashlib.sha256)}


class FakeClients:
    """As `patient_api.aws.Clients`."""

    def __init__(self, dynamodb: FakeDynamoDB) -> None:
        self._dynamodb = dynamodb
        self._kms = FakeKms()

    def dynamodb(self) -> FakeDynamoDB:
        return self._dynamodb

    def kms(self) -> FakeKms:
        return self._kms

    def macs(self) -> FakeKms:
        return self._kms

    def documents(self) -> object:
        raise AssertionError("no document is looked for here")

    def documents_of(self, **_: str) -> object:
        raise AssertionError("no document is looked for there")
