"""What a caller is offered for the bytes of a document: one address, or one for each part."""

from collections.abc import Callable, Mapping
from datetime import datetime

from patient_api.clock import Stamp
from patient_api.contract.keys import pending_partition
from patient_api.documents.multipart import PART_SIZE, Multipart
from patient_api.documents.pending import Pending, completed, opened, upload_of
from patient_api.documents.reference import Document, Resource, object_key
from patient_api.documents.uploads import Uploads
from patient_api.errors import ApiError, Conflict, NotYetHere, Unprocessable
from patient_api.fhir.profile.document import DeclaredContent
from patient_api.store.model import Marker, RecordKey


class UploadOffers:
    """The offers of `region`, to upload into its bucket; `multipart` is by region, since an upload that one region
    has offered can be completed in the other. Every method raises StorageFault.
    """

    def __init__(
        self,
        *,
        region: str,
        uploads: Uploads,
        multipart: Mapping[str, Multipart],
        pending: Pending,
        now: Callable[[], datetime],
    ) -> None:
        self._region = region
        self._uploads = uploads
        self._multipart = {pending_partition(name): held for name, held in multipart.items()}
        self._pending = pending
        self._now = now

    def begin(self, key: RecordKey, announced: DeclaredContent) -> str | None:
        """The id of an upload in parts; None for a document that needs none."""
        return self._uploads.start(object_key(key), announced) if announced.size > PART_SIZE else None

    def marker(self, key: RecordKey, *, at: Stamp, upload: str | None) -> Marker:
        """What has this region wait for the bytes."""
        return opened(key, at=at, region=self._region, upload=upload)

    def made(self, key: RecordKey, announced: DeclaredContent, upload: str | None) -> Resource:
        """The extension of the attachment that holds the offer."""
        name = object_key(key)
        return self._uploads.whole(name, announced) if upload is None else self._uploads.parts(name, announced, upload)

    def renewed(self, document: Document) -> Resource:
        """The offer for a document that was announced before, in either region: from now on this one waits for it."""
        key, announced = document.version.key, document.announced
        marker = self._pending.marker(key)
        if marker is not None and marker.partition == self._pending.partition:
            return self.made(key, announced, upload_of(marker))
        upload = self.begin(key, announced)
        self._pending.put(self.marker(key, at=document.version.stamp, upload=upload))
        return self.made(key, announced, upload)

    def withdraw(self, key: RecordKey, upload: str | None) -> None:
        """Give up what was begun."""
        if upload is not None:
            self._multipart[self._pending.partition].abort(object_key(key), upload)

    def accepted(self, document: Document) -> Callable[[], None] | ApiError:
        """What puts the document together from its parts, or why that cannot be done (yet).

        Calling it a second time, or when the parts were put together before, raises UploadEnded.
        """
        marker = self._pending.marker(document.version.key)
        if marker is None:
            return NotYetHere("This region has not yet received all of the document's record.")
        upload = upload_of(marker)
        if upload is None or marker.partition is None:
            return Unprocessable("The document is not being uploaded in parts.")
        multipart = self._multipart[marker.partition]
        progress = multipart.progress(document, upload)
        if progress.missing:
            listed = ", ".join(map(str, progress.missing))
            return Conflict(f"Parts that are not there, or not of the size they should be: {listed}.")

        def complete() -> None:
            self._pending.put(completed(marker, at=self._now()))
            multipart.complete(document, upload, progress.parts)

        return complete
