"""Changes to a patient, by callers of this region and by the other region."""

import json
from typing import Any

from patient_api.store.model import head_sk
from unit.patient_api.fakes import RECORDS, REGION
from unit.patient_api.whole_api import Platform, Reply, patient

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PATCH = "application/json-patch+json"


def made(platform: Platform, **elements: Any) -> tuple[str, str]:
    """The path and the ETag of a new patient."""
    reply = platform.create(patient(**elements))
    return f"/fhir/Patient/{reply.json['id']}", reply.headers["etag"]


def put(platform: Platform, path: str, etag: str, **elements: Any) -> Reply:
    body = patient(id=path.rpartition("/")[2], **elements)
    reply = platform.call("PUT", path, body, headers={"if-match": etag})
    assert reply.status == 200, reply.body
    return reply


def patched(platform: Platform, path: str, etag: str, *operations: dict[str, Any]) -> Reply:
    headers = {"if-match": etag, "content-type": PATCH}
    return platform.call("PATCH", path, list(operations), headers=headers)


def arrive(platform: Platform, path: str, stamp: str, replaces: str | None, **elements: Any) -> None:
    """A version that the other region has written reaches this one, which has not put its head to it."""
    key = path.rpartition("/")[2]
    resource = patient(id=key, meta={"versionId": stamp}, **elements)
    item: dict[str, Any] = {
        "pk": {"S": f"north-clinic#Patient#{key}"},
        "sk": {"S": f"v#{stamp}"},
        "version": {"S": stamp},
        "method": {"S": "PUT"},
        "resource": {"S": json.dumps(resource)},
    }
    if replaces:
        item["replaces"] = {"S": replaces}
    platform.dynamodb.tables[RECORDS][item["pk"]["S"], item["sk"]["S"]] = item


def head_key(path: str, region: str = REGION) -> tuple[str, str]:
    """Where a record's head of a region is."""
    return f"north-clinic#Patient#{path.rpartition('/')[2]}", head_sk(region)
