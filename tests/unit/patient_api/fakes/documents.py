"""Documents in two regions on fakes: tables, a bucket in each region, and one clock."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any, cast

from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients
from patient_api.bootstrap import DocumentStorage, Process, Services, confirmation_worker, stream_processor
from patient_api.clock import Clock
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.contract.functions import Environment
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.documents.confirmation import Confirmation
from patient_api.documents.lifecycle import Replica, State, next_check
from patient_api.documents.reference import object_key
from patient_api.documents.repository import DocumentRepository
from patient_api.documents.service import DocumentService
from patient_api.documents.worker import ConfirmationWorker
from patient_api.fhir.codec import parse
from patient_api.http.caller import Caller
from patient_api.http.request import Request
from patient_api.logging import StructuredLog
from patient_api.store.model import DELETED, Method, RecordKey, Token, Version, version_of
from patient_api.store.versions import VersionStore
from unit.patient_api.fakes import regions
from unit.patient_api.fakes.aws import AUDIT, ENVIRONMENT, RECORDS, FakeDynamoDB, client_error
from unit.patient_api.fakes.log import FakeLog
from unit.patient_api.fakes.s3 import START, FakeS3, RestrictedS3, Time, sha256

EAST, WEST = "us-east-1", "us-west-2"
TENANT = "north-clinic"
CONTENT = b"%PDF-1.7 a letter"
UPLOAD = "urn:healthcare-dr:upload"


def other(region: str) -> str:
    """Return the other region."""
    return WEST if region == EAST else EAST


class FakeClients:
    """The AWS clients of one region, as `patient_api.aws.Clients`."""

    def __init__(self, world: "World", region: str, *, restricted: bool) -> None:
        self._world = world
        self._region = region
        self._restricted = restricted

    def dynamodb(self) -> FakeDynamoDB:
        return self._world.tables[self._region]

    def documents(self) -> FakeS3 | RestrictedS3:
        bucket = self._world.s3[self._region]
        return bucket.restricted() if self._restricted else bucket

    def documents_of(self, *, region: str, role: str) -> RestrictedS3:
        assert role == ENVIRONMENT.peer_role_arn
        return self._world.s3[region].restricted()


class World:
    """The functions for documents in both regions. Both read and write the same tables: replication takes no time."""

    def __init__(self, *, page: int = 2) -> None:
        self.time = Time()
        self.dynamodb = FakeDynamoDB(page=page)
        self.dynamodb.time = lambda: self.time.now().timestamp()
        self.tables: dict[str, FakeDynamoDB] = {EAST: self.dynamodb, WEST: self.dynamodb}
        self.s3 = {region: FakeS3(region, self.time) for region in (EAST, WEST)}
        self.log = FakeLog()
        self._ids = count(1)
        self._workers: dict[str, ConfirmationWorker] = {}
        self.pool = ThreadPoolExecutor(1)
        self.records = self.records_of(EAST)

    def environment(self, region: str) -> Environment:
        return replace(
            ENVIRONMENT,
            region=region,
            peer_region=other(region),
            documents_bucket=f"documents-{region}",
            peer_documents_bucket=f"documents-{other(region)}",
            key_arn=f"arn:key-{region}",
        )

    def clients(self, region: str, *, restricted: bool = False) -> Clients:
        """Return the clients of a region; with `restricted`, its policy denies quarantined objects, as to the API."""
        return cast("Clients", FakeClients(self, region, restricted=restricted))

    def records_of(self, region: str) -> VersionStore:
        client = self.tables[region]
        return VersionStore(
            client=client,
            table=RECORDS,
            region=region,
            trail=AuditTrail(client=client, table=AUDIT),
            pool=self.pool,
            pause=self.time.sleep,
        )

    @property
    def process(self) -> Process:
        """The clocks, ids and threads of all functions. Documents are confirmed one after the other."""
        return Process(
            now=lambda: self.time.now().timestamp(),
            monotonic=self.time.monotonic,
            sleep=self.time.sleep,
            new_id=self.new_id,
            shuffle=lambda _tenants: None,
            threads=lambda _workers, name: ThreadPoolExecutor(1, name),
        )

    def work(self, region: str = EAST) -> ConfirmationWorker:
        """Return the confirming function of a region, composed as Lambda composes it."""
        if region not in self._workers:
            self._workers[region] = confirmation_worker(
                self.environment(region).variables() | {"AWS_REGION": region},
                clients=self.clients(region),
                log=self.structured_log(region),
                process=self.process,
            )
        return self._workers[region]

    def confirmation(self, region: str = EAST) -> Confirmation:
        return self.work(region).confirmation

    def repository(self, region: str = EAST) -> DocumentRepository:
        storage = DocumentStorage(
            environment=self.environment(region),
            clients=self.clients(region),
            dynamodb=self.tables[region],
            records=self.records_of(region),
            now=self.time.now,
        )
        return storage.repository

    def clock(self, region: str) -> Clock:
        return Clock(region=region, now_ms=lambda: round(self.time.now().timestamp() * 1000))

    def new_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._ids):012d}"

    def structured_log(self, region: str) -> StructuredLog:
        return StructuredLog(service="document-confirmation", region=region, stream=self.log, now=lambda: 0.0)

    def event(self, region: str, key: RecordKey) -> AuditEvent:
        """Return an audit event for a write by a test."""
        return AuditEvent(
            id=self.new_id(),
            at=self.time.now(),
            tenant=key.tenant,
            subject="test",
            action=Action.CREATE,
            interaction="create",
            record=key.reference,
            outcome=Outcome.SUCCESS,
            status=201,
            region=region,
            source_ip="",
            request_id="creation",
        )

    def announce(
        self,
        content: bytes,
        *,
        name: str = "doc-1",
        tenant: str = TENANT,
        region: str = EAST,
        upload: str | None = None,
        size: int | None = None,
    ) -> RecordKey:
        """Create a preliminary document, with an upload address of `region`."""
        key = RecordKey(tenant, DOCUMENT, name)
        stamp = self.clock(region).next()
        version = version_of(document(content, size=size), key=key, stamp=stamp, method=Method.POST)
        now = self.time.now()
        event, repository = self.event(region, key), self.repository(region)
        known = repository.read(key)
        replica = repository.own(known).next(
            State.ANNOUNCED, at=next_check(now, now), since=now, offered=True, upload=upload
        )
        repository.announce(known, version, event, tokens=(), replica=replica)
        self.tables[region].tables[AUDIT].clear()
        return key

    def place(self, key: RecordKey, content: bytes = CONTENT, **parts: Any) -> None:
        """Add the object of a document in both regions."""
        for region in (EAST, WEST):
            self.s3[region].place(object_key(key), content, **parts)

    def report(self, *keys: RecordKey, region: str = EAST) -> None:
        """Process the bucket's events for the objects of documents."""
        self.work(region).uploaded(list(events_of(*map(object_key, keys))), seconds=900, request_id="request-2")

    def sweep(self, region: str = EAST, *, seconds: float = 900) -> None:
        """Run a sweep of the confirming function."""
        self.work(region).sweep(seconds=seconds, request_id="request-3")

    def add_patient(self, name: str = "pat-1", *, region: str = EAST, deleted: bool = False) -> None:
        key = RecordKey(TENANT, PATIENT, name)
        stamp = self.clock(region).next()
        version = version_of({"resourceType": PATIENT}, key=key, stamp=stamp, method=Method.POST)
        if deleted:
            version = Version(key, stamp, Method.DELETE, None, DELETED)
        self.records_of(region).insert(version, self.event(region, key))
        self.tables[region].tables[AUDIT].clear()

    def newest(self, key: RecordKey, region: str = EAST) -> dict[str, Any]:
        """Return the stored resource of the current version."""
        return shown(self.repository(region).read(key).current)

    def status(self, key: RecordKey, region: str = EAST) -> object:
        return self.newest(key, region)["docStatus"]

    def replica(self, key: RecordKey, region: str = EAST) -> Replica:
        """Return a region's replica item, as the region has it."""
        return self.repository(region).read(key).replicas[region]

    def listed(self, region: str = EAST) -> dict[str, str]:
        """Return the list of each open document, by its id."""
        return {
            item["pk"].split("#")[2]: item["update_shard"]
            for item in self.tables[region].items(RECORDS)
            if item["sk"] == f"replica#{region}" and "update_shard" in item
        }

    def close(self) -> None:
        self.pool.shutdown()


