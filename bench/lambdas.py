"""What a Lambda function of the platform finds around it: its environment, its tables, and calls to answer."""

import json
from typing import Any

import boto3

from healthcare_dr.emulator import Emulator

REGION = "us-east-1"
RECORDS, AUDIT = "bench-records", "bench-audit"
TENANT, SUBJECT = "bench", "bench-client"
PATIENT_ID = "00000000-0000-4000-8000-000000000001"
_STAMP = "1800000000000-0000-us-east-1"
PATIENT = {
    "resourceType": "Patient",
    "active": True,
    "identifier": [{"system": "urn:example:mrn", "value": "0000-bench"}],
    "name": [{"use": "official", "family": "Fictitious", "given": ["Bench", "Mark"]}],
    "telecom": [{"system": "phone", "value": "+1 555 0100", "use": "home"}],
    "gender": "unknown",
    "birthDate": "1970-01-01",
    "address": [{"use": "home", "line": ["1 Example Street"], "city": "Springfield", "postalCode": "00000"}],
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
        "KEY_ARN": f"arn:aws:kms:{REGION}:{emulator.account}:key/bench",
        "POWERTOOLS_SERVICE_NAME": "patient-api",
        "POWERTOOLS_METRICS_NAMESPACE": "HealthcareDR",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def create_tables(emulator: Emulator) -> None:
    """Both tables, with the one record that reads ask for."""
    variables = emulator.environment()
    client = boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        verify=variables["AWS_CA_BUNDLE"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    keys = {"pk": "HASH", "sk": "RANGE"}
    for table in (RECORDS, AUDIT):
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        )
    resource = PATIENT | {"id": PATIENT_ID, "meta": {"versionId": _STAMP, "lastUpdated": "2027-01-15T08:00:00.000Z"}}
    head = {
        "pk": f"{TENANT}#Patient#{PATIENT_ID}",
        "sk": "head",
        "version": _STAMP,
        "updated": _STAMP,
        "update_shard": f"{TENANT}#Patient#0",
        "resource": json.dumps(resource, separators=(",", ":")),
    }
    client.put_item(TableName=RECORDS, Item={name: {"S": text} for name, text in head.items()})


def read_call() -> dict[str, Any]:
    """`GET` of the record that is there."""
    return _call("GET", f"/fhir/Patient/{PATIENT_ID}")


def create_call() -> dict[str, Any]:
    """`POST` of a new record."""
    return _call("POST", "/fhir/Patient", body=json.dumps(PATIENT), content_type="application/fhir+json")


def _call(method: str, path: str, *, body: str | None = None, content_type: str = "") -> dict[str, Any]:
    """An event of payload format 2.0, as API Gateway's JWT authorizer lets it pass."""
    claims = {"sub": SUBJECT, "tenant": TENANT, "scope": "system/Patient.cru"}
    return {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"accept": "application/fhir+json"} | ({"content-type": content_type} if content_type else {}),
        "requestContext": {
            "authorizer": {"jwt": {"claims": claims, "scopes": None}},
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"},
            "requestId": "bench",
            "stage": "$default",
        },
        **({"body": body} if body else {}),
        "isBase64Encoded": False,
    }
