"""Two regions in memory: one DynamoDB that both see, a bucket each, one time that passes when somebody waits."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from patient_api.audit.trail import AuditTrail
from patient_api.clock import Clock
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.documents.bucket import Bucket
from patient_api.documents.confirmation import Confirmation
from patient_api.documents.copies import Copies
from patient_api.documents.events import Events
from patient_api.documents.peer import Peer
from patient_api.documents.pending import Pending, opened
from patient_api.documents.reference import Document
from patient_api.documents.work import ConfirmationWorker
from patient_api.fhir.codec import parse
from patient_api.logging import StructuredLog
from patient_api.store.model import Method, RecordKey, Version, version_of
from patient_api.store.transactions import Transactions
from patient_api.store.versions import VersionStore
from unit.patient_api.documents.dynamodb import AUDIT, RECORDS, FakeDynamoDB
from unit.patient_api.documents.s3 import FakeS3, Time, sha256

EAST, WEST = "us-east-1", "us-west-2"
TENANT = "north-clinic"


class World:
    """The confirming functions of both regions."""

    def __init__(self) -> None:
        self.time = Time()
        self.dynamodb = FakeDynamoDB()
        self.s3 = {region: FakeS3(region, self.time) for region in (EAST, WEST)}
        self.log = io.StringIO()
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
            transactions=Transactions(client=self.dynamodb, pause=self.time.sleep),
            pool=self.pool,
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
        """A preliminary document that `region` waits for."""

        key = RecordKey(TENANT, DOCUMENT, name)
        stamp = self.clock(region).next()
        version = version_of(document(content, size=size), key=key, stamp=stamp, method=Method.POST)
        event = self.events(region).update(_read(version), version=stamp, request_id="creation")
        self.records.insert(version, event, markers=[opened(key, at=stamp, region=region, upload=upload)])
        self.dynamodb.tables[AUDIT].clear()
        return key

    def add_patient(self, name: str = "pat-1", *, deleted: bool = False) -> None:
        key = RecordKey(TENANT, PATIENT, name)
        stamp = self.clock(EAST).next()
        version = version_of({"resourceType": PATIENT}, key=key, stamp=stamp, method=Method.POST)
        if deleted:
            version = Version(key, stamp, Method.DELETE, None)
        probe = version_of(document(b"-"), key=RecordKey(TENANT, DOCUMENT, "x"), stamp=stamp, method=Method.POST)
        event = self.events(EAST).update(_read(probe), version=stamp, request_id="creation")
        self.records.insert(version, event)
        self.dynamodb.tables[AUDIT].clear()

    def newest(self, key: RecordKey) -> dict[str, Any]:
        """The resource as it is stored."""
        version = self.records.newest(key)
        assert version is not None
        assert version.resource is not None
        content: dict[str, Any] = json.loads(version.resource)
        return content

    def marker(self, key: RecordKey) -> dict[str, str]:
        """The pending marker's item."""
        (item,) = [item for item in self.dynamodb.items(RECORDS) if item["sk"] == "pending" and key.id in item["pk"]]
        return item

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def metrics(self) -> dict[str, float]:
        """The sum of each metric that was counted."""
        found: dict[str, float] = {}
        for line in self.lines():
            for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
                for metric in directive["Metrics"]:
                    found[metric["Name"]] = found.get(metric["Name"], 0) + sum(line[metric["Name"]])
        return found

    def close(self) -> None:
        self.pool.shutdown()


def _read(version: Version) -> Document:
    return Document.of(version)


def document(content: bytes, **elements: Any) -> dict[str, Any]:
    """A DocumentReference that announces `content`."""
    text = json.dumps(announcement(content, **elements))
    value = parse(text.encode())
    assert isinstance(value, dict)
    return value


def announcement(content: bytes, *, patient: str = "pat-1", size: int | None = None, **elements: Any) -> dict[str, Any]:
    """The same as plain JSON."""
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
    """S3's event records for objects."""
    for key in keys:
        yield {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": {"key": key}}}
