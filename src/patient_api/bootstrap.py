"""Compose the functions of one region from the environment and the AWS clients.

Modules are imported, and services are built, where a function or a request first uses them. A cold start then waits
only for what its first request needs.
"""

import random
import time
from collections.abc import Callable, Mapping, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from patient_api.aws import BACKGROUND, S3, Clients, DatedDynamoDB, DynamoDB, translated
from patient_api.contract.functions import (
    API,
    CONFIRM_DOCUMENTS,
    RECONCILE,
    RELAY,
    SENTINEL,
    VARIABLES,
    Environment,
    FunctionSpec,
)
from patient_api.contract.keys import DOCUMENT
from patient_api.contract.metrics import Metric
from patient_api.logging import StructuredLog

if TYPE_CHECKING:
    from patient_api.audit.trail import AuditTrail
    from patient_api.clock import CheckedTime, Clock
    from patient_api.discovery.smart import SmartConfiguration
    from patient_api.documents.service import DocumentService
    from patient_api.documents.upload import Uploads
    from patient_api.documents.worker import ConfirmationWorker
    from patient_api.http.authorization import Authorization
    from patient_api.http.paging import Cursors
    from patient_api.patients.conditional import ConditionalChanges
    from patient_api.patients.creation import Creation, CriteriaLookup
    from patient_api.patients.service import History, Patients
    from patient_api.patients.validation import Validation
    from patient_api.region.drain import DrainFlags
    from patient_api.region.health import Health
    from patient_api.region.relay import Relay
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


Threads = Callable[[int, str], ThreadPoolExecutor]
"""Returns a pool with at most that many threads, whose names begin with the text."""


