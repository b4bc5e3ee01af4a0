"""Puts the fictitious people into the platform: through the API, from both regions, as clients would."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.probe import https_client
from healthcare_dr.ops.seed import papers, people
from healthcare_dr.ops.seed.caller import Caller, Stopped
from healthcare_dr.ops.seed.people import Resource

UPLOAD: Final = "urn:healthcare-dr:upload"
FHIR: Final = "application/fhir+json"
TIMEOUT_SECONDS: Final = 30.0
# Lines in a log that somebody reads: one for each tenth.
TOLD: Final = 10
LINE: Final = "patients"


@dataclass(frozen=True)
class Region:
    """Where calls go, and its share of them."""

    name: str
    url: str
    weight: int


@dataclass(frozen=True)
class Plan:
    """What is to be there: `documents` of each patient. `concurrency` calls at a time."""

    patients: int
    documents: int
    seed: int
    concurrency: int


@dataclass(frozen=True)
class Seeded:
    """What is there now, and what it took. The API does not tell what was there before."""

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

    def run(self, plan: Plan) -> Seeded:
        """Create what is not there yet; what is, stays as it is, since each creation carries a key of its own.

        Raises:
            DeploymentError: a call was refused, or failed in spite of repetitions; the same plan goes on from there.
        """
        began = time.monotonic()
        stop, tally, indices = threading.Event(), _Tally(), iter(range(plan.patients))
        with https_client(self.ca_bundle, timeout=TIMEOUT_SECONDS) as client:
            caller = Caller(client=client, stop=stop)
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
        return Seeded(
            patients=plan.patients,
            documents=tally.documents,
            document_bytes=tally.size,
            seconds=round(seconds, 1),
            patients_per_second=round(plan.patients / seconds, 1),
            documents_per_second=round(tally.documents / seconds, 1),
            retries=caller.retries,
            regions={region.name: tally.done[region.name] for region in self.regions},
        )

    def _work(self, caller: Caller, plan: Plan, indices: Iterator[int], tally: _Tally) -> None:
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
                self._tell(tally, plan, region)

    def region_of(self, seed: int, index: int) -> Region:
        """The region that takes a patient and all that belongs to it: a client stays with the one that DNS named."""
        weights = [region.weight for region in self.regions]
        # Of a single region that is left, the weight may be 0; then it takes everything, as in DNS.
        return people.chance(seed, index, "region").choices(self.regions, weights if any(weights) else None)[0]

    def _document(self, caller: Caller, region: Region, seed: int, index: int, number: int, patient_id: str) -> int:
        paper = papers.paper(seed, index, number)
        announced = self._create(
            caller, region, "DocumentReference", paper.of(patient_id), papers.key_of(seed, index, number)
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

    def _create(self, caller: Caller, region: Region, kind: str, resource: Resource, key: str) -> dict[str, Any]:
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

    def _tell(self, tally: _Tally, plan: Plan, region: Region) -> None:
        done = tally.done.total()
        tenth = done * TOLD // plan.patients != (done - 1) * TOLD // plan.patients
        if tenth:
            self.progress.complete(LINE, done=done, total=plan.patients, resource=f"{tally.documents} documents")
        else:
            self.progress.advance(LINE, done=done, total=plan.patients, current=region.name)


@dataclass(frozen=True)
class Upload:
    """Where the bytes of a document go, and how."""

    method: str
    address: str
    headers: dict[str, str]


def upload_in(reference: Resource) -> Upload | None:
    """The upload that a DocumentReference asks for; None when it asks for none."""
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
        if error is not None and not isinstance(error, Stopped):
            raise error
