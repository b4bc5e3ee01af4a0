"""Compose the API of one region from the AWS clients.

Services are built when a request first uses them, and their modules are imported then: a cold start waits only for
what its first request needs.
"""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients
from patient_api.clock import Clock
from patient_api.contract.functions import API, Environment
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import Malformed
from patient_api.http.authorization import Authorization
from patient_api.http.dispatcher import Dispatcher, Responder
from patient_api.http.payload import Resource
from patient_api.http.preconditions import Preconditions
from patient_api.http.request import Request
from patient_api.http.response import Response
from patient_api.logging import StructuredLog
from patient_api.patients.service import Patients
from patient_api.service_context import ServiceContext
from patient_api.store.model import Token, Version
from patient_api.store.transactions import Transactions
from patient_api.store.versions import VersionStore

if TYPE_CHECKING:
    from patient_api.discovery.smart import SmartConfiguration
    from patient_api.documents.references import DocumentReferences
    from patient_api.http.paging import Cursors
    from patient_api.patients.conditional import ConditionalChanges
    from patient_api.patients.creation import Creation, CriteriaLookup
    from patient_api.patients.service import History
    from patient_api.patients.validation import Validation
    from patient_api.region.drain import DrainFlags
    from patient_api.region.health import Health
    from patient_api.search.audit import AuditSearch
    from patient_api.search.service import Searches
    from patient_api.search.tokenizer import Tokenizer
    from patient_api.secrets import Secrets
    from patient_api.store.index import Index


