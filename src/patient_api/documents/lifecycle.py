"""The life cycle of a document: its states, and the transitions between them.

The state of a document is derived from all items of its partition that describe it:

- its versions, which are only added. The *current* version is the one with the highest status (`final`, then
  `entered-in-error`, then `preliminary`), and among equal statuses the newest.
- one replica item for each region, which only that region writes. It records how far the region is with its own copy of
  the bytes. Each write is conditional on the revision that it replaces.

Both are joins of a semilattice: the state does not depend on the order in which items arrive, and an item that arrives
twice changes nothing. So concurrent versions of a document never conflict, and a document that is final in a region
stays final there.

`TRANSITIONS` is the only statement of what changes a document's state and what the change writes. The code checks each
change with `check`, and a test compares docs/documents.md with the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from patient_api.contract.keys import PATIENT
from patient_api.documents import reference
from patient_api.documents.reference import FINAL, IN_ERROR, Resource, object_key, patient_id, resource_of
from patient_api.fhir.profile.document import DeclaredContent
from patient_api.store.model import RecordKey, Version


class State(StrEnum):
    """The state of a document in one region."""

    ANNOUNCED = "announced"
    """Declared. The region has not recorded an object in its bucket."""
    ORPHANED = "orphaned"
    """The region's bucket has an object, and the record has not arrived in its table."""
    STORED = "stored"
    """The region's bucket has an object, which is not verified yet."""
    VERIFIED = "verified"
    """The region has compared its object with the declared SHA-256. It serves the document."""
    FINAL = "final"
    """Both regions hold verified bytes."""
    IN_ERROR = "in error"
    """Never uploaded, or the bytes are not the declared ones."""


class Actor(StrEnum):
    """The parts of the system that change the state of a document."""

    CLIENT = "client"
    """A request to the API."""
    CONFIRMATION = "confirming function"
    """The confirming function of either region, invoked by an event of its bucket."""
    SWEEP = "sweep"
    """The confirming function of either region, invoked every minute."""
    RECONCILIATION = "reconciliation"
    """The function on a region's stream, after an item arrived from the other region."""


@dataclass(frozen=True)
class Transition:
    """A change of a document's state in one region. A source of None stands for a document without items there."""

    name: str
    sources: tuple[State | None, ...]
    target: State
    actors: tuple[Actor, ...]
    writes: str


_UPLOADED: Final = (State.STORED, State.VERIFIED)
_VERIFIED: Final = frozenset({State.VERIFIED, State.FINAL})
_FUNCTION: Final = (Actor.CONFIRMATION, Actor.SWEEP)

