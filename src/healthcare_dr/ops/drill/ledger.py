"""The ledger of a drill: every acknowledged write, and which of them a region cannot read."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.documents import intact, own_address
from healthcare_dr.ops.drill.model import Missing, Write, Written

if TYPE_CHECKING:
    import httpx

CONCURRENCY: Final = 8
FOLLOWED_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
PAUSES: Final = (0.5, 1.0, 2.0)
"""Between attempts to ask a region that answers nothing, 429 or 503."""
BUSY: Final = (429, 503)

T = TypeVar("T")


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
                there = self._there(region, write, pauses=())
            except DeploymentError:
                there = False  # a region that cannot be asked has nothing to show: the age goes on growing
            pause = POLL_SECONDS
            if there:
                pause, last = FOLLOWED_SECONDS, write.number
                with self._lock:
                    self._readable[region] = self._clock() - write.at
                    del self._waited[region]

    def missing(
        self, region: str, *, at: float, fault_at: float, numbers: Collection[int] | None = None, own: bool = False
    ) -> Missing:
        """What other regions acknowledged, with `own` this one too, and its own endpoint does not have, newest first.

        An update is there when its version is, a document when its bytes are in the region's own bucket. With
        `numbers`, only these writes are looked for.

        Raises:
            DeploymentError: the endpoint cannot be reached, or answers neither yes nor no, time and again.
        """
        wanted = [write for write in reversed(self._chosen(numbers)) if own or write.region != region]
        there = self._each(lambda write: self._there(region, write), wanted)
        lost = [write for write, found in zip(wanted, there, strict=True) if not found]
        return Missing(
            at=at,
            region=region,
            looked_for=len(wanted),
            numbers=tuple(sorted(write.number for write in lost)),
            seconds=max(0.0, fault_at - min((write.at for write in lost), default=fault_at)),
        )

    def unfinished(self, region: str, *, numbers: Collection[int] | None = None) -> tuple[int, ...]:
        """The numbers of acknowledged documents that are not `final` in this region, wherever they were acknowledged.

        A document is final once both regions hold the same bytes: this region's are read, and compared with what was
        announced. With `numbers`, only these are looked at.

        Raises:
            DeploymentError: the endpoint cannot be reached, or answers neither yes nor no, time and again.
        """
        wanted = [write for write in self._chosen(numbers) if write.kind == "document"]
        final = self._each(lambda write: self._final(region, write), wanted)
        return tuple(sorted(write.number for write, done in zip(wanted, final, strict=True) if not done))

    def _chosen(self, numbers: Collection[int] | None) -> Sequence[Write]:
        chosen = None if numbers is None else frozenset(numbers)
        return [write for write in self.writes() if chosen is None or write.number in chosen]

    def _each(self, look: Callable[[Write], T], writes: Sequence[Write]) -> Sequence[T]:
        with ThreadPoolExecutor(CONCURRENCY, "ledger") as pool:
            return tuple(pool.map(look, writes))

    def _there(self, region: str, write: Write, *, pauses: Sequence[float] = PAUSES) -> bool:
        found = self._found(region, write, pauses)
        if found is None or write.kind != "document":
            return found is not None
        with _read(region, write):
            return own_address(found.json(), self._buckets[region]) is not None

    def _final(self, region: str, write: Write) -> bool:
        found = self._found(region, write, PAUSES)
        if found is None:
            return False
        with _read(region, write):
            document = found.json()
            address = own_address(document, self._buckets[region])
            return document["docStatus"] == "final" and address is not None and intact(document, address, self._client)

    def _found(self, region: str, write: Write, pauses: Sequence[float]) -> "httpx.Response | None":
        """The region's answer, None for 404."""
        import httpx

        kind = "DocumentReference" if write.kind == "document" else "Patient"
        path = f"/fhir/{kind}/{write.id}" + ("" if write.version is None else f"/_history/{write.version}")
        for pause in (*pauses, None):
            try:
                answer = self._endpoints[region].ask(self._client, path, token=self._token)
            except httpx.TransportError as error:
                if pause is None:
                    raise DeploymentError(
                        f"write {write.number} cannot be looked for in {region} ({type(error).__name__}); "
                        "heal the region first"
                    ) from error
            else:
                if pause is None or answer.status_code not in BUSY:
                    break
            self._sleep(pause)
        if answer.status_code not in (200, 404):
            raise DeploymentError(
                f"{region} answered {answer.status_code} when write {write.number} was looked for; see its logs"
            )
        return answer if answer.status_code == 200 else None


@contextmanager
def _read(region: str, write: Write) -> Iterator[None]:
    """Says in one line what stands in the way of reading a document. Raises DeploymentError."""
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise DeploymentError(
            f"the bytes of write {write.number} cannot be read in {region} ({type(error).__name__}); is S3 reachable?"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DeploymentError(
            f"{region} answered no document when write {write.number} was looked for; is it the platform's?"
        ) from error
