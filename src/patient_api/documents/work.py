"""The work of the confirming function: what the bucket's events report, and a sweep for what they do not."""

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_plus

from patient_api.contract.metrics import Metric
from patient_api.documents.confirmation import Confirmation, ConfirmationResult, Result
from patient_api.documents.pending import Pending
from patient_api.documents.reference import record_of
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.store.model import RecordKey

# A sweep ends before the next one begins, except for a document that is just being read or copied.
SWEEP_SECONDS: Final = 50.0
SPARE_SECONDS: Final = 10.0


class Unfinished(Exception):  # noqa: N818 - says what has happened
    """Not all documents of an event could be looked after: it is to be sent again. The log says why."""


class ConfirmationWorker:
    """`pool` has the threads that documents are confirmed in; `shuffle` puts a list in another order, in place."""

    def __init__(
        self,
        *,
        confirmation: Confirmation,
        pending: Pending,
        log: StructuredLog,
        pool: ThreadPoolExecutor,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        shuffle: Callable[[MutableSequence[RecordKey]], None],
    ) -> None:
        self._confirmation = confirmation
        self._pending = pending
        self._log = log
        self._pool = pool
        self._now = now
        self._monotonic = monotonic
        self._shuffle = shuffle

    def uploaded(self, records: Sequence[Mapping[str, Any]], *, request_id: str) -> None:
        """Confirm the documents that S3's event records tell of. Raises Unfinished, when all others are done."""
        found = (record_of(unquote_plus(record["s3"]["object"]["key"])) for record in records)
        keys = list(dict.fromkeys(key for key in found if key is not None))
        running = [
            (key, self._pool.submit(self._confirmation.confirm, key, request_id=request_id, wait=True)) for key in keys
        ]
        done = [self._verdict(key, future) for key, future in running]
        failed = done.count(None)
        if failed:
            raise Unfinished(f"{failed} of {len(done)} documents")

    def sweep(self, *, seconds: float, request_id: str) -> None:
        """Look at the documents that wait here, for at most `seconds` less some to spare."""
        ends = self._monotonic() + min(SWEEP_SECONDS, seconds - SPARE_SECONDS)
        keys = list(self._pending.listed())
        # Those that nobody ever uploads wait longest: in their order they would keep the others from being reached.
        self._shuffle(keys)

        def confirm(key: RecordKey) -> ConfirmationResult:
            if self._monotonic() >= ends:
                return ConfirmationResult(Result.WAITING)
            return self._confirmation.confirm(key, request_id=request_id, wait=False)

        running = [(key, self._pool.submit(confirm, key)) for key in keys]
        done = [self._verdict(key, future) for key, future in running]
        waiting = [verdict for verdict in done if verdict is None or verdict.result is Result.WAITING]
        since = min((verdict.uploaded for verdict in waiting if verdict and verdict.uploaded), default=None)
        age = 0.0 if since is None else max(0.0, (self._now() - since).total_seconds())
        self._log.count({Metric.DOCUMENTS_PENDING: len(waiting)})
        self._log.count({Metric.PENDING_SECONDS: age}, unit="Seconds")

    def _verdict(self, key: RecordKey, future: "Future[ConfirmationResult]") -> ConfirmationResult | None:
        """What became of a document; None, and a line in the log, when that failed."""
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, StorageFault):
            failures: dict[str, float] = {Metric.KEY_FAILURES: 1} if error.of_key else {Metric.STORAGE_FAILURES: 1}
            self._log.count(failures)
            self._log.error("storage fault", document=key.id, operation=error.operation, code=error.code)
            return None
        if isinstance(error, Exception):
            self._log.unexpected(error, document=key.id)
            return None
        raise error
