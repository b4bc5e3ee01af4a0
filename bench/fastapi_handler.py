"""A comparison for cold starts: the API as it is usually built, with FastAPI, Mangum, pydantic models and boto3.

It reads, creates and updates patients with the same DynamoDB calls as the platform's API, in the same table layout. It
has fewer routes, search parameters and rules of FHIR. Each of these would make it slower.
"""

import hashlib
import hmac
import os
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cache
from typing import Annotated, Any, Literal
from zlib import crc32

import boto3
from fastapi import Depends, FastAPI, Header, HTTPException, Path, Request, Response
from mangum import Mangum
from pydantic import BaseModel, ConfigDict, Field

FHIR = "application/fhir+json"
RECORDS, AUDIT, REGION = (os.environ[name] for name in ("RECORDS_TABLE", "AUDIT_TABLE", "AWS_REGION"))
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
Date = Annotated[str, Field(pattern=r"^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$")]
Gender = Literal["male", "female", "other", "unknown"]
Item = dict[str, Any]

dynamodb = boto3.client("dynamodb")
pool = ThreadPoolExecutor(4)
app = FastAPI(title="Patients", docs_url=None, redoc_url=None, openapi_url=None)
handler = Mangum(app, lifespan="off", text_mime_types=[FHIR, "application/json"])


