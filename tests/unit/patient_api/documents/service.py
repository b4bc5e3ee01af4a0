"""The callers' service in one region, as tests call it."""

import json
from collections.abc import Mapping
from typing import Any

from patient_api.audit.trail import AuditTrail
from patient_api.contract.keys import DOCUMENT
from patient_api.documents.downloads import Downloads
from patient_api.documents.multipart import Multipart
from patient_api.documents.offers import UploadOffers
from patient_api.documents.references import DocumentReferences
from patient_api.documents.uploads import Uploads
from patient_api.http.authorization import Authorization
from patient_api.http.caller import Caller
from patient_api.http.request import Request
from patient_api.service_context import ServiceContext
from patient_api.store.model import RecordKey, Token, Version
from unit.patient_api.documents.dynamodb import AUDIT, refused
from unit.patient_api.documents.s3 import sha256
from unit.patient_api.documents.world import EAST, TENANT, WEST, World

CONTENT = b"%PDF-1.7 a letter"
UPLOAD = "urn:healthcare-dr:upload"


class Api:
    """The service in one region."""

    def __init__(self, world: World, region: str = EAST) -> None:
        trail = AuditTrail(client=world.dynamodb, table=AUDIT)
        authorization = Authorization(trail=trail, region=region, now=world.time.now, new_id=world.new_id)

        def tokens(_tenant: str, resource: Mapping[str, Any]) -> list[Token]:
            assert resource["resourceType"] == "DocumentReference"
            return [Token("patient", "0" * 32)]

        other = WEST if region == EAST else EAST
        self.service = DocumentReferences(
            records=world.records_of(region),
            context=ServiceContext(authorization=authorization, clock=world.clock(region), tokens=tokens),
            offers=UploadOffers(
                region=region,
                uploads=Uploads(
                    client=lambda: world.s3[region],
                    bucket=f"documents-{region}",
                    key_arn=f"arn:key-{region}",
                    now=world.time.now,
                ),
                multipart={
                    name: Multipart(client=lambda name=name: world.s3[name], bucket=f"documents-{name}")  # type: ignore[misc]
                    for name in (region, other)
                },
                pending=world.pending(region),
                now=world.time.now,
            ),
            downloads=Downloads(buckets=(world.bucket(region), world.bucket(other))),
            blind=lambda *parts: sha256("|".join(parts).encode()).encode().hex()[:32],
            new_id=world.new_id,
        )

    def create(self, body: object, **headers: str) -> tuple[RecordKey, dict[str, Any]]:
        version = self.service.create(request(body, **headers)).version
        return version.key, shown(version)

    def read(self, key: RecordKey, **headers: str) -> dict[str, Any]:
        return shown(self.service.read(request(**headers), key.id))

    def complete(self, key: RecordKey) -> dict[str, Any]:
        return shown(self.service.complete(request(), key.id))


def request(body: object = None, *, tenant: str = TENANT, rights: str = "cru", **headers: str) -> Request:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Request(
        method="POST",
        path="/",
        caller=Caller(tenant, "app-1", frozenset((DOCUMENT, letter) for letter in rights)),
        source_ip="203.0.113.9",
        request_id="request-1",
        headers={"content-type": "application/fhir+json", **names},
        body="" if body is None else json.dumps(body),
    )


def shown(version: Version) -> dict[str, Any]:
    assert version.resource is not None
    resource: dict[str, Any] = json.loads(version.resource)
    return resource


def offer(resource: dict[str, Any]) -> list[dict[str, Any]]:
    attachment = resource["content"][0]["attachment"]
    (found,) = [extension for extension in attachment["extension"] if extension["url"] == UPLOAD]
    inner: list[dict[str, Any]] = found["extension"]
    return inner


def offered_parts(resource: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [extension["extension"] for extension in offer(resource) if extension["url"] == "part"]
    return [{inner["url"]: next(v for k, v in inner.items() if k != "url") for inner in part} for part in parts]


def fail(operation: str, failing: str) -> None:
    if operation == failing:
        raise refused("InternalServerError", 500)
