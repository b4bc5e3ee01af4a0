"""Record every acknowledged write of a drill, and find those that a region does not have.

A busy region gives no answer: the read is repeated while the region answers other requests. For a document, its bytes
are compared too.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Missing, Write, Written
from healthcare_dr.ops.seed.sample_documents import SHA256, sha256

if TYPE_CHECKING:
    import httpx


Resource = Mapping[str, Any]

BUSY: Final = (429, 502, 503, 504)
"""Answers of a region, or of S3, that is there and has no time: asked again later, it may answer."""


def own_address(document: Resource, bucket: str) -> str | None:
    """Return the URL of the document's bytes in `bucket`; None when the API names another region's bucket or none.

    S3 is addressed by host (`BUCKET.s3.…`) or, on the embedded AWS, by path (`/BUCKET/…`).
    """
    address = str(_attachment(document).get("url", ""))
    parts = urlsplit(address)
    named = ((parts.hostname or "").partition(".")[0], parts.path.removeprefix("/").partition("/")[0])
    return address if bucket in named else None


def intact(document: Resource, address: str, client: "httpx.Client") -> bool | None:
    """Return whether what lies at `address` is what was announced, by its SHA-256; None when S3 has no time.

    Raises:
        httpx.TransportError: S3 does not answer.
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
"""Lookups at a time: enough to keep an API busy, and few enough to leave time for what replicates meanwhile."""
FOLLOWED_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
POLL_SHARE: Final = 0.1
"""A write that is waited for is asked for again after a tenth of the time that it has been waited for."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
"""In seconds: between two rounds of questions to a busy region, doubled from the first to the longest."""
UNANSWERED_SECONDS: Final = 60.0
"""A region that answers no question for so long is not asked again."""
ROUND_FAILURES: Final = 2 * CONCURRENCY
"""So many questions in a row without an answer end a round: the region needs the pause, not more of them."""

OnAnswer = Callable[[int, int], None]
"""Called with how many of how many questions have been answered."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A region's own endpoint: its host name, and where that is reached."""

    region: str
    host: str
    address: str
    port: int

    def ask(
        self,
        client: "httpx.Client",
        path: str,
        *,
        token: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> "httpx.Response":
        """Its answer, whatever it is. Raises httpx.TransportError without one."""
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
    """Those that the region answered are not."""
    unanswered: tuple[int, ...] = ()
    """Those of which nothing is known: the region was busy for as long as it was asked."""


class Ledger:
    """Threads may share it. `client` trusts the endpoints' authority and has its timeout; `clock` is the drill's.

    `endpoints` and `buckets`, of documents, are by region.
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
        """Note a write that was acknowledged just now; an update with the version that it made."""
        write = Write(number=number, kind=kind, id=id, at=self._clock(), region=region, version=version)
        with self._lock:
            self._writes.append(write)
        return write

    def writes(self) -> tuple[Write, ...]:
        """All so far, in the order of their acknowledgement."""
        with self._lock:
            return tuple(self._writes)

    def oldest(self, kind: Written, count: int) -> tuple[Write, ...]:
        """The first `count` of that kind."""
        with self._lock:
            return tuple(islice((write for write in self._writes if write.kind == kind), count))

    def start(self) -> None:
        """Begin to follow, in a thread for each region, when acknowledged patients become readable there."""
        for region in self._endpoints:
            self._followers.append(threading.Thread(target=self._follow, args=(region,), name="lag", daemon=True))
            self._followers[-1].start()

    def stop(self) -> None:
        """Follow no more; waits for the calls under way."""
        self._stop.set()
        for follower in self._followers:
            follower.join()

    def lag(self) -> dict[str, float]:
        """By receiving region, in seconds: from acknowledgement elsewhere to being readable, of the last patient that
        was followed, or the age of the one that is waited for when that is more. Absent until one has arrived."""
        with self._lock:
            now, found = self._clock(), dict(self._readable)
            for region in found.keys() & self._waited.keys():
                found[region] = max(found[region], now - self._waited[region].at)
            return found

    def awaited(self) -> frozenset[str]:
        """The regions where nothing has arrived yet, though another one has acknowledged a patient."""
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
                there = None  # What a region cannot show is not there for clients: the age goes on growing.
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
        """Return what other regions acknowledged, with `own` this one too, and its own endpoint answers it lacks.

        An update is there when its version is, a document when its bytes are in the region's own bucket. With
        `numbers`, only these writes are looked for, newest first. Whether replication has delivered them yet is not
        looked at: see `arrival.settled`.

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
        """Return the acknowledged documents that are not `final` in this region, wherever they were acknowledged.

        A document is final once both regions hold the same bytes: this region's are read, and compared with what was
        announced. With `numbers`, only these are looked at.

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
        """Look at each write, again while the region is busy (None), until no look succeeds for 60 s."""
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
        """Look at each once, and put what was answered into `answers`."""
        failures = 0

        def one(index: int) -> bool | None:
            nonlocal failures
            if failures >= ROUND_FAILURES:
                return None
            answer = look(writes[index])
            # Not exact between threads, and need not be.
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
            # An interrupted drill does not wait for questions that have not been asked yet.
            pool.shutdown(wait=True, cancel_futures=True)

    def _present(self, region: str, write: Write) -> bool | None:
        """Return whether a region has a write; None when it is busy."""
        answer = self._ask(region, write)
        if answer is None or answer.status_code == 404:
            return None if answer is None else False
        if write.kind != "document":
            return True
        with _read(region, write):
            return own_address(answer.json(), self._buckets[region]) is not None

    def _final(self, region: str, write: Write) -> bool | None:
        """Return whether a document is final in a region; None when the region or S3 is busy."""
        import httpx

        answer = self._ask(region, write)
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

    def _ask(self, region: str, write: Write) -> "httpx.Response | None":
        """Return the region's answer, 200 or 404; None when it is busy or does not answer in time."""
        import httpx

        kind = "DocumentReference" if write.kind == "document" else "Patient"
        path = f"/fhir/{kind}/{write.id}" + ("" if write.version is None else f"/_history/{write.version}")
        try:
            answer = self._endpoints[region].ask(self._client, path, token=self._token)
        except httpx.TransportError:
            return None
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
    """Report in one line that an answer is no document of the platform. Raises DeploymentError."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DeploymentError(
            f"{region} answered no document when write {write.number} was looked for; is it the platform's?"
        ) from error