class Element(BaseModel):
    """The members of every element."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    extension: list[dict[str, Any]] | None = None


class Period(Element):
    start: str | None = None
    end: str | None = None


class Coding(Element):
    system: str | None = None
    version: str | None = None
    code: str | None = None
    display: str | None = None
    userSelected: bool | None = None


class CodeableConcept(Element):
    coding: list[Coding] | None = None
    text: str | None = None


class Reference(Element):
    reference: str | None = None
    type: str | None = None
    identifier: "Identifier | None" = None
    display: str | None = None


class Identifier(Element):
    use: Literal["usual", "official", "temp", "secondary", "old"] | None = None
    type: CodeableConcept | None = None
    system: str | None = None
    value: str | None = None
    period: Period | None = None
    assigner: Reference | None = None


class HumanName(Element):
    use: Literal["usual", "official", "temp", "nickname", "anonymous", "old", "maiden"] | None = None
    text: str | None = None
    family: str | None = None
    given: list[str] | None = None
    prefix: list[str] | None = None
    suffix: list[str] | None = None
    period: Period | None = None


class ContactPoint(Element):
    system: Literal["phone", "fax", "email", "pager", "url", "sms", "other"] | None = None
    value: str | None = None
    use: Literal["home", "work", "temp", "old", "mobile"] | None = None
    rank: Annotated[int, Field(gt=0)] | None = None
    period: Period | None = None


class Address(Element):
    use: Literal["home", "work", "temp", "old", "billing"] | None = None
    type: Literal["postal", "physical", "both"] | None = None
    text: str | None = None
    line: list[str] | None = None
    city: str | None = None
    district: str | None = None
    state: str | None = None
    postalCode: str | None = None
    country: str | None = None
    period: Period | None = None


class Meta(Element):
    versionId: str | None = None
    lastUpdated: datetime | None = None
    profile: list[str] | None = None
    security: list[Coding] | None = None
    tag: list[Coding] | None = None


class Contact(Element):
    relationship: list[CodeableConcept] | None = None
    name: HumanName | None = None
    telecom: list[ContactPoint] | None = None
    address: Address | None = None
    gender: Gender | None = None
    organization: Reference | None = None
    period: Period | None = None


class Patient(Element):
    resourceType: Literal["Patient"]
    meta: Meta | None = None
    text: dict[str, Any] | None = None
    identifier: list[Identifier] | None = None
    active: bool | None = None
    name: list[HumanName] | None = None
    telecom: list[ContactPoint] | None = None
    gender: Gender | None = None
    birthDate: Date | None = None
    deceasedBoolean: bool | None = None
    address: list[Address] | None = None
    maritalStatus: CodeableConcept | None = None
    contact: list[Contact] | None = None
    generalPractitioner: list[Reference] | None = None
    managingOrganization: Reference | None = None


@dataclass(frozen=True)
class Caller:
    """The claims of the token, which the gateway has checked."""

    tenant: str
    subject: str
    scope: str


def caller(request: Request) -> Caller:
    """Return the caller. Raises HTTPException without a token."""
    claims = request.scope["aws.event"]["requestContext"].get("authorizer", {}).get("jwt", {}).get("claims")
    if not claims:
        raise HTTPException(401, "A token is required.")
    return Caller(claims["tenant"], claims["sub"], claims["scope"])


def granted(right: str) -> Any:
    """Return a dependency: the caller, if the token grants the right to patients."""

    def check(caller: Annotated[Caller, Depends(caller)]) -> Caller:
        grants = (re.fullmatch(r"(?:system|user)/(\w+|\*)\.(c?r?u?d?s?)", word) for word in caller.scope.split())
        if not any(grant and grant[1] in {"Patient", "*"} and right in grant[2] for grant in grants):
            raise HTTPException(403, "The token does not grant this.")
        return caller

    return Depends(check)


@app.get("/health")
def health() -> dict[str, str]:
    dynamodb.describe_table(TableName=RECORDS)
    return {"status": "healthy"}


@app.get("/fhir/Patient/{id}")
def read_patient(id: Id, caller: Annotated[Caller, granted("r")]) -> Response:
    audited = pool.submit(dynamodb.put_item, **audit_event(caller, "R", id))
    found = dynamodb.query(
        TableName=RECORDS,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :versions)",
        ExpressionAttributeValues={":pk": {"S": f"{caller.tenant}#Patient#{id}"}, ":versions": {"S": "v#"}},
        ScanIndexForward=False,
        ConsistentRead=True,
        Limit=1,
    )["Items"]
    audited.result()
    if not found:
        raise HTTPException(404, "There is no such record.")
    return response_of(found[0])


@app.post("/fhir/Patient", status_code=201)
def create_patient(patient: Patient, caller: Annotated[Caller, granted("c")]) -> Response:
    return response_of(write(caller, str(uuid.uuid4()), patient, replaces=None), 201)


@app.put("/fhir/Patient/{id}")
def update_patient(
    id: Id,
    patient: Patient,
    caller: Annotated[Caller, granted("u")],
    if_match: Annotated[str, Header(pattern=r'^W/"[^"]+"$')],
) -> Response:
    try:
        return response_of(write(caller, id, patient, replaces=if_match[3:-1]))
    except dynamodb.exceptions.TransactionCanceledException:
        raise HTTPException(412, "If-Match is not the current version.") from None


def response_of(version: Item, status: int = 200) -> Response:
    """Return the response with a stored version."""
    stamp = version["version"]["S"]
    updated = formatdate(int(stamp[:13]) // 1000, usegmt=True)
    headers = {"ETag": f'W/"{stamp}"', "Last-Modified": updated, "Cache-Control": "no-store"}
    return Response(version["resource"]["S"], status, headers, FHIR)


def write(caller: Caller, id: str, patient: Patient, *, replaces: str | None) -> Item:
    """Write version, lineage item, head, index items and audit event in one transaction."""
    stamp = f"{time.time_ns() // 1_000_000:013d}-0000-{REGION}"
    meta = Meta(versionId=stamp, lastUpdated=datetime.fromtimestamp(int(stamp[:13]) / 1000, UTC))
    resource = patient.model_copy(update={"id": id, "meta": meta}).model_dump_json(exclude_none=True)
    pk = {"S": f"{caller.tenant}#Patient#{id}"}
    content: Item = {"version": {"S": stamp}, "resource": {"S": resource}}
    shard = {"S": f"{caller.tenant}#Patient#{crc32(id.encode()) % 8}#{REGION}"}
    head = {"pk": pk, "sk": {"S": f"head#{REGION}"}, **content, "update_shard": shard, "updated": {"S": stamp}}
    condition: Item = {"ConditionExpression": "attribute_not_exists(pk)"}
    if replaces:
        condition = {
            "ConditionExpression": "#version = :expected",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":expected": {"S": replaces}},
        }
    puts = [
        {"TableName": RECORDS, "Item": {"pk": pk, "sk": {"S": f"v#{stamp}"}, **content}},
        {"TableName": RECORDS, "Item": {"pk": pk, "sk": {"S": f"l#{stamp}"}, "version": {"S": stamp}}},
        {"TableName": RECORDS, "Item": head, **condition},
        *({"TableName": RECORDS, "Item": {"pk": {"S": token}, "sk": {"S": id}}} for token in tokens(caller, patient)),
        audit_event(caller, "U" if replaces else "C", id),
    ]
    dynamodb.transact_write_items(TransactItems=[{"Put": put} for put in puts], ClientRequestToken=str(uuid.uuid4()))
    return content


def tokens(caller: Caller, patient: Patient) -> Iterator[str]:
    """Yield the partitions of the blind index for the family names."""
    for family in {name.family.casefold()[:4] for name in patient.name or () if name.family}:
        message = "\0".join((caller.tenant, "Patient", "name", family)).encode()
        yield f"{caller.tenant}#Patient?name#{hmac.digest(index_secret(), message, hashlib.sha256).hex()[:32]}"


@cache
def index_secret() -> bytes:
    """Return the secret of the blind index."""
    response = boto3.client("kms").generate_mac(
        KeyId=os.environ["INDEX_KEY_ALIAS"], Message=b"healthcare-dr index v1", MacAlgorithm="HMAC_SHA_256"
    )
    mac: bytes = response["Mac"]
    return mac


def audit_event(caller: Caller, action: str, id: str) -> Item:
    """Return the request that writes an audit event."""
    name, at = str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    texts = {
        "pk": f"{caller.tenant}#{at[:13]}#{crc32(name.encode()) % 16:02d}",
        "sk": f"{at}#{name}",
        "record": f"{caller.tenant}#Patient/{id}",
        "at": at,
        "event": name,
        "tenant": caller.tenant,
        "subject": caller.subject,
        "action": action,
        "outcome": "success",
        "region": REGION,
    }
    item = {key: {"S": text} for key, text in texts.items()}
    return {"TableName": AUDIT, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
