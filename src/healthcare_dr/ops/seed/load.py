"""Load fictitious patients and documents through the API of both regions.

Requests are idempotent, and are retried while a region is busy or unreachable.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.http import https_client
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.seed import people, sample_documents
from healthcare_dr.ops.seed.people import Resource
from healthcare_dr.ops.status import Status
from healthcare_dr.settings import Settings

if TYPE_CHECKING:
    import httpx


ATTEMPTS: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_RETRY_AFTER_SECONDS: Final = 120.0
# 409: another attempt of the same request is in progress.
BUSY: Final = frozenset({409, 429, 502, 503, 504})


class SeedingStopped(Exception):  # noqa: N818 - it is not an error
    """The load was interrupted, so that no further request is sent."""


@dataclass
class RetryingClient:
    """Sends idempotent requests, and retries them. Thread-safe."""

    client: "httpx.Client"
    stop: threading.Event
    retries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(
        self, method: str, url: str, *, content: bytes, headers: Mapping[str, str], accept: Iterable[int], what: str
    ) -> "httpx.Response":
        """Return the response, whose status is one of `accept`.

        Raises:
            DeploymentError: the request was rejected, or all attempts failed. The text names `what` and no address.
            SeedingStopped: the load was interrupted.
        """
        import httpx

        problem = ""
        for attempt in range(ATTEMPTS):
            pause = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
            if self.stop.is_set():
                raise SeedingStopped
            try:
                response = self.client.request(method, url, content=content, headers=dict(headers))
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.status_code in accept:
                    return response
                problem = described(response)
                if response.status_code not in BUSY:
                    raise DeploymentError(f"{what} was rejected: {problem}")
                seconds = retry_after(response.headers)
                pause = pause if seconds is None else min(seconds, LONGEST_RETRY_AFTER_SECONDS)
            if attempt + 1 < ATTEMPTS:
                with self._lock:
                    self.retries += 1
                self.stop.wait(pause)
        raise DeploymentError(f"{what} failed {ATTEMPTS} times: {problem}; the same command goes on from there")


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds to wait by Retry-After, which is a number or a date (RFC 9110, section 10.2.3); else None."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now())


def described(response: "httpx.Response") -> str:
    """Return the status, and the text of an OperationOutcome or another short response."""
    hints = dict.fromkeys((401, 403), " (is the token still valid, and does it grant this?)")
    hints[422] = " (if another version loaded this seed, give another --seed)"
    hint = hints.get(response.status_code, "")
    try:
        issue: Any = response.json()["issue"][0]
        text = " ".join(str(part) for part in (issue.get("diagnostics", ""), *issue.get("expression", ())))
    except (ValueError, LookupError, TypeError, AttributeError):
        text = " ".join(response.text.split())[:200]
    return f"{response.status_code}{hint} {text}".strip()


UPLOAD: Final = "urn:healthcare-dr:upload"
FHIR: Final = "application/fhir+json"
TIMEOUT_SECONDS: Final = 30.0
# A log contains one line of progress for each tenth.
PROGRESS_STEPS: Final = 10
LINE: Final = "patients"


@dataclass(frozen=True)
class Region:
    """The address of a region, and its share of requests."""

    name: str
    url: str
    weight: int


def serving_regions(status: Status, settings: Settings) -> tuple[Region, ...]:
    """Return the regions that serve, with their weights in DNS, or those of the settings if DNS has none.

    Raises:
        DeploymentError: no region serves.
    """
    configured = (settings.primary_weight, settings.secondary_weight)
    serving = tuple(
        Region(region.region, region.endpoint, weight if region.weight is None else region.weight)
        for region, weight in zip(status.regions, configured, strict=True)
        if region.endpoint is not None and region.health == "healthy" and region.drain != "draining"
    )
    if not serving:
        found = ", ".join(f"{region.region} is {region.health}" for region in status.regions)
        raise DeploymentError(f"no region serves ({found}): see `hdr status`, or begin with `hdr up`")
    return serving


@dataclass(frozen=True)
class Plan:
    """The data to load: patients, and `documents` for each, with `concurrency` requests at a time."""

    patients: int
    documents: int
    seed: int
    concurrency: int


@dataclass(frozen=True)
class SeedResult:
    """The loaded data and the duration. The API does not report which data existed before."""

    patients: int
    documents: int
    document_bytes: int
    seconds: float
    patients_per_second: float
    documents_per_second: float
    retries: int
    regions: dict[str, int]
    """The number of patients by the region that created them."""


@dataclass
class _Tally:
    done: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class Seeding:
    """One load. `token` is a bearer token; `ca_bundle` is the authority to trust if it is not a public one."""

    regions: tuple[Region, ...]
    token: str
    ca_bundle: Path | None
    progress: Progress

    def run(self, plan: Plan) -> SeedResult:
        """Create the patients and documents that do not exist. Each creation has an Idempotency-Key.

        Raises:
            DeploymentError: a request was rejected, or all attempts failed. The same plan continues from there.
        """
        began = time.monotonic()
        stop, tally, indices = threading.Event(), _Tally(), iter(range(plan.patients))
        with https_client(self.ca_bundle, timeout=TIMEOUT_SECONDS) as client:
            caller = RetryingClient(client=client, stop=stop)
            self.progress.begin(LINE, "loading")
            with ThreadPoolExecutor(plan.concurrency, "seed") as pool:
                try:
                    work = [
                        pool.submit(self._work, caller, plan, indices, tally)
                        for _ in range(min(plan.concurrency, plan.patients))
                    ]
                    wait(work, return_when=FIRST_EXCEPTION)
                finally:
                    # Only this thread receives Ctrl-C; the others end after their current request.
                    stop.set()
            _raise_first(work)
        seconds = time.monotonic() - began
        self.progress.end(LINE, f"{plan.patients} loaded, with {tally.documents} documents")
        return SeedResult(
            patients=plan.patients,
            documents=tally.documents,
            document_bytes=tally.size,
            seconds=round(seconds, 1),
            patients_per_second=round(plan.patients / seconds, 1),
            documents_per_second=round(tally.documents / seconds, 1),
            retries=caller.retries,
            regions={region.name: tally.done[region.name] for region in self.regions},
        )

    def _work(self, caller: RetryingClient, plan: Plan, indices: Iterator[int], tally: _Tally) -> None:
        while True:
            with tally.lock:
                index = next(indices, None)
            if index is None:
                return
            region = self.region_of(plan.seed, index)
            created = self._create(
                caller, region, "Patient", people.patient(plan.seed, index), people.key_of(plan.seed, index)
            )
            size = sum(
                self._document(caller, region, plan.seed, index, number, created["id"])
                for number in range(plan.documents)
            )
            with tally.lock:
                tally.done[region.name] += 1
                tally.documents += plan.documents
                tally.size += size
                self._report_progress(tally, plan, region)

    def region_of(self, seed: int, index: int) -> Region:
        """Return the region for a patient and its documents, by weight."""
        weights = [region.weight for region in self.regions]
        # The weight of the only region left may be 0; as in DNS, it then gets all requests.
        return people.chance(seed, index, "region").choices(self.regions, weights if any(weights) else None)[0]

    def _document(
        self, caller: RetryingClient, region: Region, seed: int, index: int, number: int, patient_id: str
    ) -> int:
        document = sample_documents.document(seed, index, number)
        announced = self._create(
            caller, region, "DocumentReference", document.of(patient_id), sample_documents.key_of(seed, index, number)
        )
        upload = upload_in(announced)
        # A document that was uploaded before has no upload address, or the upload returns 412.
        if upload is not None:
            caller.send(
                upload.method,
                upload.address,
                content=document.content,
                headers=upload.headers,
                accept=(200, 204, 412),
                what=f"the upload of document {number} of patient {index} to {region.name}",
            )
        return len(document.content)

    def _create(
        self, caller: RetryingClient, region: Region, kind: str, resource: Resource, key: str
    ) -> dict[str, Any]:
        response = caller.send(
            "POST",
            f"{region.url}/fhir/{kind}",
            content=people.encoded(resource),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": FHIR,
                "Accept": FHIR,
                "Idempotency-Key": key,
            },
            accept=(200, 201),
            what=f"{kind} {key} in {region.name}",
        )
        try:
            created = response.json()
        except ValueError:
            created = None
        if not isinstance(created, dict) or not isinstance(created.get("id"), str):
            raise DeploymentError(f"the response of the API of {region.name} to {kind} {key} has no id")
        return created

    def _report_progress(self, tally: _Tally, plan: Plan, region: Region) -> None:
        done = tally.done.total()
        tenth = done * PROGRESS_STEPS // plan.patients != (done - 1) * PROGRESS_STEPS // plan.patients
        if tenth:
            self.progress.complete(LINE, done=done, total=plan.patients, resource=f"{tally.documents} documents")
        else:
            self.progress.advance(LINE, done=done, total=plan.patients, current=region.name)


@dataclass(frozen=True)
class Upload:
    """The request that uploads a document's bytes."""

    method: str
    address: str
    headers: dict[str, str]


def upload_in(reference: Resource) -> Upload | None:
    """Return the upload that a DocumentReference requests; None without one."""
    extensions = [
        extension
        for content in reference.get("content", ())
        for extension in content.get("attachment", {}).get("extension", ())
        if extension.get("url") == UPLOAD
    ]
    if not extensions:
        return None
    parts = extensions[0].get("extension", ())
    address = next((part["valueUrl"] for part in parts if part.get("url") == "address"), None)
    if address is None:
        return None
    method = next((part["valueCode"] for part in parts if part.get("url") == "method"), "PUT")
    lines = [part["valueString"].partition(":") for part in parts if part.get("url") == "header"]
    return Upload(method, address, {name.strip(): value.strip() for name, _, value in lines})


def _raise_first(work: list[Future[None]]) -> None:
    for future in work:
        error = future.exception()
        if error is not None and not isinstance(error, SeedingStopped):
            raise error
