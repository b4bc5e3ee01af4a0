"""The whole patient API on fakes, called as API Gateway calls it."""

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from patient_api.aws import Clients
from patient_api.bootstrap import Services
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from patient_api.region.health import Health, HealthMetrics, Probe
from unit.patient_api.dynamodb_expressions import Item
from unit.patient_api.fakes import AUDIT, ENVIRONMENT, RECORDS, REGION, START_MS, FakeClients, FakeDynamoDB


class Platform:
    """The whole API on fakes, with its log in `log`."""

    def __init__(self, *, probes: tuple[Probe, ...] | None = None) -> None:
        self.dynamodb = FakeDynamoDB()
        self.now_ms = START_MS
        self.monotonic = 0.0
        self.pauses: list[float] = []
        self.log = io.StringIO()
        self.structured_log = StructuredLog(service="patient-api", region=REGION, level="DEBUG", stream=self.log)
        self.services = Services(
            environment=ENVIRONMENT,
            clients=cast("Clients", FakeClients(self.dynamodb)),
            log=self.structured_log,
            now=lambda: self.now_ms / 1000,
            monotonic=lambda: self.monotonic,
            pause=self.pauses.append,
        )
        if probes is not None:
            self.services.health = Health(
                probes=probes, pool=ThreadPoolExecutor(8), publish=HealthMetrics(log=self.structured_log).publish
            )
        self.api = dispatcher(self.services)

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
    def location(self) -> str:
        """The path of what was created, without its version."""
        address = str(self.headers["location"])
        assert address.startswith(f"{BASE}/")
        return address.removeprefix(f"https://{HOST}").partition("/_history")[0]

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


HOST = "api.example.com"
BASE = f"https://{HOST}/fhir"


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
    host: str = HOST,
) -> dict[str, Any]:
    """An event of payload format 2.0; a body that is no text is sent as JSON."""
    context: dict[str, Any] = {
        "http": {"method": method, "path": path, "sourceIp": "203.0.113.9", "protocol": "HTTP/1.1", "userAgent": "t"},
        "requestId": "request-1",
        "stage": "$default",
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
