"""The API's parts in one region, each made when a call first needs it: a cold start waits for no more than it uses."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients
from patient_api.clock import Clock
from patient_api.environment import Environment
from patient_api.exchange.bodies import Resource
from patient_api.exchange.gate import Gate
from patient_api.exchange.tools import Tools
from patient_api.journal import Journal
from patient_api.patients.service import Patients
from patient_api.records.items import Token
from patient_api.records.store import DynamoRecords
from patient_api.records.transactions import Transactions

if TYPE_CHECKING:
    from patient_api.api.smart import SmartConfiguration
    from patient_api.documents.references import DocumentReferences
    from patient_api.exchange.cursor import Cursors
    from patient_api.patients.conditional import ConditionalChanges
    from patient_api.patients.creation import Creation
    from patient_api.patients.history import History
    from patient_api.patients.selection import Selection
    from patient_api.patients.validation import Validation
    from patient_api.records.index import Index
    from patient_api.records.tokens import Finder
    from patient_api.region.drain import Drain
    from patient_api.region.health import Health
    from patient_api.search.audit import AuditSearch
    from patient_api.search.execute import Searches
    from patient_api.secrets import Secrets


class Services:
    """All there is behind the routes, on these clients.

    `now` gives seconds since 1970, `monotonic` seconds since whenever, `pause` waits for some.
    """

    def __init__(
        self,
        *,
        environment: Environment,
        clients: Clients,
        journal: Journal,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._environment = environment
        self._clients = clients
        self._journal = journal
        self._now = now
        self._monotonic = monotonic
        self._pause = pause

    @cached_property
    def patients(self) -> Patients:
        """One record at a time."""
        return Patients(records=self.records, tools=self.tools)

    @cached_property
    def creation(self) -> "Creation":
        """New records."""
        from patient_api.patients.creation import Creation

        return Creation(
            records=self.records,
            tools=self.tools,
            selection=self._selection,
            blind=lambda *parts: self._secrets.blind(*parts),
            new_id=_new_id,
        )

    @cached_property
    def conditional(self) -> "ConditionalChanges":
        """Records that are changed by criteria."""
        from patient_api.patients.conditional import ConditionalChanges

        return ConditionalChanges(
            patients=self.patients, creation=self.creation, selection=self._selection, gate=self.gate
        )

    @cached_property
    def validation(self) -> "Validation":
        """What a write would be refused for."""
        from patient_api.patients.validation import Validation

        return Validation(tools=self.tools)

    @cached_property
    def history(self) -> "History":
        """All versions of a record."""
        from patient_api.patients.history import History

        return History(records=self.records, gate=self.gate, cursors=self._cursors)

    @cached_property
    def searches(self) -> "Searches":
        """Patients and documents by what they hold."""
        from patient_api.search.execute import Searches

        return Searches(
            gate=self.gate,
            index=self._index,
            finder=self._finder,
            cursors=self._cursors,
            pool=self._pool,
            new_id=_new_id,
        )

    @cached_property
    def documents(self) -> "DocumentReferences":
        """Documents, which are uploaded and downloaded past the API."""
        from patient_api.documents.assembly import Documents
        from patient_api.documents.references import DocumentReferences

        documents = Documents(environment=self._environment, clients=self._clients)
        return DocumentReferences(
            records=self.records,
            tools=self.tools,
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
            gate=self.gate,
            client=self._clients.dynamodb(),
            table=self._environment.audit_table,
            cursors=self._cursors,
            pool=self._pool,
            now=self._time,
            new_id=_new_id,
        )

    @cached_property
    def health(self) -> "Health":
        """Whether this region can serve."""
        from patient_api.region.health import Health
        from patient_api.region.probes import probes
        from patient_api.region.witness import JournalWitness

        return Health(
            probes=probes(clients=self._clients, environment=self._environment),
            # Threads of their own: a probe that hangs must not hold up an audit event.
            pool=ThreadPoolExecutor(8, "probe"),
            witness=JournalWitness(journal=self._journal),
        )

    @cached_property
    def drain(self) -> "Drain":
        """Whether a region is to be drained."""
        from patient_api.region.drain import Drain, DrainFlags

        flags = DrainFlags(client=self._clients.dynamodb(), table=self._environment.records_table)
        regions = {self._environment.region, self._environment.peer_region}
        return Drain(raised=flags.raised, regions=regions, monotonic=self._monotonic)

    @property
    def cors(self) -> bool:
        """Whether browser applications of other origins may call the API."""
        return self._environment.cors

    @cached_property
    def smart(self) -> "SmartConfiguration":
        """Where clients get their tokens."""
        from patient_api.api.smart import SmartConfiguration, published_by

        return SmartConfiguration(issuer=self._environment.issuer, published=published_by, monotonic=self._monotonic)

    @cached_property
    def records(self) -> DynamoRecords:
        """The store of versions."""
        client = self._clients.dynamodb()
        return DynamoRecords(
            client=client,
            table=self._environment.records_table,
            region=self._environment.region,
            trail=self._trail,
            transactions=Transactions(client=client, pause=self._pause),
            pool=self._pool,
        )

    @cached_property
    def tools(self) -> Tools:
        """What services share."""
        clock = Clock(region=self._environment.region, now_ms=lambda: int(self._now() * 1000))
        return Tools(gate=self.gate, clock=clock, tokens=self._tokens)

    @cached_property
    def gate(self) -> Gate:
        """Where every access passes."""
        return Gate(
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
        from patient_api.exchange.cursor import Cursors

        return Cursors(secrets=self._secrets, now=self._now)

    @cached_property
    def _selection(self) -> "Selection":
        from patient_api.patients.selection import Selection

        return Selection(gate=self.gate, matches=lambda tenant, criteria: self.searches.matches(tenant, criteria))

    @cached_property
    def _finder(self) -> "Finder":
        from patient_api.records.tokens import Finder

        return Finder(secrets=self._secrets)

    @cached_property
    def _index(self) -> "Index":
        from patient_api.records.index import Index

        return Index(
            client=self._clients.dynamodb(),
            table=self._environment.records_table,
            region=self._environment.region,
            pause=self._pause,
        )

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _tokens(self, tenant: str, resource: Resource) -> Collection[Token]:
        return self._finder.tokens(tenant, resource)


def _new_id() -> str:
    return str(uuid4())
