"""AWS as the patient API sees it: in memory, small, and strict about conditions and permissions."""

import io
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics
from botocore.exceptions import ClientError

from patient_api.api import Api
from patient_api.clock import Clock
from patient_api.drain import Drain, DrainFlags
from patient_api.health import Health, Probe
from patient_api.journal import Journal
from patient_api.patients import Patients
from patient_api.records import DynamoRecords
from patient_api.trail import AuditTrail

RECORDS, AUDIT = "patient_records-test", "audit_logs-test"
REGION, PEER = "us-east-1", "us-west-2"
START_MS = 1_800_000_000_000

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
        condition = put["ConditionExpression"]
        if condition == "attribute_not_exists(pk)":
            return existing is None
        assert condition == "#version = :expected"
        name = put["ExpressionAttributeNames"]["#version"]
        return existing is not None and existing[name] == put["ExpressionAttributeValues"][":expected"]

    def _put(self, put: Mapping[str, Any]) -> None:
        size = sum(len(name) + len(next(iter(value.values())).encode()) for name, value in put["Item"].items())
        assert size <= 400 * 1024, "DynamoDB refuses items over 400 KB"
        self.tables[put["TableName"]][_key(put["Item"])] = put["Item"]


def _key(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


class Platform:
    """The whole API on fakes, with its log in `log`."""

    def __init__(self, *, probes: tuple[Probe, ...] = ()) -> None:
        self.dynamodb = FakeDynamoDB()
        self.now_ms = START_MS
        self.monotonic = 0.0
        self.pauses: list[float] = []
        self.log = io.StringIO()
        self.pool = ThreadPoolExecutor(8)
        logger = Logger(service=f"test-{uuid4()}", stream=self.log, level="DEBUG")
        metrics = EphemeralMetrics(namespace="HealthcareDR", service="patient-api")
        self.journal = Journal(logger=logger, metrics=metrics, region=REGION)
        trail = AuditTrail(client=self.dynamodb, table=AUDIT)
        self.records = DynamoRecords(
            client=self.dynamodb, table=RECORDS, trail=trail, pool=self.pool, pause=self.pauses.append
        )
        self.patients = Patients(
            records=self.records,
            trail=trail,
            clock=Clock(region=REGION, now_ms=lambda: self.now_ms),
            region=REGION,
            now=lambda: datetime.fromtimestamp(self.now_ms / 1000, UTC),
            new_id=lambda: str(uuid4()),
        )
        flags = DrainFlags(client=self.dynamodb, table=RECORDS)
        self.api = Api(
            patients=self.patients,
            health=Health(probes=probes, pool=self.pool, witness=self.journal),
            drain=Drain(raised=flags.raised, regions=(REGION, PEER), monotonic=lambda: self.monotonic),
            journal=self.journal,
        )

    def call(self, method: str, path: str, body: object = None, **parts: Any) -> "Reply":
        """Answer one call; `parts` as for `event`."""
        return Reply(self.api(event(method, path, body, **parts), None))  # type: ignore[arg-type]

    def create(self, body: object = None, **parts: Any) -> "Reply":
        """A new patient."""
        reply = self.call("POST", "/fhir/Patient", body or patient(), **parts)
        assert reply.status == 201, reply.body
        return reply

    def audit(self, **wanted: str) -> list[Item]:
        """The audit items."""
        return self.dynamodb.items(AUDIT, **wanted)

    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown(wait=True)


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


def claims(tenant: str = "north-clinic", scope: str = "system/Patient.cru", sub: str = "app-1") -> dict[str, Any]:
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