class Services:
    """All there is behind the routes, on these clients.

    `now` gives seconds since 1970, `monotonic` seconds since whenever, `pause` waits for some.
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
    ) -> None:
        self._environment = environment
        self._clients = clients
        self._log = log
        self._now = now
        self._monotonic = monotonic
        self._pause = pause

    @cached_property
    def patients(self) -> Patients:
        """One record at a time."""
        return Patients(records=self.records, context=self.context)

    @cached_property
    def creation(self) -> "Creation":
        """New records."""
        from patient_api.patients.creation import Creation

        return Creation(
            records=self.records,
            context=self.context,
            selection=self._selection,
            blind=lambda *parts: self._secrets.blind(*parts),
            new_id=_new_id,
        )

    @cached_property
    def conditional(self) -> "ConditionalChanges":
        """Records that are changed by criteria."""
        from patient_api.patients.conditional import ConditionalChanges

        return ConditionalChanges(
            patients=self.patients, creation=self.creation, selection=self._selection, authorization=self.authorization
        )

    @cached_property
    def validation(self) -> "Validation":
        """The operation $validate."""
        from patient_api.patients.validation import Validation

        return Validation(context=self.context)

    @cached_property
    def history(self) -> "History":
        """All versions of a record."""
        from patient_api.patients.service import History

        return History(records=self.records, authorization=self.authorization, cursors=self._cursors)

    @cached_property
    def searches(self) -> "Searches":
        """Patients and documents by what they hold."""
        from patient_api.search.service import Searches

        return Searches(
            authorization=self.authorization,
            index=self._index,
            tokenizer=self._tokenizer,
            cursors=self._cursors,
            pool=self._pool,
            new_id=_new_id,
        )

    @cached_property
    def documents(self) -> "DocumentReferences":
        """Documents, which are uploaded and downloaded past the API."""
        from patient_api.documents.bootstrap import Documents
        from patient_api.documents.references import DocumentReferences

        documents = Documents(environment=self._environment, clients=self._clients)
        return DocumentReferences(
            records=self.records,
            context=self.context,
            offers=documents.offers(),
            downloads=documents.downloads(),
            blind=lambda *parts: self._secrets.blind(*parts),
            new_id=_new_id,
        )

    @cached_property
    def audit_search(self) -> "AuditSearch":
        """The trail itself."""
        from patient_api.search.audit import AuditSearch

        return AuditSearch(
            authorization=self.authorization,
            client=self._clients.dynamodb(),
            table=self._environment.audit_table,
            cursors=self._cursors,
            pool=self._pool,
            now=self._time,
            new_id=_new_id,
        )

    @cached_property
    def health(self) -> "Health":
        """The health check of this region."""
        from patient_api.region.health import Health, HealthMetrics, probes

        return Health(
            probes=probes(clients=self._clients, environment=self._environment),
            # Threads of their own: a probe that hangs must not hold up an audit event.
            pool=ThreadPoolExecutor(8, "probe"),
            publish=HealthMetrics(log=self._log).publish,
        )

    @cached_property
    def drain(self) -> "DrainFlags":
        """The drain flags of both regions."""
        from patient_api.region.drain import DrainFlags

        return DrainFlags(
            client=self._clients.dynamodb(),
            table=self._environment.records_table,
            regions={self._environment.region, self._environment.peer_region},
            monotonic=self._monotonic,
        )

    @property
    def cors(self) -> bool:
        """Return whether browser applications of other origins may call the API."""
        return bool(self._environment.cors)

    @cached_property
    def smart(self) -> "SmartConfiguration":
        """The SMART configuration."""
        from patient_api.discovery.smart import SmartConfiguration, published_by

        return SmartConfiguration(
            issuer=self._environment.issuer or "", published=published_by, monotonic=self._monotonic
        )

    @cached_property
    def records(self) -> VersionStore:
        """The store of versions."""
        client = self._clients.dynamodb()
        return VersionStore(
            client=client,
            table=self._environment.records_table,
            region=self._environment.region,
            trail=self._trail,
            transactions=Transactions(client=client, pause=self._pause),
            pool=self._pool,
        )

    @cached_property
    def context(self) -> ServiceContext:
        """The context that services share."""
        clock = Clock(region=self._environment.region, now_ms=lambda: int(self._now() * 1000))
        return ServiceContext(authorization=self.authorization, clock=clock, tokens=self._tokens)

    @cached_property
    def authorization(self) -> Authorization:
        """The authorization that every access passes."""
        return Authorization(
            trail=self._trail,
            region=self._environment.region,
            now=self._time,
            new_id=_new_id,
        )

    def close(self) -> None:
        """End the threads that keep audit events."""
        self._pool.shutdown(wait=True)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        # A search of the trail reads the 16 partitions of an hour side by side.
        return ThreadPoolExecutor(16, "store")

    @cached_property
    def _trail(self) -> AuditTrail:
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
        from patient_api.search.tokenizer import Tokenizer

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

    def _tokens(self, tenant: str, resource: Resource) -> Collection[Token]:
        return self._tokenizer.tokens(tenant, resource)


def _new_id() -> str:
    return str(uuid4())


def responders(services: Services) -> Mapping[str, Responder]:
    """By operation; parameters of the path come by name."""
    return {
        "getHealth": lambda _: _health(services),
        "getDrain": lambda _, region: _drain(services, region),
        "getCapabilities": lambda request: _capabilities(request, services),
        "getSmartConfiguration": lambda _: Response.plain(200, services.smart.document()),
        "createPatient": lambda request: _created(request, services),
        "searchPatients": lambda request: Response(200, services.searches.search(request, PATIENT)),
        "searchPatientsByForm": lambda request: Response(200, services.searches.search(request, PATIENT)),
        "searchDocuments": lambda request: Response(200, services.searches.search(request, DOCUMENT)),
        "createDocument": lambda request: _announced(request, services),
        # Never 304: the tag is the version's, but the address in the answer expires within minutes.
        "readDocument": lambda request, id: Response.version(services.documents.read(request, id)),
        "completeDocument": lambda request, id: Response.version(services.documents.complete(request, id)),
        "searchAuditEvents": lambda request: Response(200, services.audit_search.search(request)),
        "readPatient": lambda request, id: _read(request, services.patients.read(request, id)),
        "updatePatient": lambda request, id: Response.written(services.patients.update(request, id), request),
        "patchPatient": lambda request, id: _patched(request, services.patients.patch(request, id)),
        "deletePatient": lambda request, id: _deleted(services.patients.delete(request, id)),
        "updatePatientThatMatches": lambda request: _updated(request, services),
        "patchPatientThatMatches": lambda request: _patched(request, services.conditional.patch(request)),
        "deletePatientThatMatches": lambda request: _deleted(services.conditional.delete(request)),
        "validatePatient": lambda request: Response.validation(services.validation.validate(request)),
        "validatePatientUpdate": lambda request, id: Response.validation(services.validation.validate(request, id)),
        "getPatientHistory": lambda request, id: Response(200, services.history.history(request, id)),
        "readPatientVersion": lambda request, id, vid: _read(request, services.patients.vread(request, id, vid)),
    }


def _health(services: Services) -> Response:
    healthy = services.health.healthy()
    return Response.plain(200 if healthy else 503, {"status": "healthy" if healthy else "unhealthy"})


def _drain(services: Services, region: str) -> Response:
    drained = services.drain.drained(region)
    return Response.plain(200 if drained else 404, {"drained": drained})


def _capabilities(request: Request, services: Services) -> Response:
    from patient_api.discovery.capability_statement import statement

    if any(name == "mode" and value != "full" for name, value in request.parameters_of_query()):
        raise Malformed("mode must be full.")
    return Response(200, statement(request.base, cors=services.cors))


def _created(request: Request, services: Services) -> Response:
    made = services.creation.create(request)
    if made.fresh:
        return Response.written(made.version, request, status=201)
    return Response.written(made.version, request, said="A record that matches was there already.")


def _updated(request: Request, services: Services) -> Response:
    made = services.conditional.update(request)
    return Response.written(made.version, request, status=201 if made.fresh else 200)


def _announced(request: Request, services: Services) -> Response:
    # In full whatever the caller prefers: the answer holds the address to upload to, and nothing else does.
    return Response.version(services.documents.create(request).version, status=201, base=request.base)


def _read(request: Request, version: Version) -> Response:
    if Preconditions.of(request).known(version):
        return Response.version(version, status=304, whole=False)
    return Response.version(version)


def _patched(request: Request, version: Version) -> Response:
    # Whoever may change a record without reading it gets no more of it than it sent.
    return Response.written(version, request, shown=request.caller.may("r", PATIENT))


def _deleted(version: Version) -> Response:
    return Response.version(version, status=204, whole=False)


def wire(variables: Mapping[str, str]) -> Dispatcher:
    """The API as Lambda's environment describes it. Raises KeyError with the name of a variable that is not set."""
    environment = Environment.of(variables, API)
    log = StructuredLog(service=API.name, region=environment.region, level=environment.log_level)
    services = Services(environment=environment, clients=Clients(region=environment.region), log=log)
    # Made ahead of the first call, while Lambda still lends a start its full processor.
    _ = services.patients
    return Dispatcher(responders=responders(services), log=log, tenant_claim=str(environment.tenant_claim))
