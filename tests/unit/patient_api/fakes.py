"""AWS as the patient API sees it: in memory, small, and strict about conditions and permissions."""

import hashlib
import hmac
import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from botocore.exceptions import ClientError

from patient_api.api.edge import Api
from patient_api.api.responders import responders
from patient_api.api.services import Services
from patient_api.aws import Clients
from patient_api.environment import Environment
from patient_api.journal import Journal
from patient_api.region.health import Health, Probe
from patient_api.region.witness import JournalWitness

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


class Platform:
    """The whole API on fakes, with its log in `log`."""

    def __init__(self, *, probes: tuple[Probe, ...] | None = None) -> None:
        self.dynamodb = FakeDynamoDB()
        self.now_ms = START_MS
        self.monotonic = 0.0
        self.pauses: list[float] = []
        self.log = io.StringIO()
        self.journal = Journal(service="patient-api", region=REGION, level="DEBUG", stream=self.log)
        self.services = Services(
            environment=ENVIRONMENT,
            clients=cast("Clients", FakeClients(self.dynamodb)),
            journal=self.journal,
            now=lambda: self.now_ms / 1000,
            monotonic=lambda: self.monotonic,
            pause=self.pauses.append,
        )
        if probes is not None:
            self.services.health = Health(
                probes=probes, pool=ThreadPoolExecutor(8), witness=JournalWitness(journal=self.journal)
            )
        self.api = Api(responders=responders(self.services), journal=self.journal)

    def call(self, method: str, path: str, body: object = None, **parts: Any) -> "Reply":
        """Answer one call; `parts` as for `event`."""
        return Reply(self.api(event(method, path, body, **parts), None))

    def create(self, body: object = None, **parts: Any) -> "Reply":
        """A new patient."""
        reply = self.call("POST", "/fhir/Patient", body or patient(), **parts)
        assert reply.status == 201, reply.body
        return reply

    def audit(self, **wanted: str) -> list[Item]:
        """The audit items."""
        return self.dynamodb.items(AUDIT, **wanted)

    def versions(self) -> list[Item]:
        """The items of all versions, in key order."""
        return [item for (_, sk), item in sorted(self.dynamodb.tables[RECORDS].items()) if sk.startswith("v#")]

    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line, without the metrics."""
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if "_aws" not in line]

    def metrics(self) -> dict[str, float]:
        """The sums of all metrics."""
        sums: dict[str, float] = {}
        for line in map(json.loads, self.log.getvalue().splitlines()):
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"] if "_aws" in line else ():
                sums[metric["Name"]] = sums.get(metric["Name"], 0) + sum(line[metric["Name"]])
        return sums

    def close(self) -> None:
        """End the threads."""
        self.services.close()


class Reply:
    """An answer as a client sees it."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.status: int = answer["statusCode"]
        self.body: str = answer["body"]
        self.headers = {name.lower(): value for name, value in answer["headers"].items()}

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


def patient(**elements: Any) -> dict[str, Any]:
    """A Patient resource."""
    return {"resourceType": "Patient", "name": [{"family": "Example"}], **elements}


def outcome(body: dict[str, Any]) -> str:
    """The IssueType of an OperationOutcome."""
    assert body["resourceType"] == "OperationOutcome"
    (issue,) = body["issue"]
    assert issue["severity"] == "error"
    return str(issue["code"])


def claims(tenant: str = "north-clinic", scope: str = "system/*.cruds", sub: str = "app-1") -> dict[str, Any]:
    """What API Gateway's JWT authorizer hands on."""
    return {"jwt": {"claims": {"sub": sub, "tenant": tenant, "scope": scope}, "scopes": None}}


def event(
    method: str,
    path: str,
    body: object = None,
    *,
    authorizer: dict[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    encoded: bool = False,
    query: str = "",
) -> dict[str, Any]:
    """An event of payload format 2.0; a body that is no text is sent as JSON."""
    context: dict[str, Any] = {
        "http": {"method": method, "path": path, "sourceIp": "203.0.113.9", "protocol": "HTTP/1.1", "userAgent": "t"},
        "requestId": "request-1",
        "stage": "$default",
        "domainName": "api.example.com",
        "authorizer": claims() if authorizer is None else authorizer,
    }
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/fhir+json", **(headers or {})},
        "requestContext": context,
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": encoded,
    }
