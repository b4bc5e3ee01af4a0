"""Run the API in this process on tables of the deployed platform, with clients that count calls of DynamoDB."""

import json
from typing import Any
from uuid import uuid4

from patient_api.aws import S3, Clients
from patient_api.bootstrap import Services
from patient_api.contract.functions import Environment
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from support.platform import ALL_RIGHTS, REGIONS, Deployed, letter, patient, reference

HERE, THERE = REGIONS
FHIR = "application/fhir+json"
Answer = dict[str, Any]


class Counting(Clients):
    """Clients with the account's own rights that note every request of DynamoDB and what it consumed."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__(region=HERE)
        self.deployed = deployed
        self.requests: list[tuple[str, float]] = []
        self.raw = deployed.client("dynamodb", HERE)
        self.raw.meta.events.register("provide-client-params.dynamodb", _ask)
        self.raw.meta.events.register("after-call.dynamodb", self._note)

    def _client(self, service: str, *_: object) -> object:
        return self.raw if service == "dynamodb" else self.deployed.client(service, HERE)

    def documents_of(self, *, region: str, role: str) -> S3:
        client: S3 = self.deployed.client("s3", region)
        return client

    def _note(self, model: Any, parsed: dict[str, Any], **_: object) -> None:
        told = parsed.get("ConsumedCapacity", [])
        units = sum(one["CapacityUnits"] for one in (told if isinstance(told, list) else [told]))
        self.requests.append((model.name, units))


def _ask(params: dict[str, Any], **_: object) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"


def new_tenant() -> str:
    return f"clinic-{uuid4().hex[:12]}"


class Caller:
    """Calls the API of a tenant of its own, on these tables."""

    def __init__(self, deployed: Deployed, *, records: str, audit: str) -> None:
        self.clients = Counting(deployed)
        self.tenant = new_tenant()
        environment = Environment(
            region=HERE, peer_region=THERE, records_table=records, audit_table=audit,
            documents_bucket=deployed.bucket(HERE), peer_documents_bucket=deployed.bucket(THERE),
            key_arn=deployed.outputs()["PrimaryKeyArn"],
            peer_role_arn=deployed.outputs()["SecondaryDocumentsPeerRoleArn"],
            index_key=deployed.names.index_key_alias(), log_level="INFO",
        )  # fmt: skip
        log = StructuredLog(service="patient-api", region=HERE, level=environment.log_level)
        self._services = Services(environment=environment, clients=self.clients, log=log)
        self._api = dispatcher(self._services)

    def close(self) -> None:
        self._services.close()

    def __call__(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """The answer to a call, which has to have this status; `requests` are then those of this call alone."""
        path, _, query = path.partition("?")
        claims = {"sub": "tester", "tenant": self.tenant, "scope": " ".join(ALL_RIGHTS)}
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        event = {
            "version": "2.0", "routeKey": f"{method} {path}", "rawPath": path, "rawQueryString": query,
            "headers": {"content-type": FHIR, **names} if body is not None else names,
            "requestContext": {
                "authorizer": {"jwt": {"claims": claims, "scopes": None}}, "domainName": "api.example",
                "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
                "requestId": str(uuid4()), "stage": "$default",
            },
            "isBase64Encoded": False,
            **({} if body is None else {"body": body if isinstance(body, str) else json.dumps(body)}),
        }  # fmt: skip
        self.clients.requests.clear()
        answer: Answer = self._api(event, None)
        assert answer["statusCode"] == status, answer
        return answer

    @property
    def asked(self) -> list[str]:
        """Return the DynamoDB calls of the last request; concurrent calls are in no order."""
        return [name for name, _ in self.clients.requests]

    @property
    def units(self) -> float:
        return sum(units for _, units in self.clients.requests)

    def create(self, **elements: object) -> tuple[str, str]:
        """A new patient's path and entity tag."""
        made = self(201, "POST", "/fhir/Patient", patient(**elements))
        return f"/fhir/Patient/{json.loads(made['body'])['id']}", made["headers"]["etag"]

    def document(self) -> str:
        """A new document's path."""
        path, _ = self.create()
        made = self(201, "POST", "/fhir/DocumentReference", reference(path.rpartition("/")[2], letter()))
        return f"/fhir/DocumentReference/{json.loads(made['body'])['id']}"
