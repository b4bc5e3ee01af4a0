"""The whole patient API of one region on fakes, called as API Gateway calls it."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from patient_api.aws import Clients
from patient_api.bootstrap import Services
from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from patient_api.region.health import Health, Probe, publish
from patient_api.store.model import Method, RecordKey, head_sk, lineage_item, version_item, version_of
from unit.patient_api.fakes.aws import (
    AUDIT,
    ENVIRONMENT,
    RECORDS,
    REGION,
    START_MS,
    FakeClients,
    FakeDynamoDB,
    Item,
    key_of,
)
from unit.patient_api.fakes.log import FakeLog

HOST = "api.example.com"
BASE = f"https://{HOST}/fhir"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
"""An id of no record."""


class Platform:
    """The API of one region. `buckets` are those of documents, by region. `ahead_ms` is the error of its clock.

    With `measured`, it has received a response of DynamoDB before.
    """

    def __init__(
        self,
        *,
        probes: tuple[Probe, ...] | None = None,
        dynamodb: FakeDynamoDB | None = None,
        buckets: Mapping[str, object] | None = None,
        measured: bool = True,
    ) -> None:
        self.dynamodb = dynamodb or FakeDynamoDB()
        self.now_ms = START_MS
        self.ahead_ms = 0
        self.dynamodb.time = lambda: self.now_ms / 1000
        self.monotonic = 0.0
        self.pauses: list[float] = []
        self.log = FakeLog()
        structured_log = StructuredLog(service="patient-api", region=REGION, level="DEBUG", stream=self.log)
        self.services = Services(
            environment=ENVIRONMENT,
            clients=cast("Clients", FakeClients(self.dynamodb, buckets)),
            log=structured_log,
            now=lambda: (self.now_ms + self.ahead_ms) / 1000,
            monotonic=lambda: self.monotonic,
            pause=self.pauses.append,
        )
        if probes is not None:
            self.services.health = Health(
                probes=probes, pool=ThreadPoolExecutor(8), publish=partial(publish, log=structured_log)
            )
        self.api = dispatcher(self.services)
        if measured:
            self.services.clock.check()
            self.dynamodb.calls.clear()

    def call(self, method: str, path: str, body: object = None, **parts: Any) -> "Reply":
        """Return the response to a request; `parts` as for `event`."""
        return Reply(self.api(event(method, path, body, **{"at_ms": self.now_ms, **parts}), None))

    def create(self, body: object = None, **parts: Any) -> "Reply":
        """Create a patient."""
        reply = self.call("POST", "/fhir/Patient", body or patient(), **parts)
        assert reply.status == 201, reply.body
        return reply

    def made(self, **elements: Any) -> tuple[str, str]:
        """Create a patient, and return its path and ETag."""
        reply = self.create(patient(**elements))
        return reply.location, reply.headers["etag"]

    def update(self, path: str, headers: Mapping[str, str] | None = None, **elements: Any) -> "Reply":
        """Update a patient by its id."""
        return self.call("PUT", path, patient(id=id_of(path), **elements), headers=headers)

    def put(self, path: str, etag: str, **elements: Any) -> "Reply":
        """Replace the version with this ETag."""
        reply = self.update(path, {"if-match": etag}, **elements)
        assert reply.status == 200, reply.body
        return reply

    def patch(self, path: str, changes: object, headers: Mapping[str, str] | None = None, **parts: Any) -> "Reply":
        """Patch a patient: by JSON Patch with a list, else by JSON Merge Patch."""
        kind = "application/json-patch+json" if isinstance(changes, list) else "application/merge-patch+json"
        return self.call("PATCH", path, changes, headers={"content-type": kind, **(headers or {})}, **parts)

    def arrive(self, path: str, stamp: str, replaces: str | None, **elements: Any) -> None:
        """Add a version that the other region wrote. This region's head does not follow yet."""
        key = RecordKey("north-clinic", PATIENT, id_of(path))
        own, replaced = (Stamp.parse(text) if text else None for text in (stamp, replaces))
        assert own is not None
        version = version_of(patient(**elements), key=key, stamp=own, method=Method.PUT, replaces=replaced)
        self.add(version_item(version))
        self.add(lineage_item(version))

    def add(self, item: Item) -> None:
        """Add an item to the records table."""
        self.records[key_of(item)] = item

    def before_writes(self, times: int, change: Callable[[], object]) -> None:
        """Make a change right before each of the next `times` transactions, as a concurrent client would."""
        left = times

        def before(operation: str, _request: object) -> None:
            nonlocal left
            if operation == "transact_write_items" and left:
                left -= 1
                self.dynamodb.before = lambda *_: None
                change()
                self.dynamodb.before = before

        self.dynamodb.before = before

    @property
    def records(self) -> dict[tuple[str, str], Item]:
        """The items of the records table."""
        return self.dynamodb.tables[RECORDS]

    def audit(self, **attributes: str) -> list[Item]:
        """Return the audit items with these attributes."""
        return self.dynamodb.items(AUDIT, **attributes)

    def versions(self) -> list[Item]:
        """Return the items of all versions, in key order."""
        return [item for (_, sk), item in sorted(self.records.items()) if sk.startswith("v#")]

    def calls(self) -> list[str]:
        """Return the DynamoDB calls since the last time."""
        names = [name for name, _ in self.dynamodb.calls]
        self.dynamodb.calls.clear()
        return names

    def close(self) -> None:
        """Stop the threads."""
        self.services.close()


