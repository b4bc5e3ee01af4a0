"""Compose the four functions of one region from the environment and the AWS clients.

Modules are imported, and services are built, where a function or a request first uses them. A cold start then waits
only for what its first request needs.
"""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from patient_api.aws import BACKGROUND, S3, Clients
from patient_api.contract.functions import API, CONFIRM_DOCUMENTS, RECONCILE, SENTINEL, Environment, FunctionSpec
from patient_api.contract.metrics import Metric
from patient_api.logging import StructuredLog

if TYPE_CHECKING:
    from patient_api.audit.trail import AuditTrail
    from patient_api.discovery.smart import SmartConfiguration
    from patient_api.documents.downloads import Downloads
    from patient_api.documents.offers import UploadOffers
    from patient_api.documents.pending import Pending
    from patient_api.documents.references import DocumentReferences
    from patient_api.documents.work import ConfirmationWorker
    from patient_api.http.authorization import Authorization
    from patient_api.http.paging import Cursors
    from patient_api.patients.conditional import ConditionalChanges
    from patient_api.patients.creation import Creation, CriteriaLookup
    from patient_api.patients.service import History, Patients
    from patient_api.patients.validation import Validation
    from patient_api.region.drain import DrainFlags
    from patient_api.region.health import Health
    from patient_api.region.sentinel import Sentinel
    from patient_api.search.audit import AuditSearch
    from patient_api.search.parameters import Tokenizer
    from patient_api.search.service import Searches
    from patient_api.secrets import Secrets
    from patient_api.service_context import ServiceContext
    from patient_api.store.index import Index
    from patient_api.store.model import RecordKey
    from patient_api.store.stream import StreamProcessor
    from patient_api.store.versions import VersionStore

CONCURRENT_DOCUMENTS: Final = 4
"""Documents that are confirmed at once. Each may need 64 MiB for a part."""


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return str(uuid4())


def _log(function: FunctionSpec, environment: Environment) -> StructuredLog:
    return StructuredLog(service=function.name, region=environment.region, level=environment.log_level)


def api_services(variables: Mapping[str, str]) -> "Services":
    """Compose the services of the API.

    This and the functions below raise KeyError with the name of a variable that is not set.
    """
    environment = Environment.of(variables, API)
    services = Services(environment=environment, clients=Clients(region=environment.region), log=_log(API, environment))
    # Built before the first request, because Lambda gives the initialization a full processor.
    _ = services.patients
    return services


def confirmation_worker(variables: Mapping[str, str]) -> "ConfirmationWorker":
    """Compose the function that confirms documents."""
    from patient_api.audit.trail import AuditTrail
    from patient_api.clock import Clock
    from patient_api.documents.confirmation import Confirmation
    from patient_api.documents.copies import Copies
    from patient_api.documents.events import Events
    from patient_api.documents.peer import Peer
    from patient_api.documents.work import ConfirmationWorker
    from patient_api.store.versions import VersionStore

    environment = Environment.of(variables, CONFIRM_DOCUMENTS)
    region = environment.region
    clients = Clients(region=region, objects=BACKGROUND)
    client = clients.dynamodb()
    storage = DocumentStorage(environment=environment, clients=clients)
    log = _log(CONFIRM_DOCUMENTS, environment)
    confirmation = Confirmation(
        records=VersionStore(
            client=client,
            table=environment.records_table,
            region=region,
            trail=AuditTrail(client=client, table=environment.audit_table),
            pool=ThreadPoolExecutor(1, "store"),
        ),
        pending=storage.pending(),
        here=storage.here,
        peer=Peer(
            bucket=storage.there,
            copies=Copies(client=storage.peer_client, bucket=environment.peer_documents_bucket),
            now=utc_now,
            sleep=time.sleep,
        ),
        clock=Clock(region=region, now_ms=_now_ms),
        events=Events(region=region, now=utc_now, new_id=_new_id),
        log=log,
    )
    return ConfirmationWorker(
        confirmation=confirmation,
        pending=storage.pending(),
        log=log,
        pool=ThreadPoolExecutor(CONCURRENT_DOCUMENTS, "document"),
        now=utc_now,
        monotonic=time.monotonic,
        shuffle=random.shuffle,
    )


