"""Verify the bytes of a document in this region, and finalize it once both regions have verified them.

Each region verifies the object in its own bucket, by the SHA-256 that S3 has verified or else by reading the object,
and records the version that it has verified, so that no object is read again. The region to which the document was
uploaded also finalizes it. S3 promises replication within 15 minutes, not within the recovery point of one (trap 15):
25 seconds after the upload, far more than replication usually takes, that region copies the object itself.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Final

from patient_api.clock import Clock, Stamp
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.contract.functions import CONFIRM_DOCUMENTS
from patient_api.contract.metrics import Metric
from patient_api.documents import lifecycle, reference
from patient_api.documents.lifecycle import Actor, Document, Listing, State, Transition, next_check
from patient_api.documents.reference import Resource
from patient_api.documents.repository import DocumentRepository
from patient_api.documents.storage import PART_SIZE, DocumentBucket, ObjectExistsError, StoredObject, denied
from patient_api.errors import Contention, HeadMismatch, StorageFault
from patient_api.logging import StructuredLog
from patient_api.store.model import Method, RecordKey, version_of

SUBJECT: Final = "system:document-confirmation"
REPLICATION: Final = timedelta(seconds=25)
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
SLOWEST: Final = 20_000_000
"""The bytes per second that a function reads or copies at least."""
LEASE_FACTOR: Final = 3
"""How many times as long reading or copying may take when an invocation does more than one at once."""
LEASE_SPARE: Final = timedelta(seconds=10)
LONGEST_LEASE: Final = timedelta(seconds=CONFIRM_DOCUMENTS.timeout_seconds)
LONG: Final = timedelta(seconds=10)
"""Reading or copying an object that may take longer is long."""
LONG_AT_ONCE: Final = 2
"""Long objects that a sweep reads or copies at once: fewer than it has threads, so that other documents do not wait."""
ATTEMPTS: Final = 3


class Result(StrEnum):
    """The result of an attempt to confirm a document."""

    WAITING = "waiting"
    VERIFIED = "verified"
    """Verified in this region; the other region finalizes it."""
    FINAL = "final"
    QUARANTINED = "quarantined"
    ABANDONED = "abandoned"
    SETTLED = "settled"
    """Nothing was left to do."""


@dataclass(frozen=True)
class ConfirmationResult:
    """`stored` is when this region recorded the object of a document that is still waiting, None without one.

    `peer_failed` is whether the other region could not be reached.
    """

    result: Result
    stored: datetime | None = None
    peer_failed: bool = False


class Confirmation:
    """Confirms one document at a time. Idempotent, and safe to run concurrently.

    `here` is this region's bucket, `peer` the other region's. `now` returns the time in UTC, `new_id` a unique id, and
    `sleep` sleeps for seconds.
    """

    def __init__(
        self,
        *,
        repository: DocumentRepository,
        here: DocumentBucket,
        peer: DocumentBucket,
        clock: Clock,
        log: StructuredLog,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
        new_id: Callable[[], str],
    ) -> None:
        self._repository = repository
        self._here = here
        self._peer = peer
        self._clock = clock
        self._log = log
        self._now = now
        self._sleep = sleep
        self._new_id = new_id
        self._slots = BoundedSemaphore(LONG_AT_ONCE)

    def confirm(
        self, key: RecordKey, *, request_id: str, actor: Actor, ends: datetime, use_peer: bool = True
    ) -> ConfirmationResult:
        """Take the transitions that are possible for a document.

        The confirming function that an upload has invoked waits for S3 to replicate it; a sweep does not wait, and
        leaves reading and copying to that function as long as they may take. The invocation ends at `ends`: what may
        take longer is left to the next one. Without `use_peer`, nothing is sent to the other region's bucket.

        Raises StorageFault for this region, and WrongClock. The document waits while the other region cannot be
        reached.
        """
        call = _Call(request_id, actor, use_peer, ends)
        try:
            result = self._attempt(key, call)
        except Exception:
            self._release(key, call)
            raise
        finally:
            if call.slot:
                self._slots.release()
        if result.result is Result.WAITING:
            self._release(key, call)
        return result

    def _attempt(self, key: RecordKey, call: "_Call") -> ConfirmationResult:
        for _ in range(ATTEMPTS):
            try:
                document = self._repository.read(key)
                # A wrong clock would also store wrong times for the next check.
                self._clock.check()
                return self._advance(document, call)
            except (HeadMismatch, Contention):
                # Another function has changed the document, or reconciliation has yet to move the head.
                continue
        return ConfirmationResult(Result.WAITING)

    def _advance(self, document: Document, call: "_Call") -> ConfirmationResult:
        if document.final:
            return self._keep(document, call)
        own, stored = self._repository.own(document), self._object(document)
        if not document.versions:
            return self._without_record(document, stored, call)
        if stored is None:
            return self._without_object(document, call)
        if own.state is State.IN_ERROR and own.version_id == stored.version:
            return ConfirmationResult(Result.SETTLED)
        if document.verified.get(self._here.region) != stored.version:
            matches, document = self._verify(document, stored, call)
            if matches is None:
                return ConfirmationResult(Result.WAITING, self._repository.own(document).since)
            if not matches:
                return self._quarantine(document, stored, call)
        if self._repository.own(document).offered:
            return self._finalize(document, stored, call)
        due, document = self._stand_by(document, call)
        if not due:
            return ConfirmationResult(Result.VERIFIED)
        return replace(self._finalize(document, stored, call), stored=None)

    def _stand_by(self, document: Document, call: "_Call") -> tuple[bool, Document]:
        """Return whether this region has to finalize a document that the other one was to finalize, and has not."""
        own, now = self._repository.own(document), self._now()
        if not own.standby:
            return False, document
        if self._finalizes(self._peer.region, document):
            return False, self._repository.save(document, own.next(State.VERIFIED, standby=False))
        if own.at > now or call.actor is not Actor.SWEEP:
            return False, document
        checked = own.next(State.VERIFIED, at=next_check(own.since, now, State.VERIFIED))
        return True, self._repository.save(document, checked)

    def _finalizes(self, region: str, document: Document) -> bool:
        """Return whether a region that has offered an address is known to have verified its object."""
        item = document.replicas.get(region)
        return item is not None and item.offered and item.state is State.VERIFIED and region in document.verified

    def _keep(self, document: Document, call: "_Call") -> ConfirmationResult:
        """Verify the object of a final document again if the version that was verified is gone.

        A person has copied it from the other region, or it was replaced by a copy and has expired.
        """
        own, stored = self._repository.own(document), None
        if self._here.head(document.name, document.verified.get(self._here.region)) is None:
            stored = self._here.head(document.name)
        rejected = own.state is State.IN_ERROR and stored is not None and own.version_id == stored.version
        # Reads compare what S3 has the SHA-256 of.
        if stored is None or rejected or stored.matches(document.declared) is not None:
            if own.listing is not None:
                self._repository.save(document, own.next(State.FINAL))
            return ConfirmationResult(Result.SETTLED)
        if not own.uploaded:
            now = self._now()
            listed = own.next(State.STORED, at=now, since=now)
            document = self._repository.save(document, listed, lifecycle.RECHECK, call.actor)
        since = self._repository.own(document).since
        claimed = self._claim(document, stored, call)
        if claimed is None:
            return ConfirmationResult(Result.WAITING, since)
        if self._here.sha256(document.name, stored) != document.declared.sha256:
            return self._quarantine(claimed, stored, call)
        verified = self._repository.own(claimed).next(
            State.FINAL, version_id=stored.version, sha256=document.declared.sha256
        )
        self._repository.save(claimed, verified, lifecycle.RECHECK, call.actor)
        return ConfirmationResult(Result.SETTLED)

    def _claim(self, document: Document, stored: StoredObject, call: "_Call", *, held: bool = False) -> Document | None:
        """Record that this invocation reads or copies the object, and return the document with the record.

        `held` is whether the lease in the document is that of this invocation. Returns None if another invocation may
        be at work, or if this one may end before.
        """
        own, now, needed = self._repository.own(document), self._now(), duration_of(stored.size)
        # A wrong clock must not keep other invocations away for longer than one lasts.
        others = own.lease is not None and now < own.lease <= now + LONGEST_LEASE and not held
        if others or now + needed > call.ends:
            return None
        if call.actor is Actor.SWEEP and needed > LONG and not call.slot:
            call.slot = self._slots.acquire(blocking=False)
            if not call.slot:
                return None
        lease = min(call.ends, now + LEASE_SPARE + LEASE_FACTOR * needed)
        claimed = own.next(own.state, lease=lease)
        document = self._repository.save(document, claimed)
        call.claimed = claimed.revision
        return document

    def _release(self, key: RecordKey, call: "_Call") -> None:
        """End the lease of an attempt that has not finished, so that the next one need not wait for its end.

        Any further write of the item has ended the lease already.
        """
        if call.claimed is None:
            return
        # If this fails, the lease ends by itself.
        with suppress(StorageFault, Contention):
            document = self._repository.read(key)
            own = self._repository.own(document)
            if own.revision == call.claimed:
                self._repository.save(document, own.next(own.state))

    def _object(self, document: Document) -> StoredObject | None:
        """Return the object that this region has verified, or else the newest one in its bucket."""
        verified = document.verified.get(self._here.region) if document.versions else None
        found = None if verified is None else self._here.head(document.name, verified)
        return found or self._here.head(document.name)

    def _verify(self, document: Document, stored: StoredObject, call: "_Call") -> tuple[bool | None, Document]:
        """Return whether the object has the declared bytes, and the document with what was recorded.

        None means that another invocation may be reading the object, or that this one has no time for it.
        """
        own, now = self._repository.own(document), self._now()
        # An object of parts has the time at which its upload was begun.
        stored_at = now if document.declared.size > PART_SIZE else min(now, stored.modified)
        since = own.since if own.uploaded else stored_at
        matches = stored.matches(document.declared)
        if matches is None:
            if not own.uploaded:
                # The sweep continues if this function does not survive reading the object.
                listed = own.next(State.STORED, at=since, since=since)
                document = self._repository.save(document, listed, lifecycle.STORE, call.actor)
            elif call.actor is Actor.SWEEP and now < since + REPLICATION:
                return None, document
            claimed = self._claim(document, stored, call)
            if claimed is None:
                return None, document
            document = claimed
            matches = self._here.sha256(document.name, stored) == document.declared.sha256
        if matches:
            standby = not own.offered and not self._finalizes(self._peer.region, document)
            verified = self._repository.own(document).next(
                State.VERIFIED,
                at=next_check(now, now, State.VERIFIED) if standby else since,
                since=since,
                standby=standby,
                version_id=stored.version,
                sha256=document.declared.sha256,
            )
            document = self._repository.save(document, verified, lifecycle.VERIFY, call.actor)
        return matches, document

    def _finalize(self, document: Document, stored: StoredObject, call: "_Call") -> ConfirmationResult:
        since = self._repository.own(document).since
        recorded = document.verified.get(self._peer.region)
        if recorded is not None:
            found: PeerObject | None = PeerObject(recorded)
        elif not call.use_peer:
            return ConfirmationResult(Result.WAITING, since)
        else:
            try:
                found, document = self._peer_object(document, stored, since, call)
            except StorageFault as fault:
                if fault.region == self._here.region:
                    raise
                failed = self._report_peer(document, fault)
                return ConfirmationResult(Result.WAITING, since, peer_failed=failed)
        if document.final:
            return self._advance(document, call)
        if found is None:
            return ConfirmationResult(Result.WAITING, since)
        objects = {self._here.region: stored.version, self._peer.region: found.version}
        final = reference.final(document.announcement, objects)
        self._conclude(document, final, lifecycle.FINALIZE, call)
        self._log.count({Metric.DOCUMENTS_CONFIRMED: 1, **({Metric.DOCUMENTS_COPIED: 1} if found.copied else {})})
        return ConfirmationResult(Result.FINAL)

    def _peer_object(
        self, document: Document, stored: StoredObject, since: datetime, call: "_Call"
    ) -> "tuple[PeerObject | None, Document]":
        """Return the other region's object, copied if it is late, and the document. None while it is not late yet."""
        # The clocks of S3 and of Lambda may differ, so the wait is limited from now on as well.
        late = min(since, self._now()) + REPLICATION
        if call.actor is Actor.SWEEP:
            late += duration_of(stored.size)
        pause, held = FIRST_PAUSE, False
        while True:
            found, quarantined = self._in_peer(document)
            matches = None if found is None else found.matches(document.declared)
            deadline = late
            if found is not None and matches is None:
                # S3 has no hash of the whole object. The other region's function reads it and records the result.
                deadline += duration_of(stored.size)
                document = self._repository.read(document.key)
                if document.final or document.verified.get(self._peer.region) == found.version:
                    return PeerObject(found.version), document
                if self._now() >= deadline:
                    claimed = self._claim(document, found, call)
                    if claimed is None:
                        return None, document
                    document, held = claimed, True
                    matches = self._peer.sha256(document.name, found) == document.declared.sha256
            if found is not None and matches:
                return PeerObject(found.version), document
            left = (deadline - self._now()).total_seconds()
            if left <= 0:
                claimed = self._claim(document, stored, call, held=held)
                if claimed is None:
                    return None, document
                return self._copy(claimed, stored, replacing=quarantined or found is not None), claimed
            if call.actor is Actor.SWEEP or self._now() >= call.ends:
                return None, document
            self._sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _copy(self, document: Document, stored: StoredObject, *, replacing: bool) -> "PeerObject | None":
        try:
            return PeerObject(self._peer.copy(document, self._here, stored, replacing=replacing), copied=True)
        except ObjectExistsError:
            # Replication, or another copy, was faster.
            found, _ = self._in_peer(document)
        return PeerObject(found.version) if found is not None and found.matches(document.declared) else None

    def _in_peer(self, document: Document) -> tuple[StoredObject | None, bool]:
        """Return the other region's object, and whether it is in quarantine: then its bytes are not the declared ones.

        The bucket denies an object in quarantine, so nothing else is known of it.
        """
        try:
            return self._peer.head(document.name), False
        except StorageFault as fault:
            if not denied(fault):
                raise
            return None, True

    def _without_record(self, document: Document, stored: StoredObject | None, call: "_Call") -> ConfirmationResult:
        """Wait for the record of an object, which the other region may have announced."""
        own, now = self._repository.own(document), self._now()
        if own.state is State.ORPHANED:
            if stored is not None and now - own.since < lifecycle.LATEST_UPLOAD:
                return self._postpone(document)
            self._repository.save(document, own.next(State.IN_ERROR), lifecycle.FORGET, call.actor)
        elif stored is not None and own.state is not State.IN_ERROR:
            orphan = own.next(State.ORPHANED, at=next_check(now, now, State.ORPHANED), since=now)
            self._repository.save(document, orphan, lifecycle.ORPHAN, call.actor)
            return ConfirmationResult(Result.WAITING)
        return ConfirmationResult(Result.SETTLED)

    def _without_object(self, document: Document, call: "_Call") -> ConfirmationResult:
        """Wait for the upload of a document, or abandon it. Its object may also have been deleted."""
        own = self._repository.own(document)
        if own.listing is None:
            return ConfirmationResult(Result.SETTLED)
        if document.in_error:
            self._repository.save(document, own.next(State.IN_ERROR))
            return ConfirmationResult(Result.SETTLED)
        # Either region may have given an upload address last.
        offers = [item.since for item in document.replicas.values() if item.offered]
        waited = self._now() - max([own.since, *offers]) >= lifecycle.LATEST_UPLOAD
        in_peer = self._peer.region in document.verified
        if not waited or in_peer or call.actor is not Actor.SWEEP or not call.use_peer:
            return self._postpone(document)
        try:
            elsewhere, _ = self._in_peer(document)
        except StorageFault as fault:
            failed = self._report_peer(document, fault)
            self._postpone(document)
            return ConfirmationResult(Result.WAITING, peer_failed=failed)
        if elsewhere is not None:
            return self._postpone(document)
        self._conclude(document, reference.in_error(document.announcement), lifecycle.ABANDON, call)
        self._log.info("document abandoned", document=document.key.id)
        return ConfirmationResult(Result.ABANDONED)

    def _postpone(self, document: Document) -> ConfirmationResult:
        own, now = self._repository.own(document), self._now()
        if own.listing is Listing.PENDING:
            return ConfirmationResult(Result.WAITING, own.since)
        if own.at <= now:
            self._repository.save(document, own.next(own.state, at=next_check(own.since, now, own.state)))
        return ConfirmationResult(Result.WAITING)

    def _quarantine(self, document: Document, stored: StoredObject, call: "_Call") -> ConfirmationResult:
        self._here.quarantine(document.name, stored)
        peer_failed = False
        try:
            if call.use_peer:
                self._quarantine_in_peer(document, stored)
        except StorageFault as fault:
            # S3 replicates tags as well, and clients receive no address of a document in error.
            peer_failed = self._report_peer(document, fault)
        if document.in_error or document.verified:
            # The other region has the declared bytes, or the document is in error already.
            rejected = self._repository.own(document).next(State.IN_ERROR, version_id=stored.version, sha256=None)
            event = self._event(document, version=None, request_id=call.request_id)
            self._repository.reject(document, rejected, event)
        else:
            in_error = reference.in_error(document.announcement)
            self._conclude(document, in_error, lifecycle.QUARANTINE, call, version_id=stored.version, sha256=None)
        self._log.count({Metric.DOCUMENTS_QUARANTINED: 1})
        self._log.error("document quarantined", document=document.key.id)
        return ConfirmationResult(Result.QUARANTINED, peer_failed=peer_failed)

    def _quarantine_in_peer(self, document: Document, stored: StoredObject) -> None:
        """Tag the other region's object if it is the same version. Its other versions are left to that region."""
        found, _ = self._in_peer(document)
        if found is not None and found.version == stored.version:
            self._peer.quarantine(document.name, found)

    def _conclude(
        self, document: Document, resource: Resource, transition: Transition, call: "_Call", **changes: str | None
    ) -> None:
        """Write the version that ends the work of this region. Raises HeadMismatch, Contention."""
        stamp = self._clock.next(after=document.versions[-1].stamp)
        replaces = document.current.stamp
        version = version_of(resource, key=document.key, stamp=stamp, method=Method.PUT, replaces=replaces)
        replica = self._repository.own(document).next(transition.target, **changes)
        event = self._event(document, version=stamp, request_id=call.request_id)
        self._repository.conclude(document, version, event, replica, transition, call.actor)
        self._clock.stored(stamp)

    def _event(self, document: Document, *, version: Stamp | None, request_id: str) -> AuditEvent:
        """Return the audit event of a version that the platform itself writes, or of an object that it rejects."""
        return AuditEvent(
            id=self._new_id(),
            at=self._now(),
            tenant=document.key.tenant,
            subject=SUBJECT,
            action=Action.UPDATE,
            interaction="update",
            record=document.patient,
            entity=document.key.reference,
            version=None if version is None else str(version),
            outcome=Outcome.SUCCESS,
            status=HTTPStatus.OK,
            region=self._here.region,
            source_ip="",
            request_id=request_id,
        )

    def _report_peer(self, document: Document, fault: StorageFault) -> bool:
        """Log the fault, and return whether the other region cannot be reached for other documents either.

        A long read or copy that fails does not show that.
        """
        self._log.count({Metric.STORAGE_FAILURES: 1})
        self._log.error("peer out of reach", document=document.key.id, operation=fault.operation, code=fault.code)
        return fault.unreachable and fault.operation == "HeadObject"


@dataclass(eq=False)
class _Call:
    """An attempt to confirm a document.

    Attributes:
        claimed: the revision of the replica item with the lease of this attempt.
        slot: whether the attempt is one of the `LONG_AT_ONCE`.
    """

    request_id: str
    actor: Actor
    use_peer: bool
    ends: datetime
    claimed: int | None = None
    slot: bool = False


@dataclass(frozen=True)
class PeerObject:
    """The other region's object. `copied` is whether this function has copied it."""

    version: str
    copied: bool = False


def duration_of(size: int) -> timedelta:
    """Return how long reading or copying `size` bytes takes at most."""
    return timedelta(seconds=size / SLOWEST)