ANNOUNCE: Final = Transition(
    "announce",
    (None, State.ORPHANED, State.IN_ERROR),
    State.ANNOUNCED,
    (Actor.CLIENT,),
    "in one transaction: a `preliminary` version, the head, index items, the replica item, the audit event",
)
OFFER: Final = Transition(
    "offer",
    (State.ANNOUNCED,),
    State.ANNOUNCED,
    (Actor.CLIENT,),
    "the replica item, with the time of the new upload address",
)
COMPLETE: Final = Transition(
    "complete",
    (State.ANNOUNCED,),
    State.ANNOUNCED,
    (Actor.CLIENT,),
    "the replica item, whose next check is then due, before the object is made from its parts",
)
RECEIVE: Final = Transition(
    "receive",
    (None, State.ORPHANED, State.IN_ERROR),
    State.ANNOUNCED,
    (Actor.RECONCILIATION,),
    "the head, when the record arrives from the other region",
)
ORPHAN: Final = Transition(
    "orphan",
    (None,),
    State.ORPHANED,
    _FUNCTION,
    "the replica item, when an object arrives before its record",
)
FORGET: Final = Transition(
    "forget",
    (State.ORPHANED,),
    State.IN_ERROR,
    _FUNCTION,
    "the replica item, when the record of an object has not arrived within 24 hours, or the object is gone",
)
STORE: Final = Transition(
    "store",
    (State.ANNOUNCED, State.IN_ERROR),
    State.STORED,
    (Actor.CLIENT, *_FUNCTION),
    "the replica item, which lists the document as pending",
)
VERIFY: Final = Transition(
    "verify",
    (State.ANNOUNCED, *_UPLOADED, State.IN_ERROR),
    State.VERIFIED,
    _FUNCTION,
    "the replica item, with the version id of the verified object",
)
FINALIZE: Final = Transition(
    "finalize",
    (State.VERIFIED,),
    State.FINAL,
    _FUNCTION,
    "in one transaction: a `final` version, the head, the replica item, the audit event",
)
ADOPT: Final = Transition(
    "adopt",
    (None, State.ORPHANED, State.ANNOUNCED, *_UPLOADED, State.IN_ERROR),
    State.FINAL,
    (Actor.RECONCILIATION,),
    "the head, when the `final` version arrives from the other region",
)
QUARANTINE: Final = Transition(
    "quarantine",
    (State.ANNOUNCED, *_UPLOADED, State.IN_ERROR),
    State.IN_ERROR,
    _FUNCTION,
    "the object's tag; then in one transaction: an `entered-in-error` version, the head, the replica item, the audit "
    "event. No version and no head if the document is in error already or the other region has verified bytes",
)
ABANDON: Final = Transition(
    "abandon",
    (State.ANNOUNCED, *_UPLOADED),
    State.IN_ERROR,
    (Actor.SWEEP,),
    "in one transaction: an `entered-in-error` version, the head, the replica item, the audit event",
)
RECHECK: Final = Transition(
    "recheck",
    (State.FINAL,),
    State.FINAL,
    (Actor.CLIENT, *_FUNCTION),
    "the replica item, when the verified version of the object is gone: it lists the document as pending, and then "
    "records the version that was verified instead",
)
TRANSITIONS: Final = (
    ANNOUNCE, OFFER, COMPLETE, RECEIVE, ORPHAN, FORGET, STORE, VERIFY, FINALIZE, ADOPT, QUARANTINE, ABANDON, RECHECK,
)  # fmt: skip


class IllegalTransitionError(Exception):
    """The code attempted a transition that the life cycle does not have: a defect."""


def check(transition: Transition, state: State | None, actor: Actor) -> None:
    """Raise IllegalTransitionError unless the actor may take the transition in this state."""
    if state not in transition.sources or actor not in transition.actors:
        raise IllegalTransitionError(f"{transition.name} from {state} by {actor}")


class Listing(StrEnum):
    """The lists of a region in which an open replica item appears."""

    AWAITED = "awaited"
    """Documents of which the bytes, the record or the other region's result are missing, by the time of the next
    check.
    """
    PENDING = "pending"
    """Uploaded documents that are not final, by the time at which the region recorded the object."""


CHECKS: Final = (timedelta(minutes=1), timedelta(minutes=4), timedelta(minutes=16), timedelta(hours=24))
"""When a sweep checks whether the bytes have arrived without an event, after the last offer of an upload address."""
CHECK_INTERVAL: Final = timedelta(hours=1)
"""How often it checks after the last of them, while the other region is out of reach."""
LATEST_UPLOAD: Final = CHECKS[-1]
"""How long a document waits for its upload."""


