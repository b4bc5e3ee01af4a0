"""Documents in two regions on fakes: one DynamoDB, a bucket in each region, and one clock."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from patient_api.audit.trail import AuditTrail
from patient_api.clock import Clock
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.documents.bucket import Bucket
from patient_api.documents.confirmation import Confirmation
from patient_api.documents.copies import Copies
from patient_api.documents.downloads import Downloads
from patient_api.documents.events import Events
from patient_api.documents.multipart import Multipart
from patient_api.documents.offers import UploadOffers
from patient_api.documents.peer import Peer
from patient_api.documents.pending import Pending, opened
from patient_api.documents.reference import Document, object_key
from patient_api.documents.references import DocumentReferences
from patient_api.documents.uploads import Uploads
from patient_api.documents.work import ConfirmationWorker
from patient_api.fhir.codec import parse
from patient_api.http.authorization import Authorization
from patient_api.http.caller import Caller
from patient_api.http.request import Request
from patient_api.logging import StructuredLog
from patient_api.service_context import ServiceContext
from patient_api.store.model import Method, RecordKey, Token, Version, version_of
from patient_api.store.versions import VersionStore
from unit.patient_api.fakes.aws import AUDIT, RECORDS, FakeDynamoDB, client_error
from unit.patient_api.fakes.log import FakeLog
from unit.patient_api.fakes.s3 import FakeS3, Time, sha256

EAST, WEST = "us-east-1", "us-west-2"
TENANT = "north-clinic"
CONTENT = b"%PDF-1.7 a letter"
UPLOAD = "urn:healthcare-dr:upload"


class World:
    """The functions that confirm documents, in both regions."""

    def __init__(self) -> None:
        self.time = Time()
        self.dynamodb = FakeDynamoDB(page=2)
        self.s3 = {region: FakeS3(region, self.time) for region in (EAST, WEST)}
        self.log = FakeLog()
        self.pool = ThreadPoolExecutor(1)
        self._ids = count(1)
        self._clocks = {
            region: Clock(region=region, now_ms=lambda: round(self.time.now().timestamp() * 1000))
            for region in (EAST, WEST)
        }
        self.records = self.records_of(EAST)

    def records_of(self, region: str) -> VersionStore:
        return VersionStore(
            client=self.dynamodb,
            table=RECORDS,
            region=region,
            trail=AuditTrail(client=self.dynamodb, table=AUDIT),
            pool=self.pool,
            pause=self.time.sleep,
        )

    def bucket(self, region: str) -> Bucket:
        return Bucket(region=region, name=f"documents-{region}", client=lambda: self.s3[region])

    def pending(self, region: str) -> Pending:
        return Pending(client=self.dynamodb, table=RECORDS, region=region)

    def clock(self, region: str) -> Clock:
        return self._clocks[region]

    def new_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._ids):012d}"

    def events(self, region: str) -> Events:
        return Events(region=region, now=self.time.now, new_id=self.new_id)

    def confirmation(self, region: str = EAST) -> Confirmation:
        other = WEST if region == EAST else EAST
        return Confirmation(
            records=self.records_of(region),
            pending=self.pending(region),
            here=self.bucket(region),
            peer=Peer(
                bucket=self.bucket(other),
                copies=Copies(client=lambda: self.s3[other], bucket=f"documents-{other}"),
                now=self.time.now,
                sleep=self.time.sleep,
            ),
            clock=self.clock(region),
            events=self.events(region),
            log=self.structured_log(region),
        )

    def work(self, region: str = EAST) -> ConfirmationWorker:
        return ConfirmationWorker(
            confirmation=self.confirmation(region),
            pending=self.pending(region),
            log=self.structured_log(region),
            pool=self.pool,
            now=self.time.now,
            monotonic=self.time.monotonic,
            shuffle=lambda _keys: None,
        )

    def structured_log(self, region: str) -> StructuredLog:
        return StructuredLog(service="document-confirmation", region=region, stream=self.log, now=lambda: 0.0)

    def announce(
        self,
        content: bytes,
        *,
        name: str = "doc-1",
        region: str = EAST,
        upload: str | None = None,
        size: int | None = None,
    ) -> RecordKey:
        """Create a preliminary document that `region` has to confirm."""
        key = RecordKey(TENANT, DOCUMENT, name)
        stamp = self.clock(region).next()
        version = version_of(document(content, size=size), key=key, stamp=stamp, method=Method.POST)
        event = self.events(region).update(Document.of(version), version=stamp, request_id="creation")
        self.records.insert(version, event, markers=[opened(key, at=stamp, region=region, upload=upload)])
        self.dynamodb.tables[AUDIT].clear()
        return key

    def place(self, key: RecordKey, content: bytes = CONTENT, **parts: Any) -> None:
        """Add the object of a document in both regions."""
        for region in (EAST, WEST):
            self.s3[region].place(object_key(key), content, **parts)

    def report(self, *keys: RecordKey, region: str = EAST) -> None:
        """Process the bucket's events for the objects of documents."""
        self.work(region).uploaded(list(events_of(*map(object_key, keys))), request_id="request-2")

    def add_patient(self, name: str = "pat-1", *, deleted: bool = False) -> None:
        key = RecordKey(TENANT, PATIENT, name)
        stamp = self.clock(EAST).next()
        version = version_of({"resourceType": PATIENT}, key=key, stamp=stamp, method=Method.POST)
        if deleted:
            version = Version(key, stamp, Method.DELETE, None)
        probe = version_of(document(b"-"), key=RecordKey(TENANT, DOCUMENT, "x"), stamp=stamp, method=Method.POST)
        event = self.events(EAST).update(Document.of(probe), version=stamp, request_id="creation")
        self.records.insert(version, event)
        self.dynamodb.tables[AUDIT].clear()

    def newest(self, key: RecordKey) -> dict[str, Any]:
        """Return the stored resource."""
        version = self.records.newest(key)
        assert version is not None
        return shown(version)

    def marker(self, key: RecordKey) -> dict[str, str]:
        """Return the item of the pending marker."""
        (item,) = [item for item in self.dynamodb.items(RECORDS) if item["sk"] == "pending" and key.id in item["pk"]]
        return item

    def close(self) -> None:
        self.pool.shutdown()


