"""Load fictitious patients and documents through the API of both regions.

Requests are repeated while a region is busy or unreachable, if a repetition changes nothing.
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

if TYPE_CHECKING:
    import httpx


ATTEMPTS: Final = 8
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_ASKED_SECONDS: Final = 120.0
# 409 is another attempt of the same call that is still under way.
BUSY: Final = frozenset({409, 429, 502, 503, 504})


class SeedingStopped(Exception):  # noqa: N818 - nothing is wrong
    """The load was interrupted: no further request is sent."""


@dataclass
class RetryingClient:
    """Repeats calls. Each has to be one that may be repeated; threads may share it."""

    client: "httpx.Client"
    stop: threading.Event
    retries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(
        self, method: str, url: str, *, content: bytes, headers: Mapping[str, str], accept: Iterable[int], what: str
    ) -> "httpx.Response":
        """The answer, whose status is one of `accept`.

        Raises:
            DeploymentError: refused, or not answered in spite of all attempts; it names `what`, never an address.
            Stopped: the work was ended meanwhile.
        """
        import httpx

        trouble = "no answer"
        for attempt in range(ATTEMPTS):
            pause = min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS)
            if self.stop.is_set():
                raise SeedingStopped
            try:
                answer = self.client.request(method, url, content=content, headers=dict(headers))
            except httpx.TransportError as error:
                trouble = str(error) or type(error).__name__
            else:
                if answer.status_code in accept:
                    return answer
                trouble = described(answer)
                if answer.status_code not in BUSY:
                    raise DeploymentError(f"{what} was refused: {trouble}")
                asked = retry_after(answer.headers)
                pause = pause if asked is None else min(asked, LONGEST_ASKED_SECONDS)
            if attempt + 1 < ATTEMPTS:
                with self._lock:
                    self.retries += 1
                self.stop.wait(pause)
        raise DeploymentError(f"{what} failed {ATTEMPTS} times: {trouble}; the same command goes on from there")


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds in Retry-After, given as such or as a date; None without it (RFC 9110, section 10.2.3)."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now())


def described(answer: "httpx.Response") -> str:
    """Return the status, and the text of an OperationOutcome or another short response."""
    hint = " (is the token still valid, and does it grant this?)" if answer.status_code in {401, 403} else ""
    try:
        issue: Any = answer.json()["issue"][0]
        said = " ".join(str(part) for part in (issue.get("diagnostics", ""), *issue.get("expression", ())))
    except (ValueError, LookupError, TypeError, AttributeError):
        said = " ".join(answer.text.split())[:200]
    return f"{answer.status_code}{hint} {said}".strip()


UPLOAD: Final = "urn:healthcare-dr:upload"
FHIR: Final = "application/fhir+json"
TIMEOUT_SECONDS: Final = 30.0
# In a log, progress is one line for each tenth.
PROGRESS_STEPS: Final = 10
LINE: Final = "patients"


@dataclass(frozen=True)
class Region:
    """The address of a region, and its share of requests."""

    name: str
    url: str
    weight: int


@dataclass(frozen=True)
class Plan:
    """The data to load: patients, and `documents` for each. `concurrency` requests at a time."""

    patients: int
    documents: int
    seed: int
    concurrency: int


@dataclass(frozen=True)
class SeedResult:
    """The loaded data and the duration. The API does not report which of it existed before."""

    patients: int
    documents: int
    document_bytes: int
    seconds: float
    patients_per_second: float
    documents_per_second: float
    retries: int
    regions: dict[str, int]
    """Patients by the region that took them."""


@dataclass
class _Tally:
    done: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class Seeding:
    """One load. `token` is a bearer token; `ca_bundle` the authority to trust where it is not a public one."""

    regions: tuple[Region, ...]
    token: str
    ca_bundle: Path | None
    progress: Progress

    def run(self, plan: Plan) -> SeedResult:
        """Create what is not there yet; what is, stays as it is, since each creation carries a key of its own.

        Raises:
            DeploymentError: a call was refused, or failed in spite of repetitions; the same plan goes on from there.
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
                    # Ctrl-C comes to this thread alone: the others end after the call they are in.
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
        """The region that takes a patient and all that belongs to it: a client stays with the one that DNS named."""
        weights = [region.weight for region in self.regions]
        # Of a single region that is left, the weight may be 0; then it takes everything, as in DNS.
        return people.chance(seed, index, "region").choices(self.regions, weights if any(weights) else None)[0]

    def _document(
        self, caller: RetryingClient, region: Region, seed: int, index: int, number: int, patient_id: str
    ) -> int:
        paper = sample_documents.paper(seed, index, number)
        announced = self._create(
            caller, region, "DocumentReference", paper.of(patient_id), sample_documents.key_of(seed, index, number)
        )
        upload = upload_in(announced)
        # What was uploaded before needs no address any more, and an address does not replace a document (412).
        if upload is not None:
            caller.send(
                upload.method,
                upload.address,
                content=paper.content,
                headers=upload.headers,
                accept=(200, 204, 412),
                what=f"the upload of document {number} of patient {index} to {region.name}",
            )
        return len(paper.content)

    def _create(
        self, caller: RetryingClient, region: Region, kind: str, resource: Resource, key: str
    ) -> dict[str, Any]:
        answer = caller.send(
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
            created = answer.json()
        except ValueError:
            created = None
        if not isinstance(created, dict) or not isinstance(created.get("id"), str):
            raise DeploymentError(f"the API of {region.name} answered {kind} {key} with something that has no id")
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
