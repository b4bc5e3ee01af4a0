"""Record every acknowledged write of a drill, and find those that a region does not have.

A busy region gives no answer. The read is repeated as long as the region answers other requests. For a document, its
bytes are compared too.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Missing, Write, Written
from healthcare_dr.ops.seed.sample_documents import SHA256, sha256
from patient_api.contract.headers import NOT_YET_HERE

if TYPE_CHECKING:
    import httpx


Resource = Mapping[str, Any]

BUSY: Final = (429, 502, 503, 504)
"""Statuses of a region, or of S3, that is busy: a later request may succeed."""


def own_address(document: Resource, bucket: str) -> str | None:
    """Return the URL of the document's bytes in `bucket`; None when the API names another region's bucket or none.

    S3 is addressed by host (`BUCKET.s3.…`) or, on the embedded AWS, by path (`/BUCKET/…`).
    """
    address = str(_attachment(document).get("url", ""))
    parts = urlsplit(address)
    named = ((parts.hostname or "").partition(".")[0], parts.path.removeprefix("/").partition("/")[0])
    return address if bucket in named else None


def intact(document: Resource, address: str, client: "httpx.Client") -> bool | None:
    """Return whether the bytes at `address` have the announced SHA-256; None when S3 is busy.

    Raises:
        httpx.TransportError: S3 does not respond.
    """
    extensions = _attachment(document)["extension"]
    (announced,) = (found["valueBase64Binary"] for found in extensions if found["url"] == SHA256)
    answer = client.get(address)
    if answer.status_code in BUSY:
        return None
    return answer.status_code == 200 and sha256(answer.content) == announced


def _attachment(document: Resource) -> Resource:
    found: Resource = document["content"][0]["attachment"]
    return found


CONCURRENCY: Final = 4
"""Concurrent lookups: enough to keep an API busy, and few enough to leave time for replication."""
FOLLOWED_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
POLL_SHARE: Final = 0.1
"""A write is looked up again after a tenth of the time since its acknowledgement."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
"""In seconds, between two rounds of lookups in a busy region. It doubles from the first to the longest."""
UNANSWERED_SECONDS: Final = 60.0
"""After this time without an answer, a region is not read again."""
ROUND_FAILURES: Final = 2 * CONCURRENCY
"""This many lookups in a row without an answer end a round: more of them would keep the region busy."""

OnAnswer = Callable[[int, int], None]
"""Called with the number of answered lookups and the number of all."""


