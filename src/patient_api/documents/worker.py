"""Process the events of a region's bucket, and sweep the documents that are still open.

A sweep runs every minute. It confirms the pending documents, whose objects are in the bucket, and checks
awaited documents whose next check is due: their event may have been lost. It takes the documents of all tenants in
turn, so that no tenant waits for the documents of another one.
"""

from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice, zip_longest
from typing import Any, Final
from urllib.parse import unquote_plus

from patient_api.clock import Clock
from patient_api.contract.functions import API
from patient_api.contract.metrics import Metric
from patient_api.documents.confirmation import Confirmation, ConfirmationResult, Result
from patient_api.documents.lifecycle import Actor, Listing
from patient_api.documents.reference import record_of
from patient_api.documents.repository import DocumentRepository, ListEntry
from patient_api.errors import StorageFault, WrongClock
from patient_api.logging import StructuredLog
from patient_api.store.model import RecordKey

SWEEP_SECONDS: Final = 50.0
"""A sweep ends before the next one begins, except for a document that is being read or copied."""
SPARE_SECONDS: Final = 10.0
PENDING_PER_SWEEP: Final = 5_000
"""Pending documents that one sweep works on, in the time that it has."""
PENDING_PER_TENANT: Final = 500
CHECKS_PER_SWEEP: Final = 200
"""Awaited documents that one sweep checks."""
CHECKS_PER_TENANT: Final = 100


class UnfinishedEventError(Exception):
    """Some documents of an event failed. Lambda delivers the event again; the log contains the reasons."""


class ConfirmationWorker:
    """`pool` has the threads that confirm documents; `shuffle` shuffles a list in place."""

    def __init__(
        self,
        *,
        confirmation: Confirmation,
        clock: Clock,
        repository: DocumentRepository,
        log: StructuredLog,
        pool: ThreadPoolExecutor,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        shuffle: Callable[[MutableSequence[str]], None],
    ) -> None:
        self.confirmation = confirmation
        self._clock = clock
        self._repository = repository
        self._log = log
        self._pool = pool
        self._now = now
        self._monotonic = monotonic
        self._shuffle = shuffle

    def uploaded(self, records: Sequence[Mapping[str, Any]], *, seconds: float, request_id: str) -> None:
        """Confirm the documents of S3's event records, in the `seconds` that the invocation has.

        Raises UnfinishedEventError after all others are done.
        """
        found = (record_of(unquote_plus(record["s3"]["object"]["key"])) for record in records)
        keys = list(dict.fromkeys(key for key in found if key is not None))

        ends = self._now() + timedelta(seconds=seconds - SPARE_SECONDS)

        def confirm(key: RecordKey) -> ConfirmationResult:
            return self.confirmation.confirm(key, request_id=request_id, actor=Actor.CONFIRMATION, ends=ends)

        running = [(key, self._pool.submit(confirm, key)) for key in keys]
        results = [self._result(key, future) for key, future in running]
        failed = results.count(None)
        if failed:
            raise UnfinishedEventError(f"{failed} of {len(results)} documents")

    def sweep(self, *, seconds: float, request_id: str) -> None:
        """Confirm open documents, for at most `seconds` less some to spare, and publish how many are pending."""
        latest = self._now() + timedelta(seconds=seconds - SPARE_SECONDS)
        ends = self._monotonic() + min(SWEEP_SECONDS, seconds - SPARE_SECONDS)
        pending = islice(self._in_turn(Listing.PENDING, PENDING_PER_TENANT), PENDING_PER_SWEEP)
        due = islice(self._in_turn(Listing.AWAITED, CHECKS_PER_TENANT, until=self._now()), CHECKS_PER_SWEEP)
        # A long list of pending documents must not keep the checks from running.
        entries = [entry for pair in zip_longest(pending, due) for entry in pair if entry is not None]
        try:
            # The lists were read just now, so this sends no request.
            self._clock.check()
        except WrongClock as error:
            self._report_clock(error)
            self._publish([(entry, None) for entry in entries], ahead_ms=error.ahead_ms)
            return
        # A region that does not respond takes seconds for each request, so the others are not sent.
        peer_failed = False

        def confirm(entry: ListEntry) -> ConfirmationResult:
            nonlocal peer_failed
            if self._monotonic() >= ends:
                return ConfirmationResult(Result.WAITING)
            use_peer = not peer_failed
            result = self.confirmation.confirm(
                entry.key, request_id=request_id, actor=Actor.SWEEP, ends=latest, use_peer=use_peer
            )
            peer_failed = peer_failed or result.peer_failed
            return result

        running = [(entry, self._pool.submit(confirm, entry)) for entry in entries]
        self._publish([(entry, self._result(entry.key, future)) for entry, future in running])

    def _in_turn(self, listing: Listing, per_tenant: int, *, until: datetime | None = None) -> Iterator[ListEntry]:
        """Yield the entries of a list: the first one of each tenant, then the second one of each, and so on."""
        entries = self._repository.listed(listing, per_tenant=per_tenant, until=until)
        tenants = sorted(entries)
        self._shuffle(tenants)
        for row in zip_longest(*(entries[tenant] for tenant in tenants)):
            yield from (entry for entry in row if entry is not None)

    def _publish(
        self, results: Sequence[tuple[ListEntry, ConfirmationResult | None]], *, ahead_ms: int | None = None
    ) -> None:
        """Publish the number of documents that are uploaded and not final, and the age of the oldest one.

        `ahead_ms` is by how much the clock is known to be ahead.
        """
        stored = [time for entry, result in results if (time := _pending_since(entry, result)) is not None]
        now = self._now() - timedelta(milliseconds=ahead_ms or 0)
        age = (now - min(stored)).total_seconds() if stored else 0.0
        self._log.count({Metric.DOCUMENTS_PENDING: len(stored)})
        self._log.count({Metric.PENDING_SECONDS: max(0.0, age)}, unit="Seconds")

    def _result(self, key: RecordKey, future: "Future[ConfirmationResult]") -> ConfirmationResult | None:
        """Return the result for a document, None after a failure, which is logged."""
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, StorageFault):
            failures: dict[str, float] = {Metric.KEY_FAILURES: 1} if error.of_key else {Metric.STORAGE_FAILURES: 1}
            self._log.count(failures)
            self._log.error("storage fault", document=key.id, operation=error.operation, code=error.code)
            return None
        if isinstance(error, WrongClock):
            self._report_clock(error, document=key.id)
            return None
        if isinstance(error, Exception):
            self._log.unexpected(error, document=key.id)
            return None
        raise error

    def _report_clock(self, error: WrongClock, **fields: object) -> None:
        self._log.error("wrong clock", ahead_ms=error.ahead_ms, **fields)
        self._log.count({Metric.WRONG_CLOCK: 1}, ahead_ms=error.ahead_ms, service=API.name)


def _pending_since(entry: ListEntry, result: ConfirmationResult | None) -> datetime | None:
    """Return when the region recorded the object of a document that is still pending, None for others."""
    if result is not None and result.result is not Result.WAITING:
        return None
    if result is not None and result.stored is not None:
        return result.stored
    return entry.at if entry.listing is Listing.PENDING else None