class Reply:
    """A response as a client receives it."""

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.status: int = response["statusCode"]
        self.body: str = response["body"]
        self.headers = {name.lower(): value for name, value in response["headers"].items()}

    @property
    def location(self) -> str:
        """The path of the created resource, without its version."""
        address = str(self.headers["location"])
        assert address.startswith(f"{BASE}/")
        return address.removeprefix(f"https://{HOST}").partition("/_history")[0]

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def issue(self) -> dict[str, Any]:
        """The only issue of an OperationOutcome."""
        assert self.json["resourceType"] == "OperationOutcome"
        issue: dict[str, Any]
        (issue,) = self.json["issue"]
        return issue

    @property
    def outcome(self) -> tuple[int, str]:
        """The status, and the IssueType of an OperationOutcome with an error."""
        assert self.issue["severity"] == "error"
        return self.status, str(self.issue["code"])


def patient(**elements: Any) -> dict[str, Any]:
    """Return a Patient resource."""
    return {"resourceType": "Patient", "name": [{"family": "Example"}], **elements}


def id_of(path: str) -> str:
    """Return the id of the record at a path."""
    return path.rpartition("/")[2]


def head_key(path: str, region: str = REGION) -> tuple[str, str]:
    """Return the key of a record's head in a region."""
    return f"north-clinic#Patient#{id_of(path)}", head_sk(region)


def accessed(item: Mapping[str, str]) -> str:
    """Return what an audit item's event is about: `Patient/<id>`, or the type alone."""
    return item["record"].partition("#")[2] if "record" in item else item["target"]


def claims(tenant: str = "north-clinic", scope: str = "system/*.cruds", sub: str = "app-1") -> dict[str, Any]:
    """Return what API Gateway's JWT authorizer passes on."""
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
    host: str = HOST,
    stage: str = "$default",
    at_ms: int = START_MS,
) -> dict[str, Any]:
    """Return an event of payload format 2.0; `path` includes the stage. A body that is no text is sent as JSON.

    `at_ms` is the time of the gateway.
    """
    context: dict[str, Any] = {
        "http": {"method": method, "path": path, "sourceIp": "203.0.113.9", "protocol": "HTTP/1.1", "userAgent": "t"},
        "requestId": "request-1",
        "stage": stage,
        "timeEpoch": at_ms,
        "domainName": host,
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
