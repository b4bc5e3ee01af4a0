"""Records, index and audit trail in DynamoDB, in the platform's own layout."""

import hashlib
import hmac
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zlib import crc32

import boto3

from bench.fastapi_app.models import DocumentReference, Patient

RECORDS, AUDIT, REGION = (os.environ[name] for name in ("RECORDS_TABLE", "AUDIT_TABLE", "AWS_REGION"))
Item = dict[str, Any]

dynamodb = boto3.client("dynamodb")
_pool = ThreadPoolExecutor(4)


@dataclass(frozen=True)
class Caller:
    """Who asks, from the token."""

    tenant: str
    subject: str
    scope: str
    source_ip: str
    request_id: str


class Moved(Exception):  # noqa: N818
    """The record is not, or no longer, at the version that the caller names."""


def newest(caller: Caller, kind: str, name: str) -> Item | None:
    """The newest version, read while the access is being put on record."""
    return next(iter(versions(caller, kind, name, limit=1)), None)


def versions(caller: Caller, kind: str, name: str, *, limit: int, exactly: str = "") -> list[Item]:
    """The newest versions, or exactly one."""
    audited = _pool.submit(dynamodb.put_item, **_event(caller, "R", f"{kind}/{name}"))
    found: list[Item] = dynamodb.query(
        TableName=RECORDS,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :versions)",
        ExpressionAttributeValues={
            ":pk": {"S": f"{caller.tenant}#{kind}#{name}"},
            ":versions": {"S": f"v#{exactly}"},
        },
        ScanIndexForward=False,
        ConsistentRead=True,
        Limit=limit,
    )["Items"]
    audited.result()
    return found


def write(
    caller: Caller,
    kind: str,
    name: str,
    resource: Patient | DocumentReference | None,
    *,
    replaces: str | None,
    tokens: Sequence[str] = (),
) -> Item:
    """Version, head, index and audit event in one transaction. Raises Moved."""
    stamp = f"{time.time_ns() // 1_000_000:013d}-0000-{REGION}"
    content: Item = {"version": {"S": stamp}, "method": {"S": "PUT" if replaces else "POST"}}
    if resource is None:
        content["deleted"] = {"BOOL": True}
    else:
        updated = datetime.fromtimestamp(int(stamp[:13]) / 1000, UTC)
        meta = {**(resource.meta.model_dump(exclude_none=True) if resource.meta else {})}
        meta |= {"versionId": stamp, "lastUpdated": updated}
        whole = type(resource).model_validate({**resource.model_dump(exclude_none=True), "id": name, "meta": meta})
        content["resource"] = {"S": whole.model_dump_json(exclude_none=True)}
    pk = {"S": f"{caller.tenant}#{kind}#{name}"}
    shard = {"S": f"{caller.tenant}#{kind}#{crc32(name.encode()) % 8}#{REGION}"}
    version = {"pk": pk, "sk": {"S": f"v#{stamp}"}, **content}
    condition: Item = {"ConditionExpression": "attribute_not_exists(pk)"}
    if replaces:
        version["replaces"] = {"S": replaces}
        condition = {
            "ConditionExpression": "#version = :expected",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":expected": {"S": replaces}},
        }
    head = {"pk": pk, "sk": {"S": f"head#{REGION}"}, **content, "update_shard": shard, "updated": {"S": stamp}}
    puts = [
        {"TableName": RECORDS, "Item": version, "ConditionExpression": "attribute_not_exists(pk)"},
        {"TableName": RECORDS, "Item": head, **condition},
        *({"TableName": RECORDS, "Item": {"pk": {"S": token}, "sk": {"S": name}}} for token in tokens),
        _event(caller, "U" if replaces else "C", f"{kind}/{name}"),
    ]
    try:
        dynamodb.transact_write_items(
            TransactItems=[{"Put": put} for put in puts], ClientRequestToken=str(uuid.uuid4())
        )
    except dynamodb.exceptions.TransactionCanceledException as error:
        raise Moved from error
    return version


def search(caller: Caller, kind: str, token: str, count: int) -> list[Item]:
    """The heads of the records that had the token, with one audit event for each."""
    ids = dynamodb.query(
        TableName=RECORDS,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": token}},
        ConsistentRead=True,
        Limit=count + 1,
    )["Items"]
    keys = [
        {"pk": {"S": f"{caller.tenant}#{kind}#{item['sk']['S']}"}, "sk": {"S": f"head#{REGION}"}}
        for item in ids[:count]
    ]
    heads: list[Item] = []
    if keys:
        request = {RECORDS: {"Keys": keys, "ConsistentRead": True}}
        heads = list(dynamodb.batch_get_item(RequestItems=request)["Responses"][RECORDS])
    records = [head["pk"]["S"].split("#", 1)[1].replace("#", "/") for head in heads] or [kind]
    dynamodb.transact_write_items(
        TransactItems=[{"Put": _event(caller, "E", record)} for record in records],
        ClientRequestToken=str(uuid.uuid4()),
    )
    return [head for head in heads if "resource" in head]


def events(caller: Caller, patient: str, count: int) -> list[Item]:
    """The newest audit events of a patient's record; that they were read is one of them."""
    dynamodb.put_item(**_event(caller, "E", f"Patient/{patient}"))
    found: list[Item] = dynamodb.query(
        TableName=AUDIT,
        IndexName="by-record",
        KeyConditionExpression="#record = :record",
        ExpressionAttributeNames={"#record": "record"},
        ExpressionAttributeValues={":record": {"S": f"{caller.tenant}#Patient/{patient}"}},
        ScanIndexForward=False,
        Limit=count,
    )["Items"]
    return found


def token(tenant: str, kind: str, parameter: str, value: str) -> str:
    """The partition of the index for a value."""
    message = "\0".join((tenant, kind, parameter, value)).encode()
    blind = hmac.digest(_secret(), message, hashlib.sha256).hex()[:32]
    return f"{tenant}#{kind}?{parameter}#{blind}"


@cache
def _secret() -> bytes:
    answer = boto3.client("kms").generate_mac(
        KeyId=os.environ["INDEX_KEY_ALIAS"], Message=b"healthcare-dr index v1", MacAlgorithm="HMAC_SHA_256"
    )
    mac: bytes = answer["Mac"]
    return mac


def _event(caller: Caller, action: str, record: str) -> Item:
    name, at = str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    texts = {
        "pk": f"{caller.tenant}#{at[:13]}#{crc32(name.encode()) % 16:02d}",
        "sk": f"{at}#{name}",
        "record": f"{caller.tenant}#{record}",
        "at": at,
        "event": name,
        "tenant": caller.tenant,
        "subject": caller.subject,
        "action": action,
        "outcome": "success",
        "region": REGION,
        "source_ip": caller.source_ip,
        "request_id": caller.request_id,
    }
    item = {key: {"S": text} for key, text in texts.items()}
    return {"TableName": AUDIT, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