def is_not_yet_here(answer: "httpx.Response") -> bool:
    """Return whether a region answered that it has not received a version that the request names: it is not busy."""
    return answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and NOT_YET_HERE in answer.text


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A region's own endpoint: its host name, and the address and port that serve it."""

    region: str
    host: str
    address: str
    port: int

    def request(
        self,
        client: "httpx.Client",
        path: str,
        *,
        token: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> "httpx.Response":
        """Send a request and return the response, whatever its status. Raises httpx.TransportError without one."""
        return client.request(
            method,
            f"https://{self.address}:{self.port}{path}",
            headers={**(headers or {}), "Host": self.host, "Authorization": f"Bearer {token}"},
            content=content,
            extensions={"sni_hostname": self.host},
        )


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """The documents of the ledger that are not final in one region, by their numbers."""

    numbers: tuple[int, ...]
    """Those that the region reported as not final."""
    unanswered: tuple[int, ...] = ()
    """Those whose state is unknown, because the region was busy."""


class Ledger:
    """The acknowledged writes of a drill. Thread-safe.

    `client` trusts the endpoints' authority and has a timeout; `clock` is the drill's. `endpoints` and `buckets`, those
    of documents, are by region.
    """

    def __init__(
        self,
        *,
        endpoints: Mapping[str, Endpoint],
        buckets: Mapping[str, str],
        token: str,
        client: "httpx.Client",
        clock: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoints, self._buckets, self._token = endpoints, buckets, token
        self._client, self._clock, self._sleep = client, clock, sleep
        self._writes: list[Write] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._followers: list[threading.Thread] = []
        self._waited: dict[str, Write] = {}
        self._readable: dict[str, float] = {}

    def acknowledge(self, *, number: int, kind: Written, id: str, region: str, version: str | None = None) -> Write:
        """Record a write that was acknowledged now; `version` is the one that an update created."""
        write = Write(number=number, kind=kind, id=id, at=self._clock(), region=region, version=version)
        with self._lock:
            self._writes.append(write)
        return write

    def writes(self) -> tuple[Write, ...]:
        """Return all writes so far, in the order of their acknowledgement."""
        with self._lock:
            return tuple(self._writes)

    def oldest(self, kind: Written, count: int) -> tuple[Write, ...]:
        """Return the first `count` writes of a kind."""
        with self._lock:
            return tuple(islice((write for write in self._writes if write.kind == kind), count))

    def start(self) -> None:
        """Start a thread for each region that measures when acknowledged patients become readable there."""
        for region in self._endpoints:
            self._followers.append(threading.Thread(target=self._follow, args=(region,), name="lag", daemon=True))
            self._followers[-1].start()

    def stop(self) -> None:
        """Stop the threads, and return when they have ended."""
        self._stop.set()
        for follower in self._followers:
            follower.join()

    def lag(self) -> dict[str, float]:
        """Return the replication lag by receiving region, in seconds.

        It is the time from acknowledgement elsewhere until the last followed patient was readable, or the age of the
        patient that has not arrived yet, if that is longer. A region is absent until one has arrived.
        """
        with self._lock:
            now, found = self._clock(), dict(self._readable)
            for region in found.keys() & self._waited.keys():
                found[region] = max(found[region], now - self._waited[region].at)
            return found

    def awaited(self) -> frozenset[str]:
        """Return the regions in which nothing has arrived yet, although another one has acknowledged a patient."""
        with self._lock:
            return frozenset(self._waited.keys() - self._readable.keys())

    def _follow(self, region: str) -> None:
        pause, last = 0.0, -1
        while not self._stop.wait(pause):
            with self._lock:
                write = self._waited.get(region) or next(
                    (w for w in reversed(self._writes) if w.region != region and w.kind == "patient"), None
                )
                if write is None or write.number == last:
                    pause = POLL_SECONDS
                    continue
                self._waited[region] = write
            try:
                there = self._present(region, write)
            except DeploymentError:
                there = None  # Clients cannot read it either, so the age continues to grow.
            pause = min(FOLLOWED_SECONDS, max(POLL_SECONDS, POLL_SHARE * (self._clock() - write.at)))
            if there:
                pause, last = FOLLOWED_SECONDS, write.number
                with self._lock:
                    self._readable[region] = self._clock() - write.at
                    del self._waited[region]

    def missing(
        self,
        region: str,
        *,
        at: float,
        fault_at: float,
        numbers: Collection[int] | None = None,
        own: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Missing:
        """Return the writes that other regions acknowledged, with `own` this one too, and that this region lacks.

        An update is present when its version is, a document when its bytes are in the region's own bucket. With
        `numbers`, only these writes are looked up, newest first. Whether replication has delivered them is not
        considered: see `recovery_checks.RecoveryChecks.missing`.

        Raises:
            DeploymentError: the endpoint answers neither yes, nor no, nor that it is busy.
        """
        wanted = [write for write in reversed(self._chosen(numbers)) if own or write.region != region]
        answers = self._each(lambda write: self._present(region, write), wanted, on_answer)
        absent = [write for write, there in zip(wanted, answers, strict=True) if there is False]
        return Missing(
            at=at,
            region=region,
            looked_for=len(wanted),
            numbers=tuple(sorted(write.number for write in absent)),
            seconds=max(0.0, fault_at - min((write.at for write in absent), default=fault_at)),
            unanswered=_unanswered(wanted, answers),
        )

    def unfinished(
        self, region: str, *, numbers: Collection[int] | None = None, on_answer: OnAnswer | None = None
    ) -> Unfinished:
        """Return the documents that are not `final` in this region, acknowledged by any region.

        A document is final once both regions have the same bytes: those of this region are read and compared with the
        announced hash. With `numbers`, only these documents are looked up.

        Raises:
            DeploymentError: the endpoint answers neither yes, nor no, nor that it is busy.
        """
        wanted = [write for write in self._chosen(numbers) if write.kind == "document"]
        answers = self._each(lambda write: self._final(region, write), wanted, on_answer)
        return Unfinished(
            numbers=tuple(sorted(write.number for write, done in zip(wanted, answers, strict=True) if done is False)),
            unanswered=_unanswered(wanted, answers),
        )

    def _chosen(self, numbers: Collection[int] | None) -> Sequence[Write]:
        chosen = None if numbers is None else frozenset(numbers)
        return [write for write in self.writes() if chosen is None or write.number in chosen]

    def _each(
        self, look: Callable[[Write], bool | None], writes: Sequence[Write], on_answer: OnAnswer | None
    ) -> Sequence[bool | None]:
        """Look up each write, again while the region is busy (None), until no lookup succeeds for 60 s."""
        answers: list[bool | None] = [None] * len(writes)
        left, pause, answered_at = list(range(len(writes))), FIRST_PAUSE, self._clock()
        while left:
            self._round(look, writes, left, answers, on_answer)
            open_ = [index for index in left if answers[index] is None]
            if len(open_) < len(left):
                answered_at, pause = self._clock(), FIRST_PAUSE
            left = open_
            if left and self._clock() - answered_at >= UNANSWERED_SECONDS:
                break
            if left:
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        return answers

    @staticmethod
    def _round(
        look: Callable[[Write], bool | None],
        writes: Sequence[Write],
        indexes: Sequence[int],
        answers: list[bool | None],
        on_answer: OnAnswer | None,
    ) -> None:
        """Look up each write once, and put the results into `answers`."""
        failures = 0

        def one(index: int) -> bool | None:
            nonlocal failures
            if failures >= ROUND_FAILURES:
                return None
            answer = look(writes[index])
            # The count is not exact between threads, which does no harm.
            failures = failures + 1 if answer is None else 0
            return answer

        before = len(writes) - len(indexes)
        pool = ThreadPoolExecutor(CONCURRENCY, "ledger")
        try:
            for index, answer in zip(indexes, pool.map(one, indexes), strict=True):
                answers[index] = answer
                if answer is not None:
                    before += 1
                    if on_answer is not None:
                        on_answer(before, len(writes))
        finally:
            # An interrupted drill does not wait for lookups that have not begun.
            pool.shutdown(wait=True, cancel_futures=True)

    def _present(self, region: str, write: Write) -> bool | None:
        """Return whether a region has a write; None when it is busy."""
        answer = self._lookup(region, write)
        if answer is None or answer.status_code != 200:
            return None if answer is None else False
        if write.kind != "document":
            return True
        with _read(region, write):
            return own_address(answer.json(), self._buckets[region]) is not None

    def _final(self, region: str, write: Write) -> bool | None:
        """Return whether a document is final in a region; None when the region or S3 is busy."""
        import httpx

        answer = self._lookup(region, write)
        if answer is None or answer.status_code == 404:
            return None if answer is None else False
        with _read(region, write):
            document = answer.json()
            address = own_address(document, self._buckets[region])
            if document["docStatus"] != "final" or address is None:
                return False
            try:
                return intact(document, address, self._client)
            except httpx.TransportError:
                return None

    def _lookup(self, region: str, write: Write) -> "httpx.Response | None":
        """Return the region's response: 200, 404, or 503 for a version that it has not received.

        None when it is busy or does not respond in time.
        """
        import httpx

        kind = "DocumentReference" if write.kind == "document" else "Patient"
        path = f"/fhir/{kind}/{write.id}" + ("" if write.version is None else f"/_history/{write.version}")
        try:
            answer = self._endpoints[region].request(self._client, path, token=self._token)
        except httpx.TransportError:
            return None
        if write.version is not None and is_not_yet_here(answer):
            return answer
        if answer.status_code in BUSY:
            return None
        if answer.status_code not in (200, 404):
            raise DeploymentError(
                f"{region} answered {answer.status_code} when write {write.number} was looked for; see its logs"
            )
        return answer


def _unanswered(writes: Sequence[Write], answers: Sequence[bool | None]) -> tuple[int, ...]:
    return tuple(sorted(write.number for write, answer in zip(writes, answers, strict=True) if answer is None))


@contextmanager
def _read(region: str, write: Write) -> Iterator[None]:
    """Raise DeploymentError, in one line, when a response is not a document of the platform."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DeploymentError(
            f"{region} answered no document when write {write.number} was looked for; is it the platform's?"
        ) from error