def next_check(since: datetime, now: datetime, state: State = State.ANNOUNCED) -> datetime:
    """Return the time of the next check of a document that is awaited since then.

    An orphan is checked by each sweep, because its bytes are there. A region that stands by for the other one does not
    wait for a day.
    """
    if state is State.ORPHANED:
        return now + CHECKS[0]
    checks = CHECKS[:-1] if state is State.VERIFIED else CHECKS
    return next((since + delay for delay in checks if since + delay > now), now + CHECK_INTERVAL)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A region's own view of its copy of the bytes. Only that region writes the item.

    Attributes:
        state: ANNOUNCED, ORPHANED, STORED or VERIFIED; FINAL or IN_ERROR once there is nothing left to do.
        at: the time that orders the item in its list.
        since: when the region began to wait: for the upload, or for confirmation.
        offered: whether clients have received an upload address of this region.
        standby: whether the region finalizes what it has verified if the other one, which has offered the address, does
            not.
        lease: until when an invocation of the confirming function may be reading or copying the object. Others leave
            that to it. Each further write of the item ends the lease.
        upload: the id of the multipart upload into this region's bucket.
        version_id: the version id of the object that was verified or quarantined.
        sha256: the SHA-256 that the region has verified, in base64.
        revision: the number of writes of the item before this one.
    """

    region: str
    state: State
    at: datetime
    since: datetime
    offered: bool = False
    standby: bool = False
    lease: datetime | None = None
    upload: str | None = None
    version_id: str | None = None
    sha256: str | None = None
    revision: int = 0

    @property
    def listing(self) -> Listing | None:
        """The list in which the document appears, None when the region has nothing left to do.

        A region that has offered no address leaves it to the other region to finalize what it has verified itself, and
        stands by until that one is known to have verified its own copy.
        """
        if self.state in {State.ANNOUNCED, State.ORPHANED} or (self.state is State.VERIFIED and self.standby):
            return Listing.AWAITED
        if self.state is State.STORED or (self.state is State.VERIFIED and self.offered):
            return Listing.PENDING
        return None

    @property
    def uploaded(self) -> bool:
        """Whether the region has recorded an object in its bucket that may become final."""
        return self.state in _UPLOADED

    def next(self, state: State, **changes: Any) -> "Replica":
        """Return the next revision of the item, without a lease unless it is among the changes."""
        return replace(self, **{"state": state, "revision": self.revision + 1, "lease": None, **changes})


@dataclass(frozen=True)
class Document:
    """A document as one region sees it: the join of the items that the region has.

    `versions` are in the order of their stamps. A document without versions is an object without a record.
    """

    key: RecordKey
    versions: tuple[Version, ...] = ()
    replicas: Mapping[str, Replica] = field(default_factory=dict)

    @classmethod
    def of(cls, key: RecordKey, versions: Iterable[Version], replicas: Iterable[Replica] = ()) -> "Document":
        """Return the document with these items, in any order and any number of times."""
        found: dict[str, Replica] = {}
        for item in replicas:
            known = found.get(item.region)
            if known is None or known.revision < item.revision:
                found[item.region] = item
        unique = {version.stamp: version for version in versions}
        return cls(key, tuple(unique[stamp] for stamp in sorted(unique)), found)

    def join(self, other: "Document") -> "Document":
        """Return the document with the items of both: the least upper bound."""
        replicas = (*self.replicas.values(), *other.replicas.values())
        return Document.of(self.key, (*self.versions, *other.versions), replicas)

    @property
    def name(self) -> str:
        """The key of its object in both buckets."""
        return object_key(self.key)

    @cached_property
    def current(self) -> Version:
        """The version that clients read and search."""
        return current_version(self.versions)

    @cached_property
    def resource(self) -> Resource:
        """The parsed resource of the current version."""
        return resource_of(self.current)

    @cached_property
    def announcement(self) -> Resource:
        """The parsed resource of the first version, which declares the content."""
        return resource_of(self.versions[0])

    @property
    def final(self) -> bool:
        """Whether both regions hold verified bytes."""
        return bool(self.versions) and self.resource.get("docStatus") == FINAL

    @property
    def in_error(self) -> bool:
        """Whether the document was abandoned or quarantined."""
        return bool(self.versions) and self.resource.get("docStatus") == IN_ERROR

    @cached_property
    def declared(self) -> DeclaredContent:
        """The declared content, which is the same in all versions."""
        return reference.declared_in(self.announcement)

    @property
    def patient(self) -> str:
        """The reference `Patient/<id>` of its patient."""
        return f"{PATIENT}/{patient_id(self.announcement)}"

    @cached_property
    def verified(self) -> Mapping[str, str]:
        """The version id of the verified object by region.

        A region may have verified another version after the document became final.
        """
        own = {
            region: item.version_id
            for region, item in self.replicas.items()
            if item.version_id is not None and item.sha256 == self.declared.sha256 and item.state in _VERIFIED
        }
        return {**(reference.stored_in(self.resource) if self.final else {}), **own}

    def state(self, region: str) -> State | None:
        """Return the state in a region, None without an item."""
        if self.final:
            return State.FINAL
        replica = self.replicas.get(region)
        if replica is not None and replica.uploaded:
            return replica.state
        if not self.versions:
            return None if replica is None else replica.state
        return State.IN_ERROR if self.in_error else State.ANNOUNCED


def current_version(versions: Sequence[Version]) -> Version:
    """Return the current version: the one with the highest status, and among those the newest."""
    return max(versions, key=lambda version: (_rank(version), version.stamp))


def _rank(version: Version) -> int:
    return {FINAL: 2, IN_ERROR: 1}.get(str(resource_of(version).get("docStatus")), 0)