def document(content: bytes, **elements: Any) -> dict[str, Any]:
    """Return a DocumentReference that declares `content`."""
    text = json.dumps(announcement(content, **elements))
    value = parse(text.encode())
    assert isinstance(value, dict)
    return value


def announcement(content: bytes, *, patient: str = "pat-1", size: int | None = None, **elements: Any) -> dict[str, Any]:
    """Return the same as plain JSON."""
    attachment = {
        "contentType": "application/pdf",
        "size": len(content) if size is None else size,
        "extension": [{"url": "urn:healthcare-dr:sha256", "valueBase64Binary": sha256(content)}],
    }
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "docStatus": "preliminary",
        "subject": {"reference": f"Patient/{patient}"},
        "content": [{"attachment": attachment}],
        **elements,
    }


def events_of(*keys: str) -> Iterator[dict[str, Any]]:
    """Yield S3's event records for objects."""
    for key in keys:
        yield {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}


class Api:
    """The service of documents in one region."""

    def __init__(self, world: World, region: str = EAST) -> None:
        trail = AuditTrail(client=world.dynamodb, table=AUDIT)
        authorization = Authorization(trail=trail, region=region, now=world.time.now, new_id=world.new_id)

        def tokens(_tenant: str, resource: Mapping[str, Any]) -> list[Token]:
            assert resource["resourceType"] == "DocumentReference"
            return [Token("patient", "0" * 32)]

        other = WEST if region == EAST else EAST
        self.service = DocumentReferences(
            ServiceContext(
                records=world.records_of(region),
                authorization=authorization,
                clock=world.clock(region),
                tokens=tokens,
                blind=lambda *parts: sha256("|".join(parts).encode()).encode().hex()[:32],
                new_id=world.new_id,
            ),
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
        raise client_error("InternalServerError", status=500)