def stream_processor(
    variables: Mapping[str, str], *, clients: Clients | None = None, log: StructuredLog | None = None
) -> "StreamProcessor":
    """Compose the function that reconciles records, on these clients and this log where they are given."""
    from patient_api.region.heartbeat import ReplicationLag
    from patient_api.store.reconciliation import Reconciler
    from patient_api.store.stream import StreamProcessor, key_fields

    environment = Environment.of(variables, RECONCILE)
    clients = clients or Clients(region=environment.region)
    own_log = log or _log(RECONCILE, environment)

    def opened(key: "RecordKey", after: str) -> None:
        own_log.info("conflict", after=after, **key_fields(key))
        own_log.count({Metric.CONFLICTS: 1})

    reconciler = Reconciler(
        client=clients.dynamodb(), table=environment.records_table, region=environment.region, opened=opened
    )
    return StreamProcessor(
        reconcile=reconciler.reconcile,
        audit_table=environment.audit_table,
        # The lag is one of the metrics on the peer, which all have the sentinel as their service.
        lag=ReplicationLag(peer_region=environment.peer_region, log=_log(SENTINEL, environment), now_ms=_now_ms),
        log=own_log,
    )


def sentinel(variables: Mapping[str, str]) -> "Sentinel":
    """Compose the sentinel."""
    from patient_api.region.heartbeat import Heartbeats
    from patient_api.region.sentinel import Sentinel, probe

    environment = Environment.of(variables, SENTINEL)
    return Sentinel(
        region=environment.region,
        peer_region=environment.peer_region,
        endpoint=str(environment.endpoint),
        heartbeats=Heartbeats(client=Clients(region=environment.region).dynamodb(), table=environment.records_table),
        probe=probe,
        log=_log(SENTINEL, environment),
        now_ms=_now_ms,
    )


