"""The documents in the other region: what S3 has replicated there, and what is copied when it has not.

S3 promises replication within minutes, not within the recovery point of one (trap 15). A document is given 25 seconds
from its upload, which is far more than a healthy replication takes, and is copied then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from patient_api.documents.bucket import Bucket, StoredObject
from patient_api.documents.copies import Copies
from patient_api.documents.multipart import UploadEnded
from patient_api.documents.reference import Document

REPLICATION: Final = timedelta(seconds=25)
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
COPIED_PER_SECOND: Final = 20_000_000  # bytes, at the least


@dataclass(frozen=True)
class ReplicaState:
    """The object in the other region; `copied` when it had to be."""

    version: str | None
    copied: bool = False


class Peer:
    """The other region's bucket, for what is confirmed here. Every method raises StorageFault."""

    def __init__(
        self, *, bucket: Bucket, copies: Copies, now: Callable[[], datetime], sleep: Callable[[float], None]
    ) -> None:
        self.region = bucket.region
        self._bucket = bucket
        self._copies = copies
        self._now = now
        self._sleep = sleep

    def holds(self, document: Document) -> bool:
        """Whether there is an object, whatever it holds."""
        return self._bucket.head(document.name) is not None

    def quarantine(self, document: Document) -> None:
        """Mark the object, if there is one."""
        held = self._bucket.head(document.name)
        if held is not None:
            self._bucket.quarantine(document.name, held)

    def received(
        self, document: Document, source: Bucket, held: StoredObject, *, uploaded: datetime, wait: bool
    ) -> ReplicaState | None:
        """The document as the other region has it, copied if it is late; None when it is not late yet.

        `held` is the object in `source`, known to be what was announced, and there since `uploaded`. Without `wait`, a
        copy is left to the function that the upload itself has called, for as long as that may take.
        """
        # The clocks of S3 and of Lambda may differ: it is never waited for longer than this.
        deadline = min(uploaded, self._now()) + REPLICATION
        if not wait:
            deadline += timedelta(seconds=held.size / COPIED_PER_SECOND)
        pause = FIRST_PAUSE
        while True:
            found = self._bucket.head(document.name)
            if found is not None and self._bucket.matches(document.name, found, document.announced):
                return ReplicaState(found.version)
            left = (deadline - self._now()).total_seconds()
            if left <= 0:
                return self._copied(document, source, held, replacing=found is not None)
            if not wait:
                return None
            self._sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _copied(
        self, document: Document, source: Bucket, held: StoredObject, *, replacing: bool
    ) -> ReplicaState | None:
        try:
            return ReplicaState(self._copies.copy(document, source, held, replacing=replacing), copied=True)
        except UploadEnded:
            # Replication, or another copy, was faster.
            found = self._bucket.head(document.name)
        if found is not None and self._bucket.matches(document.name, found, document.announced):
            return ReplicaState(found.version)
        return None
