"""Run the API function without the platform: its environment, its tables and key, requests, and the calls it makes."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

from bench.running import aws_client
from healthcare_dr.emulator.emulator import Emulator
from patient_api.aws import Clients, DynamoDB
from patient_api.bootstrap import Services
from patient_api.clock import Stamp
from patient_api.contract.functions import API, CLOCK_BOUND_SECONDS, Environment
from patient_api.contract.keys import PATIENT as PATIENT_TYPE
from patient_api.contract.keys import RECORD_INDEX, UPDATE_INDEX
from patient_api.fhir.codec import JsonValue
from patient_api.handlers.responders import dispatcher
from patient_api.http.dispatcher import Dispatcher
from patient_api.logging import StructuredLog
from patient_api.store.model import Method, RecordKey, head_item, lineage_item, version_item, version_of

REGION: Final = "us-east-1"
RECORDS, AUDIT, INDEX_KEY = "bench-records", "bench-audit", "alias/bench-index"
TENANT, SUBJECT = "bench", "bench-client"
FHIR: Final = "application/fhir+json"
PATIENT_ID: Final = "00000000-0000-4000-8000-000000000001"
STAMP: Final = Stamp(1_700_000_000_000, 0, REGION)
PATIENT: Final[dict[str, JsonValue]] = {
    "resourceType": "Patient",
    "active": True,
    "identifier": [{"system": "urn:example:mrn", "value": "0000-bench"}],
    "name": [{"use": "official", "family": "Fictitious", "given": ["Bench", "Mark"]}],
    "telecom": [{"system": "phone", "value": "+1 555 0100", "use": "home"}],
    "gender": "unknown",
    "birthDate": "1970-01-01",
    "address": [{"use": "home", "line": ["1 Example Street"], "city": "Springfield", "postalCode": "00000"}],
}
WRITES: Final = frozenset({"PutItem", "TransactWriteItems"})
_INDEXES: Final = {
    UPDATE_INDEX: ("update_shard", "updated", "KEYS_ONLY"),
    RECORD_INDEX: ("record", "sk", "ALL"),
}


def environment(emulator: Emulator) -> dict[str, str]:
    """Return the environment variables of the API function, with the embedded AWS instead of AWS."""
    settings = Environment(
        region=REGION,
        peer_region="us-west-2",
        records_table=RECORDS,
        audit_table=AUDIT,
        documents_bucket="bench-documents",
        key_arn=f"arn:aws:kms:{REGION}:{emulator.account}:key/bench",
        peer_documents_bucket="bench-documents-peer",
        peer_role_arn=f"arn:aws:iam::{emulator.account}:role/bench-peer",
        index_key=INDEX_KEY,
        log_level="INFO",
        cors=False,
        issuer="",
        tenant_claim="tenant",
        clock_bound=CLOCK_BOUND_SECONDS,
    )
    return emulator.environment() | settings.variables() | {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}


def serve(variables: Mapping[str, str], clients: Clients) -> Dispatcher:
    """Return the API as `patient_api.bootstrap.api_services` composes it, with clients that the benchmark observes."""
    environment = Environment.of(variables, API)
    log = StructuredLog(service=API.name, region=environment.region, level=environment.log_level)
    services = Services(environment=environment, clients=clients, log=log)
    return dispatcher(services)


@contextmanager
def sent_to(dynamodb: Any) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Record the requests to DynamoDB within the block, as operations with their parameters."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        sent.append((model.name, deepcopy(params)))

    dynamodb.meta.events.register("provide-client-params.dynamodb", note)
    try:
        yield sent
    finally:
        dynamodb.meta.events.unregister("provide-client-params.dynamodb", note)


class MeteredClients(Clients):
    """Clients that record the capacity that each request of a DynamoDB client consumes."""

    def __init__(self, client: Any, *, region: str) -> None:
        super().__init__(region=region)
        self.client = client
        client.meta.events.register("provide-client-params.dynamodb", _request_consumption)
        client.meta.events.register("after-call.dynamodb", self._note)
        self.consumed: list[tuple[str, float]] = []

    def dynamodb(self) -> DynamoDB:
        """Return the client for records and audit."""
        client: DynamoDB = self.client
        return client

    def _note(self, model: Any, parsed: dict[str, Any], **_: object) -> None:
        consumed = parsed.get("ConsumedCapacity", [])
        units = sum(one["CapacityUnits"] for one in (consumed if isinstance(consumed, list) else [consumed]))
        self.consumed.append((model.name, units))


def _request_consumption(params: dict[str, Any], model: Any, **_: object) -> None:
    if model.name in {"Query", "GetItem", "BatchGetItem", *WRITES}:
        params["ReturnConsumedCapacity"] = "TOTAL"


def create_resources(emulator: Emulator) -> None:
    """Create both tables with the record that reads request, and the key of the search index."""
    dynamodb, kms = (aws_client(emulator, service, REGION) for service in ("dynamodb", "kms"))
    create_tables(dynamodb, records=RECORDS, audit=AUDIT)
    version = version_of(PATIENT, key=key_of(PATIENT_ID), stamp=STAMP, method=Method.POST)
    for item in (version_item(version), lineage_item(version), head_item(version, REGION)):
        dynamodb.put_item(TableName=RECORDS, Item=item)
    key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=INDEX_KEY, TargetKeyId=key)


def create_tables(dynamodb: Any, *, records: str, audit: str) -> None:
    """Create both tables with the keys and indexes of the platform."""
    for table, name in ((records, UPDATE_INDEX), (audit, RECORD_INDEX)):
        hashed, ranged, projected = _INDEXES[name]
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=_schema("pk", "sk"),
            AttributeDefinitions=[
                {"AttributeName": attribute, "AttributeType": "S"} for attribute in sorted({"pk", "sk", hashed, ranged})
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": name,
                    "KeySchema": _schema(hashed, ranged),
                    "Projection": {"ProjectionType": projected},
                }
            ],
        )


def _schema(hashed: str, ranged: str) -> list[dict[str, str]]:
    return [{"AttributeName": hashed, "KeyType": "HASH"}, {"AttributeName": ranged, "KeyType": "RANGE"}]


def key_of(patient_id: str) -> RecordKey:
    """Return the key of a patient's record."""
    return RecordKey(TENANT, PATIENT_TYPE, patient_id)


def call(
    method: str,
    path: str = f"/fhir/Patient/{PATIENT_ID}",
    *,
    query: str = "",
    resource: Mapping[str, JsonValue] | None = None,
    **headers: str,
) -> dict[str, Any]:
    """Return an event of a client that may use patients and search the audit trail."""
    claims = {"sub": SUBJECT, "tenant": TENANT, "scope": "system/Patient.crus system/AuditEvent.s"}
    sent = {"accept": FHIR, **{name.replace("_", "-"): text for name, text in headers.items()}}
    body = None
    if resource is not None:
        sent["content-type"], body = FHIR, json.dumps(resource)
    return event_of(method, path, query=query, body=body, headers=sent, claims=claims)


def event_of(
    method: str, path: str, *, query: str, body: str | None, headers: Mapping[str, str], claims: Mapping[str, str]
) -> dict[str, Any]:
    """Return an event of payload format 2.0, as API Gateway sends it after its JWT authorizer."""
    return {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": dict(headers),
        "requestContext": {
            "authorizer": {"jwt": {"claims": claims, "scopes": None}},
            "domainName": "bench.execute-api.us-east-1.amazonaws.com",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "bench",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        **({"body": body} if body is not None else {}),
        "isBase64Encoded": False,
    }