def _new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, kw_only=True)
class Process:
    """Clocks, waiting, ids, order and threads of the process that runs a function.

    `now` returns seconds since 1970, `monotonic` is a monotonic clock in seconds, `sleep` sleeps for seconds, `new_id`
    returns a unique id, and `shuffle` puts a list into a random order.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    new_id: Callable[[], str] = _new_id
    shuffle: Callable[[MutableSequence[Any]], None] = random.shuffle
    threads: Threads = ThreadPoolExecutor

    def utc_now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self.now() * 1000)


REAL: Final = Process()
"""The process itself."""


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


def confirmation_worker(
    variables: Mapping[str, str],
    *,
    clients: Clients | None = None,
    log: StructuredLog | None = None,
    process: Process = REAL,
) -> "ConfirmationWorker":
    """Compose the function that confirms documents.

    This and the functions below use these clients and this log where they are given.
    """
    from patient_api.audit.trail import AuditTrail
    from patient_api.documents.confirmation import Confirmation
    from patient_api.documents.worker import ConfirmationWorker
    from patient_api.store.versions import VersionStore

    environment = Environment.of(variables, CONFIRM_DOCUMENTS)
    region = environment.region
    clients = clients or Clients(region=region, objects=BACKGROUND)
    log = log or _log(CONFIRM_DOCUMENTS, environment)
    client, time = _dated(clients.dynamodb(), environment, now=process.now, monotonic=process.monotonic)
    records = VersionStore(
        client=client,
        table=environment.records_table,
        region=region,
        trail=AuditTrail(client=client, table=environment.audit_table),
        pool=process.threads(1, "store"),
        pause=process.sleep,
    )
    storage = DocumentStorage(
        environment=environment, clients=clients, dynamodb=client, records=records, now=process.utc_now
    )
    clock = _clock(environment, time, now_ms=process.now_ms, log=log)
    confirmation = Confirmation(
        repository=storage.repository,
        here=storage.here,
        peer=storage.peer,
        clock=clock,
        log=log,
        now=process.utc_now,
        sleep=process.sleep,
        new_id=process.new_id,
    )
    return ConfirmationWorker(
        confirmation=confirmation,
        clock=clock,
        repository=storage.repository,
        log=log,
        pool=process.threads(CONCURRENT_DOCUMENTS, "document"),
        now=process.utc_now,
        monotonic=process.monotonic,
        shuffle=process.shuffle,
    )


def stream_processor(
    variables: Mapping[str, str],
    *,
    clients: Clients | None = None,
    log: StructuredLog | None = None,
    process: Process = REAL,
) -> "StreamProcessor":
    """Compose the function that reconciles records."""
    from patient_api.documents.lifecycle import current_version
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
        client=clients.dynamodb(),
        table=environment.records_table,
        region=environment.region,
        opened=opened,
        folds={DOCUMENT: current_version},
    )
    return StreamProcessor(
        reconcile=reconciler.reconcile,
        audit_table=environment.audit_table,
        # The lag is one of the metrics on the peer, which all have the sentinel as their service.
        lag=ReplicationLag(
            peer_region=environment.peer_region, log=log or _log(SENTINEL, environment), now_ms=process.now_ms
        ),
        log=own_log,
    )


def sentinel(
    variables: Mapping[str, str],
    *,
    clients: Clients | None = None,
    log: StructuredLog | None = None,
    probe: Callable[[str], str | None] | None = None,
) -> "Sentinel":
    """Compose the sentinel. `probe` checks the health of a host, by default over the network."""
    from patient_api.region.heartbeat import Heartbeats
    from patient_api.region.sentinel import Sentinel
    from patient_api.region.sentinel import probe as network_probe

    environment = Environment.of(variables, SENTINEL)
    clients = clients or Clients(region=environment.region)
    heartbeats = Heartbeats(client=clients.dynamodb(), table=environment.records_table)
    return Sentinel(
        region=environment.region,
        peer_region=environment.peer_region,
        endpoint=str(environment.endpoint),
        heartbeats=heartbeats,
        probe=probe or network_probe,
        log=log or _log(SENTINEL, environment),
        # A wrong clock would falsify how much the other region believes to have received.
        now_ms=lambda: heartbeats.time_ms(environment.region),
    )


def notification_relay(variables: Mapping[str, str]) -> "Relay":
    """Compose the relay."""
    from patient_api.region.relay import Relay, post

    environment = Environment.of(variables, RELAY)
    client = Clients(region=environment.region).parameters()

    def addresses() -> list[str]:
        with translated("GetParameter"):
            found = client.get_parameter(Name=str(environment.webhooks), WithDecryption=True)
        return str(found["Parameter"]["Value"]).split("\n")

    return Relay(
        region=environment.region,
        addresses=addresses,
        post=partial(post, region=environment.region),
        log=_log(RELAY, environment),
    )


def _dated(
    client: DynamoDB, environment: Environment, *, now: Callable[[], float], monotonic: Callable[[], float]
) -> "tuple[DynamoDB, CheckedTime]":
    """Return a client of DynamoDB, and the time of day that its responses check.

    Raises KeyError for the environment of a function that does not compare its clock.
    """
    from patient_api.clock import CheckedTime
    from patient_api.probe import read_probe

    if environment.clock_bound is None:
        raise KeyError(VARIABLES["clock_bound"])
    time = CheckedTime(
        now=now,
        monotonic=monotonic,
        bound_seconds=environment.clock_bound,
        request=lambda: read_probe(dated, environment.records_table),
    )
    dated = DatedDynamoDB(client, time)
    return dated, time


def _clock(environment: Environment, time: "CheckedTime", *, now_ms: Callable[[], int], log: StructuredLog) -> "Clock":
    from patient_api.clock import Clock

    def followed(ahead_ms: int) -> None:
        log.error("version from the future", ahead_ms=ahead_ms)
        # The functions that write count in the same metrics.
        log.count({Metric.FUTURE_VERSIONS: 1}, service=API.name)

    return Clock(region=environment.region, now_ms=now_ms, issuing_ms=time.checked_ms, followed=followed)


class Services:
    """Builds the services behind the API's routes lazily, from the AWS clients.

    The other arguments are as in `Process`; `pause` is its `sleep`.
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
        threads: Threads = ThreadPoolExecutor,
    ) -> None:
        self._environment = environment
        self._clients = clients
        self.log = log
        self._now = now
        self._monotonic = monotonic
        self._pause = pause
        self._new_id = new_id
        self._threads = threads

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
    def documents(self) -> "DocumentService":
        from patient_api.documents.service import DocumentService

        storage = DocumentStorage(
            environment=self._environment,
            clients=self._clients,
            dynamodb=self._dynamodb,
            records=self.records,
            now=self._time,
        )
        return DocumentService(
            self.context,
            repository=storage.repository,
            uploads=storage.uploads(now=self._checked_time),
            buckets=(storage.here, storage.peer),
        )

    @cached_property
    def audit_search(self) -> "AuditSearch":
        from patient_api.search.audit import AuditSearch

        return AuditSearch(
            authorization=self.authorization,
            client=self._dynamodb,
            table=self._environment.audit_table,
            cursors=self._cursors,
            pool=self.pool,
            new_id=self._new_id,
        )

    @cached_property
    def health(self) -> "Health":
        from patient_api.region.health import Health, probes, publish

        return Health(
            probes=probes(
                clients=self._clients, environment=self._environment, dynamodb=lambda: self._dynamodb, clock=self.clock
            ),
            # A separate pool, so that a probe that hangs does not delay an audit event.
            pool=self._threads(8, "probe"),
            publish=partial(publish, log=self.log),
        )

    @cached_property
    def drain(self) -> "DrainFlags":
        from patient_api.region.drain import DrainFlags

        return DrainFlags(
            client=self._dynamodb,
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
            client=self._dynamodb,
            table=self._environment.records_table,
            region=self._environment.region,
            trail=self._trail,
            pool=self.pool,
            pause=self._pause,
        )

    @cached_property
    def context(self) -> "ServiceContext":
        from patient_api.http.named_versions import Arrivals
        from patient_api.service_context import ServiceContext

        return ServiceContext(
            records=self.records,
            authorization=self.authorization,
            clock=self.clock,
            arrivals=Arrivals(
                records=self.records,
                peer=self._environment.peer_region,
                heartbeat_ms=self._peer_heartbeat_ms,
                now_ms=lambda: int(self._now() * 1000),
            ),
            # The secrets and the search parameters are loaded for the first write or search.
            tokens=lambda tenant, resource: self._tokenizer.tokens(tenant, resource),
            blind=lambda *parts: self._secrets.blind(*parts),
            new_id=self._new_id,
        )

    @cached_property
    def clock(self) -> "Clock":
        time = self._dated[1]
        return _clock(self._environment, time, now_ms=lambda: int(self._now() * 1000), log=self.log)

    @cached_property
    def authorization(self) -> "Authorization":
        from patient_api.http.authorization import Authorization

        return Authorization(
            trail=self._trail,
            region=self._environment.region,
            new_id=self._new_id,
        )

    def close(self) -> None:
        """Stop the threads that write audit events."""
        self.pool.shutdown(wait=True)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that write audit events and read partitions."""
        # A search of the audit trail reads the partitions of an hour concurrently, half of them at once.
        return self._threads(16, "store")

    @cached_property
    def _dated(self) -> "tuple[DynamoDB, CheckedTime]":
        return _dated(self._clients.dynamodb(), self._environment, now=self._now, monotonic=self._monotonic)

    @property
    def _dynamodb(self) -> DynamoDB:
        return self._dated[0]

    @cached_property
    def _trail(self) -> "AuditTrail":
        from patient_api.audit.trail import AuditTrail

        return AuditTrail(client=self._dynamodb, table=self._environment.audit_table)

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
            client=self._dynamodb,
            table=self._environment.records_table,
            region=self._environment.region,
            pause=self._pause,
        )

    def _peer_heartbeat_ms(self) -> int | None:
        from patient_api.region.heartbeat import Heartbeats

        heartbeats = Heartbeats(client=self._dynamodb, table=self._environment.records_table)
        newest = heartbeats.newest(self._environment.peer_region)
        return None if newest is None else newest.at_ms

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _checked_time(self) -> datetime:
        return datetime.fromtimestamp(self._dated[1].checked_ms() / 1000, UTC)


class DocumentStorage:
    """Builds what stores the documents of a region: both buckets, and the region's items in the records table.

    Each AWS client is created on first use. `now` returns the time in UTC.
    """

    def __init__(
        self,
        *,
        environment: Environment,
        clients: Clients,
        dynamodb: DynamoDB,
        records: "VersionStore",
        now: Callable[[], datetime],
    ) -> None:
        from patient_api.documents.repository import DocumentRepository
        from patient_api.documents.storage import DocumentBucket

        self._environment = environment
        self._clients = clients
        self._now = now
        self.here: DocumentBucket = DocumentBucket(
            region=environment.region, name=environment.documents_bucket, client=clients.documents
        )
        self.peer: DocumentBucket = DocumentBucket(
            region=environment.peer_region, name=environment.peer_documents_bucket, client=self._peer_client
        )
        self.repository: DocumentRepository = DocumentRepository(
            client=dynamodb, table=environment.records_table, region=environment.region, records=records
        )

    def uploads(self, *, now: Callable[[], datetime]) -> "Uploads":
        """Return the uploads to this region's bucket. Uploads that the peer has offered can be completed too.

        `now` returns the time that is stored.
        """
        from patient_api.documents.upload import Addresses, Multipart, Uploads

        environment, client = self._environment, self._clients.documents
        return Uploads(
            here=self.here,
            addresses=Addresses(client=client, bucket=self.here.name, key_arn=environment.key_arn, now=self._now),
            multipart={
                self.here.region: Multipart(client=client, bucket=self.here.name),
                self.peer.region: Multipart(client=self._peer_client, bucket=self.peer.name),
            },
            repository=self.repository,
            now=now,
        )

    def _peer_client(self) -> S3:
        return self._clients.documents_of(region=self._environment.peer_region, role=self._environment.peer_role_arn)
