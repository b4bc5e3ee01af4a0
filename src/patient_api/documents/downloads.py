"""Addresses from which a caller gets a document's bytes: from this region, or else from the other."""

from collections.abc import Sequence

from patient_api.documents.bucket import Bucket
from patient_api.documents.reference import FINAL, PRELIMINARY, Document
from patient_api.errors import StorageFault


class Downloads:
    """From the first of `buckets` that has the document."""

    def __init__(self, *, buckets: Sequence[Bucket]) -> None:
        self._buckets = buckets

    def address(self, document: Document) -> str | None:
        """An address for five minutes; None when there are no bytes to be had.

        Raises StorageFault when there must be some and they cannot be reached.
        """
        if document.status not in {PRELIMINARY, FINAL}:
            return None
        faults: list[StorageFault] = []
        for bucket in self._buckets:
            try:
                address = _address(document, bucket)
            except StorageFault as fault:
                faults.append(fault)
                continue
            if address is not None:
                return address
        if faults and document.status == FINAL:
            raise faults[0]
        return None

    def anywhere(self, document: Document) -> bool:
        """Whether there are bytes in any of the buckets, whatever they are. Raises StorageFault."""
        return any(bucket.head(document.name) is not None for bucket in self._buckets)


def _address(document: Document, bucket: Bucket) -> str | None:
    version = document.stored.get(bucket.region)
    held = bucket.head(document.name, version)
    if held is None and version is not None:
        # Replication can put the same bytes on top, and the version below them ends with its retention.
        held, version = bucket.head(document.name), None
    if held is None:
        return None
    # The version that was confirmed was compared. Of any other, S3 must vouch for the whole.
    vouched = version is not None or held.sha256 == document.announced.sha256
    return bucket.download(document.name, held.version) if vouched else None