class LaggingWorld(World):
    """Two replicas of the tables. Items arrive in the other region by `deliver` or `settle` only."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = {
            region: regions.Replica(region=region, wall=lambda: round(self.time.now().timestamp() * 1_000_000))
            for region in (EAST, WEST)
        }
        self.tables = dict(self.replicas)
        self.processors = {
            region: stream_processor(
                self.environment(region).variables() | {"AWS_REGION": region},
                clients=self.clients(region),
                log=self.structured_log(region),
            )
            for region in (EAST, WEST)
        }
        for region in (EAST, WEST):
            self.add_patient(region=region)
        for replica in self.replicas.values():
            replica.outbox.clear()
            replica.stream.clear()

    def deliver(self, to: str, pick: int = 0) -> bool:
        """Replicate one of the waiting items to a region. Return False when there is none."""
        waiting = self.replicas[other(to)].outbox
        if waiting:
            self.replicas[to].receive(waiting.pop(pick % len(waiting)))
        return bool(waiting)

    def deliver_all(self, to: str) -> None:
        """Replicate all waiting items to a region."""
        while self.replicas[other(to)].outbox:
            self.deliver(to)

    def reconcile(self, region: str) -> None:
        """Process the stream of a region."""
        stream = self.replicas[region].stream
        assert self.processors[region]({"Records": regions.of_versions(stream)}) == {"batchItemFailures": []}
        stream.clear()

    def settle(self) -> None:
        """Replicate and process everything that is waiting."""
        while any(replica.outbox or replica.stream for replica in self.replicas.values()):
            for region in (EAST, WEST):
                self.deliver_all(region)
                self.reconcile(region)


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
    """The service of documents in one region, composed as Lambda composes it."""

    def __init__(self, world: World, region: str = EAST) -> None:
        def tokens(_tenant: str, resource: Mapping[str, Any]) -> list[Token]:
            assert resource["resourceType"] == "DocumentReference"
            return [Token("patient", "0" * 32)]

        services = Services(
            environment=world.environment(region),
            clients=world.clients(region, restricted=True),
            log=world.structured_log(region),
            now=lambda: world.time.now().timestamp(),
            monotonic=world.time.monotonic,
            pause=world.time.sleep,
            new_id=world.new_id,
        )
        services.context = replace(
            services.context,
            tokens=tokens,
            blind=lambda *parts: sha256("|".join(parts).encode()).encode().hex()[:32],
        )
        self.service: DocumentService = services.documents

    def create(self, body: object, **headers: str) -> tuple[RecordKey, dict[str, Any]]:
        version = self.service.create(request(body, **headers)).version
        return version.key, shown(version)

    def read(self, key: RecordKey, **headers: str) -> dict[str, Any]:
        return shown(self.service.read(request(**headers), key.id))

    def complete(self, key: RecordKey, **headers: str) -> dict[str, Any]:
        return shown(self.service.complete(request(**headers), key.id))


def request(body: object = None, *, tenant: str = TENANT, rights: str = "cru", **headers: str) -> Request:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Request(
        method="POST",
        path="/",
        caller=Caller(tenant, "app-1", frozenset((DOCUMENT, letter) for letter in rights)),
        source_ip="203.0.113.9",
        request_id="request-1",
        received=START,
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
