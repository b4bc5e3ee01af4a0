"""The ledger of a drill: every acknowledged write, and which of them a region cannot read."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.model import Missing, Write

if TYPE_CHECKING:
    import httpx

CONCURRENCY: Final = 8
FOLLOWED_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
TYPES: Final = {"patient": "Patient", "document": "DocumentReference"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A region's own endpoint: its host name, and where that is reached."""

    region: str
    host: str
    address: str
    port: int


class Ledger:
    """Threads may share it. `client` trusts the endpoints' authority and has its timeout; `clock` is the drill's."""

    def __init__(
        self, *, endpoints: Mapping[str, Endpoint], token: str, client: "httpx.Client", clock: Callable[[], float]
    ) -> None:
        self._endpoints, self._token, self._client, self._clock = endpoints, token, client, clock
        self._writes: list[Write] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._followers: list[threading.Thread] = []
        self._waited: dict[str, Write] = {}
        self._readable: dict[str, float] = {}

    def acknowledge(self, *, number: int, kind: Literal["patient", "document"], id: str, region: str) -> Write:
        """Note a write that was acknowledged just now."""
        write = Write(number=number, kind=kind, id=id, at=self._clock(), region=region)
        with self._lock:
            self._writes.append(write)
        return write

    def writes(self) -> tuple[Write, ...]:
        """All so far, in the order of their acknowledgement."""
        with self._lock:
            return tuple(self._writes)

    def oldest(self, kind: Literal["patient", "document"], count: int) -> tuple[Write, ...]:
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
        was followed, or the age of the one that is waited for when that is more. Absent while nothing is known."""
        with self._lock:
            now, found = self._clock(), dict(self._readable)
            for region, write in self._waited.items():
                found[region] = max(found.get(region, 0.0), now - write.at)
            return found

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
                there = self._there(region, write)
            except DeploymentError:
                there = False  # a region that cannot be asked has nothing to show: the age goes on growing
            pause = POLL_SECONDS
            if there:
                pause, last = FOLLOWED_SECONDS, write.number
                with self._lock:
                    self._readable[region] = self._clock() - write.at
                    del self._waited[region]

    def missing(self, region: str, *, at: float, fault_at: float) -> Missing:
        """What other regions acknowledged and this region's own endpoint does not have (404), read newest first.

        Raises:
            DeploymentError: the endpoint cannot be reached, or answers neither yes nor no.
        """
        wanted = [write for write in reversed(self.writes()) if write.region != region]
        with ThreadPoolExecutor(CONCURRENCY, "ledger") as pool:
            lost = [
                write
                for write, there in zip(wanted, pool.map(lambda w: self._there(region, w), wanted), strict=True)
                if not there
            ]
        return Missing(
            at=at,
            region=region,
            looked_for=len(wanted),
            numbers=tuple(sorted(write.number for write in lost)),
            seconds=max(0.0, fault_at - min((write.at for write in lost), default=fault_at)),
        )

    def _there(self, region: str, write: Write) -> bool:
        import httpx

        end = self._endpoints[region]
        try:
            status = self._client.get(
                f"https://{end.address}:{end.port}/fhir/{TYPES[write.kind]}/{write.id}",
                headers={"Host": end.host, "Authorization": f"Bearer {self._token}"},
                extensions={"sni_hostname": end.host},
            ).status_code
        except httpx.TransportError as error:
            raise DeploymentError(
                f"write {write.number} cannot be looked for in {region} ({type(error).__name__}); heal the region first"
            ) from error
        if status not in (200, 404):
            raise DeploymentError(f"{region} answered {status} when write {write.number} was looked for; see its logs")
        return status == 200
