"""Whether a document is what was announced, in both regions: then it is final.

A document is confirmed by the region that gave its upload address. S3 replicates to the other; where it has not done so
in time, the bytes are copied. What does not match what was announced is quarantined, and what never came is given up.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from patient_api.clock import Clock, Stamp
from patient_api.contract.audit import AuditEvent
from patient_api.contract.keys import pending_partition
from patient_api.contract.metrics import Metric
from patient_api.documents.bucket import Bucket, StoredObject
from patient_api.documents.events import Events
from patient_api.documents.peer import Peer
from patient_api.documents.pending import Pending, closed, uploaded_at
from patient_api.documents.reference import FINAL, IN_ERROR, PRELIMINARY, Document, Resource, extended, stored
from patient_api.errors import Contention, HeadMismatch, StorageFault
from patient_api.logging import StructuredLog
from patient_api.store.model import Marker, Method, RecordKey, Token, Version, version_of

LATEST_UPLOAD: Final = timedelta(hours=24)


class RecordStore(Protocol):
    """As `records.store.DynamoRecords`."""

    def replace(
        self, version: Version, event: AuditEvent, *, tokens: Collection[Token] = (), markers: Sequence[Marker] = ()
    ) -> None: ...
    def newest(self, key: RecordKey, event: AuditEvent | None = None) -> Version | None: ...
    def conflicts(self, key: RecordKey) -> Sequence[frozenset[str]]: ...


class Result(StrEnum):
    """What became of a document: it is somebody else's to confirm, or done with, or to be looked at again."""

    NOT_OURS = "not-ours"
    WAITING = "waiting"
    FINAL = "final"
    QUARANTINED = "quarantined"
    ABANDONED = "abandoned"
    SETTLED = "settled"


@dataclass(frozen=True)
class ConfirmationResult:
    """`uploaded` is when the bytes came, where they are here and the document still waits."""

    result: Result
    uploaded: datetime | None = None


class Confirmation:
    """Confirms one document at a time; as often as it is asked to, and from several functions at once."""

    def __init__(
        self,
        *,
        records: RecordStore,
        pending: Pending,
        here: Bucket,
        peer: Peer,
        clock: Clock,
        events: Events,
        log: StructuredLog,
    ) -> None:
        self._records = records
        self._pending = pending
        self._here = here
        self._peer = peer
        self._clock = clock
        self._events = events
        self._log = log

    def confirm(self, key: RecordKey, *, request_id: str, wait: bool) -> ConfirmationResult:
        """Do what can be done for a document; with `wait`, give S3 the time to replicate it.

        Raises StorageFault and ClockAhead; what is out of reach in the other region leaves the document waiting.
        """
        marker = self._pending.marker(key)
        if marker is None or marker.partition != self._pending.partition:
            return ConfirmationResult(Result.NOT_OURS)
        current = self._records.newest(key)
        if current is None:
            return ConfirmationResult(Result.NOT_OURS)
        document = Document.of(current)
        if document.status != PRELIMINARY:
            self._pending.put(closed(key, at=current.stamp))
            return ConfirmationResult(Result.SETTLED)
        try:
            return self._settle(document, marker, request_id, wait=wait)
        except (HeadMismatch, Contention):
            # Somebody else is at it; whether they got through shows when it is looked at again.
            return ConfirmationResult(Result.WAITING)

    def _settle(self, document: Document, marker: Marker, request_id: str, *, wait: bool) -> ConfirmationResult:
        held = self._here.head(document.name)
        if held is None:
            return self._without(document, marker, request_id)
        if not self._here.matches(document.name, held, document.announced):
            return self._quarantined(document, held, request_id)
        uploaded = uploaded_at(marker, held.modified)
        try:
            arrived = self._peer.received(document, self._here, held, uploaded=uploaded, wait=wait)
        except StorageFault as fault:
            self._out_of_reach(document, fault)
            arrived = None
        if arrived is None:
            return ConfirmationResult(Result.WAITING, uploaded)
        versions = {self._here.region: held.version, self._peer.region: arrived.version}
        known = {region: version for region, version in versions.items() if version is not None}
        resource = extended(document.resource | {"docStatus": FINAL}, *([stored(known)] if known else []))
        self._replaced(document, resource, request_id)
        self._log.count({Metric.DOCUMENTS_CONFIRMED: 1, **({Metric.DOCUMENTS_COPIED: 1} if arrived.copied else {})})
        return ConfirmationResult(Result.FINAL)

    def _without(self, document: Document, marker: Marker, request_id: str) -> ConfirmationResult:
        try:
            elsewhere = self._peer.holds(document)
        except StorageFault as fault:
            self._out_of_reach(document, fault)
            return ConfirmationResult(Result.WAITING)
        if elsewhere:
            # Announced here again, but uploaded to the address from before: from there it can be copied.
            self._pending.put(replace(marker, partition=pending_partition(self._peer.region)))
            return ConfirmationResult(Result.WAITING)
        if self._events.now() - marker.at.time < LATEST_UPLOAD:
            return ConfirmationResult(Result.WAITING)
        self._replaced(document, _in_error(document), request_id)
        self._log.info("document never came", document=document.version.key.id)
        return ConfirmationResult(Result.ABANDONED)

    def _quarantined(self, document: Document, held: StoredObject, request_id: str) -> ConfirmationResult:
        self._here.quarantine(document.name, held)
        try:
            self._peer.quarantine(document)
        except StorageFault as fault:
            # S3 replicates tags as well, and nobody gets an address for what is in error.
            self._out_of_reach(document, fault)
        self._replaced(document, _in_error(document), request_id)
        self._log.count({Metric.DOCUMENTS_QUARANTINED: 1})
        self._log.error("document quarantined", document=document.version.key.id)
        return ConfirmationResult(Result.QUARANTINED)

    def _replaced(self, document: Document, resource: Resource, request_id: str) -> None:
        """Write the version that follows, and close the marker with it. Raises HeadMismatch, Contention."""
        known = document.version.stamp
        key = document.version.key
        # Announced in both regions at once: the same document twice, which nobody else could settle.
        siblings = {Stamp.parse(member) for group in self._records.conflicts(key) for member in group} - {known}
        merges = tuple(sorted(stamp for stamp in siblings if stamp is not None))
        stamp = self._clock.next(after=max((known, *merges)))
        version = version_of(resource, key=key, stamp=stamp, method=Method.PUT, replaces=known, merges=merges)
        event = self._events.update(document, version=stamp, request_id=request_id)
        self._records.replace(version, event, markers=[closed(key, at=stamp)])
        self._clock.observe(stamp)

    def _out_of_reach(self, document: Document, fault: StorageFault) -> None:
        self._log.count({Metric.STORAGE_FAILURES: 1})
        self._log.error(
            "peer out of reach", document=document.version.key.id, operation=fault.operation, code=fault.code
        )


def _in_error(document: Document) -> Resource:
    return document.resource | {"status": IN_ERROR, "docStatus": IN_ERROR}
