"""What a Lambda function of the platform finds around it: its environment, its tables and key, and calls to answer."""

import json
from collections.abc import Mapping
from typing import Any, Final

import boto3

from healthcare_dr.emulator import Emulator
from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT as PATIENT_TYPE
from patient_api.fhir.codec import JsonValue
from patient_api.store.model import Method, RecordKey, head_item, version_item, version_of

REGION: Final = "us-east-1"
RECORDS, AUDIT, INDEX_KEY = "bench-records", "bench-audit", "alias/bench-index"
TENANT, SUBJECT = "bench", "bench-client"
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
_INDEXES: Final = {
    "by-update": ("update_shard", "updated", "KEYS_ONLY"),
    "by-record": ("record", "sk", "ALL"),
}


def environment(emulator: Emulator) -> dict[str, str]:
    """The variables of the function, with the embedded AWS in place of AWS; no PATH, as none is needed."""
    return emulator.environment() | {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "PEER_REGION": "us-west-2",
        "RECORDS_TABLE": RECORDS,
        "AUDIT_TABLE": AUDIT,
        "DOCUMENTS_BUCKET": "bench-documents",
        "PEER_DOCUMENTS_BUCKET": "bench-documents-peer",
        "PEER_ROLE_ARN": f"arn:aws:iam::{emulator.account}:role/bench-peer",
        "KEY_ARN": f"arn:aws:kms:{REGION}:{emulator.account}:key/bench",
        "INDEX_KEY_ALIAS": INDEX_KEY,
        "LOG_LEVEL": "INFO",
        "TENANT_CLAIM": "tenant",
        "OIDC_ISSUER": "",
        "CORS": "false",
    }


def create_resources(emulator: Emulator) -> None:
    """Both tables, with the one record that reads ask for, and the key of the search index."""
    variables = emulator.environment()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            verify=variables["AWS_CA_BUNDLE"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )

    dynamodb, kms = client("dynamodb"), client("kms")
    create_tables(dynamodb, records=RECORDS, audit=AUDIT)
    version = version_of(PATIENT, key=key_of(PATIENT_ID), stamp=STAMP, method=Method.POST)
    for item in (version_item(version), head_item(version, REGION)):
        dynamodb.put_item(TableName=RECORDS, Item=item)
    key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=INDEX_KEY, TargetKeyId=key)


def create_tables(dynamodb: Any, *, records: str, audit: str) -> None:
    """The two tables as the platform has them, each with its index."""
    for table, name in ((records, "by-update"), (audit, "by-record")):
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
    """A patient's record."""
    return RecordKey(TENANT, PATIENT_TYPE, patient_id)


def read_call(patient_id: str = PATIENT_ID) -> dict[str, Any]:
    """`GET` of a record."""
    return _call("GET", f"/fhir/Patient/{patient_id}")


def history_call(query: str) -> dict[str, Any]:
    """`GET` of a page of a record's versions."""
    return _call("GET", f"/fhir/Patient/{PATIENT_ID}/_history", query=query)


def search_call(query: str) -> dict[str, Any]:
    """`GET` of the first page that a search finds."""
    return _call("GET", "/fhir/Patient", query=query)


def trail_call(query: str) -> dict[str, Any]:
    """`GET` of a page of the audit events about the record's patient."""
    return _call("GET", "/fhir/AuditEvent", query=f"patient={PATIENT_ID}&{query}")


def create_call(resource: Mapping[str, JsonValue] = PATIENT) -> dict[str, Any]:
    """`POST` of a new record."""
    return _call("POST", "/fhir/Patient", body=json.dumps(resource))


def update_call(patient_id: str, etag: str) -> dict[str, Any]:
    """`PUT` of a record that is at the version with this entity tag."""
    body = json.dumps(PATIENT | {"id": patient_id})
    return _call("PUT", f"/fhir/Patient/{patient_id}", body=body, headers={"if-match": etag})


def _call(
    method: str, path: str, *, query: str = "", body: str | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An event of payload format 2.0, as API Gateway's JWT authorizer lets it pass."""
    claims = {"sub": SUBJECT, "tenant": TENANT, "scope": "system/Patient.crus system/AuditEvent.s"}
    sent = {"accept": "application/fhir+json", **(headers or {})}
    return {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": sent | ({"content-type": "application/fhir+json"} if body else {}),
        "requestContext": {
            "authorizer": {"jwt": {"claims": claims, "scopes": None}},
            "domainName": "bench.execute-api.us-east-1.amazonaws.com",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "bench",
            "stage": "$default",
        },
        **({"body": body} if body else {}),
        "isBase64Encoded": False,
    }
