"""Run the API in this process on tables of the deployed platform, with clients that count calls of DynamoDB."""

import json
from typing import Any
from uuid import uuid4

from bench.functions import MeteredClients, event_of

from patient_api.aws import S3
from patient_api.bootstrap import Services
from patient_api.contract.functions import Environment
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from support.platform import ALL_RIGHTS, REGIONS, Deployed, letter, patient, reference

HERE, THERE = REGIONS
FHIR = "application/fhir+json"
Answer = dict[str, Any]


class DeployedClients(MeteredClients):
    """Clients of the deployed platform with the account's own rights. They record the requests to DynamoDB."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__(deployed.client("dynamodb", HERE), region=HERE)
        self.deployed = deployed

    def _client(self, service: str, *_: object) -> object:
        return self.deployed.client(service, HERE)

    def documents_of(self, *, region: str, role: str) -> S3:
        client: S3 = self.deployed.client("s3", region)
        return client


def new_tenant() -> str:
    return f"clinic-{uuid4().hex[:12]}"


class Caller:
    """Calls the API on these tables, with a tenant of its own."""

    def __init__(self, deployed: Deployed, *, records: str, audit: str) -> None:
        self.clients = DeployedClients(deployed)
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
        """Send a request and return the response, which must have this status."""
        path, _, query = path.partition("?")
        claims = {"sub": "tester", "tenant": self.tenant, "scope": " ".join(ALL_RIGHTS)}
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        if body is not None:
            sent = {"content-type": FHIR, **sent}
        event = event_of(method, path, query=query, body=text, headers=sent, claims=claims)
        self.clients.consumed.clear()
        answer: Answer = self._api(event, None)
        assert answer["statusCode"] == status, answer
        return answer

    @property
    def operations(self) -> list[str]:
        """Return the DynamoDB calls of the last request; concurrent calls are in no order."""
        return [name for name, _ in self.clients.consumed]

    @property
    def units(self) -> float:
        return sum(units for _, units in self.clients.consumed)

    def create(self, **elements: object) -> tuple[str, str]:
        """Create a patient; returns its path and entity tag."""
        made = self(201, "POST", "/fhir/Patient", patient(**elements))
        return f"/fhir/Patient/{json.loads(made['body'])['id']}", made["headers"]["etag"]

    def document(self) -> str:
        """Create a document; returns its path."""
        path, _ = self.create()
        made = self(201, "POST", "/fhir/DocumentReference", reference(path.rpartition("/")[2], letter()))
        return f"/fhir/DocumentReference/{json.loads(made['body'])['id']}"