class Services:
    """Builds the services behind the API's routes lazily, from the AWS clients.

    `now` returns seconds since 1970, `monotonic` is a monotonic clock in seconds, and `pause` sleeps for seconds.
    `new_id` returns a unique id.
    """

    def __init__(
        self,
        *,
        environment: Environment,
        clients: Clients,
        log: StructuredLog,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self._environment = environment
        self._clients = clients
        self.log = log
        self._now = now
        self._monotonic = monotonic
        self._pause = pause
        self._new_id = new_id

    @cached_property
    def patients(self) -> "Patients":
        from patient_api.patients.service import Patients

        return Patients(self.context)

    @cached_property
    def creation(self) -> "Creation":
        from patient_api.patients.creation import Creation

        return Creation(self.context, selection=self._selection)

    @cached_property
    def conditional(self) -> "ConditionalChanges":
        from patient_api.patients.conditional import ConditionalChanges

        return ConditionalChanges(
            patients=self.patients, creation=self.creation, selection=self._selection, authorization=self.authorization
        )

    @cached_property
    def validation(self) -> "Validation":
        from patient_api.patients.validation import Validation

        return Validation(self.context)

    @cached_property
    def history(self) -> "History":
        from patient_api.patients.service import History

        return History(self.context, cursors=self._cursors)

    @cached_property
    def searches(self) -> "Searches":
        from patient_api.search.service import Searches

        return Searches(
            authorization=self.authorization,
            index=self._index,
            tokenizer=self._tokenizer,
            cursors=self._cursors,
            pool=self.pool,
            new_id=self._new_id,
        )

    @cached_property
    def documents(self) -> "DocumentReferences":
        from patient_api.documents.references import DocumentReferences

        storage = DocumentStorage(environment=self._environment, clients=self._clients)
        return DocumentReferences(self.context, offers=storage.offers(), downloads=storage.downloads())

    @cached_property
    def audit_search(self) -> "AuditSearch":
        from patient_api.search.audit import AuditSearch

        return AuditSearch(
            authorization=self.authorization,
            client=self._clients.dynamodb(),
            table=self._environment.audit_table,
            cursors=self._cursors,
            pool=self.pool,
            now=self._time,
            new_id=self._new_id,
        )

    @cached_property
    def health(self) -> "Health":
        from patient_api.region.health import Health, probes, publish

        return Health(
            probes=probes(clients=self._clients, environment=self._environment),
            # A separate pool, so that a probe that hangs does not delay an audit event.
            pool=ThreadPoolExecutor(8, "probe"),
            publish=partial(publish, log=self.log),
        )

    @cached_property
    def drain(self) -> "DrainFlags":
        from patient_api.region.drain import DrainFlags

        return DrainFlags(
            client=self._clients.dynamodb(),
            table=self._environment.records_table,
            regions={self._environment.region, self._environment.peer_region},
            monotonic=self._monotonic,
        )

    @property
    def tenant_claim(self) -> str:
        """The claim of a token that names the client's tenant."""
        from patient_api.http.caller import TENANT_CLAIM

        return self._environment.tenant_claim or TENANT_CLAIM

    @property
    def cors(self) -> bool:
        """Whether browser applications of other origins may call the API."""
        return bool(self._environment.cors)

    @cached_property
    def smart(self) -> "SmartConfiguration":
        from patient_api.discovery.smart import SmartConfiguration, published_by

        return SmartConfiguration(
            issuer=self._environment.issuer or "", published=published_by, monotonic=self._monotonic
        )

    @cached_property
    def records(self) -> "VersionStore":
        from patient_api.store.versions import VersionStore

        return VersionStore(
            client=self._clients.dynamodb(),
            table=self._environment.records_table,
            region=self._environment.region,
            trail=self._trail,
            pool=self.pool,
            pause=self._pause,
        )

    @cached_property
    def context(self) -> "ServiceContext":
        from patient_api.clock import Clock
        from patient_api.service_context import ServiceContext

        clock = Clock(region=self._environment.region, now_ms=lambda: int(self._now() * 1000))
        return ServiceContext(
            records=self.records,
            authorization=self.authorization,
            clock=clock,
            # The secrets and the search parameters are loaded for the first write or search.
            tokens=lambda tenant, resource: self._tokenizer.tokens(tenant, resource),
            blind=lambda *parts: self._secrets.blind(*parts),
            new_id=self._new_id,
        )

    @cached_property
    def authorization(self) -> "Authorization":
        from patient_api.http.authorization import Authorization

        return Authorization(
            trail=self._trail,
            region=self._environment.region,
            now=self._time,
            new_id=self._new_id,
        )

    def close(self) -> None:
        """Stop the threads that write audit events."""
        self.pool.shutdown(wait=True)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that write audit events and read partitions."""
        # A search of the audit trail reads the 16 partitions of an hour concurrently.
        return ThreadPoolExecutor(16, "store")

    @cached_property
    def _trail(self) -> "AuditTrail":
        from patient_api.audit.trail import AuditTrail

        return AuditTrail(client=self._clients.dynamodb(), table=self._environment.audit_table)

    @cached_property
    def _secrets(self) -> "Secrets":
        from patient_api.secrets import Secrets

        return Secrets(clients=self._clients, key=self._environment.index_key)

    @cached_property
    def _cursors(self) -> "Cursors":
        from patient_api.http.paging import Cursors

        return Cursors(secrets=self._secrets, now=self._now)

    @cached_property
    def _selection(self) -> "CriteriaLookup":
        from patient_api.patients.creation import CriteriaLookup

        return CriteriaLookup(
            authorization=self.authorization, matches=lambda tenant, criteria: self.searches.matches(tenant, criteria)
        )

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from patient_api.search.parameters import Tokenizer

        return Tokenizer(secrets=self._secrets)

    @cached_property
    def _index(self) -> "Index":
        from patient_api.store.index import Index

        return Index(
            client=self._clients.dynamodb(),
            table=self._environment.records_table,
            region=self._environment.region,
            pause=self._pause,
        )

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


class DocumentStorage:
    """Builds the clients of both regions' document buckets. Each AWS client is created on first use."""

    def __init__(self, *, environment: Environment, clients: Clients) -> None:
        from patient_api.documents.bucket import Bucket

        self._environment = environment
        self._clients = clients
        self.here: Bucket = Bucket(
            region=environment.region, name=environment.documents_bucket, client=clients.documents
        )
        self.there: Bucket = Bucket(
            region=environment.peer_region, name=environment.peer_documents_bucket, client=self.peer_client
        )

    def downloads(self) -> "Downloads":
        """Return downloads from this region's bucket, or else from the peer's."""
        from patient_api.documents.downloads import Downloads

        return Downloads(buckets=(self.here, self.there))

    def offers(self) -> "UploadOffers":
        """Return offers to upload to this region's bucket. Uploads that the peer offered can be completed too."""
        from patient_api.documents.multipart import Multipart
        from patient_api.documents.offers import UploadOffers
        from patient_api.documents.uploads import Uploads

        environment = self._environment
        here, there = environment.documents_bucket, environment.peer_documents_bucket
        return UploadOffers(
            region=environment.region,
            uploads=Uploads(client=self._clients.documents, bucket=here, key_arn=environment.key_arn, now=utc_now),
            multipart={
                environment.region: Multipart(client=self._clients.documents, bucket=here),
                environment.peer_region: Multipart(client=self.peer_client, bucket=there),
            },
            pending=self.pending(),
            now=utc_now,
        )

    def pending(self) -> "Pending":
        """Return the list of documents that this region has to confirm."""
        from patient_api.documents.pending import Pending

        environment = self._environment
        return Pending(client=self._clients.dynamodb(), table=environment.records_table, region=environment.region)

    def peer_client(self) -> S3:
        """Return the client of the peer region's bucket."""
        return self._clients.documents_of(region=self._environment.peer_region, role=self._environment.peer_role_arn)
