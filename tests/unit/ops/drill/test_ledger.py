"""The ledger of a drill: missing writes, unfinished documents, and replication lag."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.journal import Written
from healthcare_dr.ops.drill.load.ledger import UNANSWERED_SECONDS, Endpoint, Ledger, Unfinished
from healthcare_dr.ops.seed.sample_documents import SHA256, sha256
from patient_api.contract.headers import NOT_YET_HERE
from unit.ops.drill.fakes import EAST, WEST, Region, until

BUCKETS = {"us-west-2": "documents-west"}
HERE = Endpoint(region="us-west-2", host="b.execute-api.us-west-2.amazonaws.com", address="127.0.0.3", port=9)


def document(
    bucket: str = "documents-west", *, state: str = "final", bytes_: bytes = b"letter", by_host: bool = False
) -> dict[str, Any]:
    """Return a DocumentReference with a URL in a bucket, unless it is empty; the announced hash is that of a letter."""
    host = f"{bucket}.s3.us-west-2.amazonaws.com" if by_host else f"127.0.0.1/{bucket}"
    attachment = {"extension": [{"url": SHA256, "valueBase64Binary": sha256(b"letter")}]}
    if bucket:
        attachment["url"] = f"https://{host}/documents/t/{bytes_.decode()}"  # type: ignore[assignment]
    return {"docStatus": state, "content": [{"attachment": attachment}]}


@dataclass
class RecordedLedger:
    """A ledger of one region, the requests that it sends, and its pauses."""

    ledger: Ledger
    requests: Counter[str]
    pauses: list[float]


def ledger_of(answer: Callable[[httpx.Request, int, float], httpx.Response]) -> RecordedLedger:
    """Return a ledger. `answer` gets the request, its number for that path, and the seconds since the first one."""
    pauses: list[float] = []
    requests: Counter[str] = Counter()

    def respond(request: httpx.Request) -> httpx.Response:
        requests[request.url.path] += 1
        return answer(request, requests[request.url.path], sum(pauses))

    made = Ledger(
        endpoints={HERE.region: HERE},
        buckets=BUCKETS,
        token="t",
        client=httpx.Client(transport=httpx.MockTransport(respond)),
        clock=lambda: 1.0 + sum(pauses),
        sleep=pauses.append,
    )
    return RecordedLedger(made, requests, pauses)


def forty(statuses: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> RecordedLedger:
    """Return a ledger of a write at each of 40 seconds, and a region with these statuses; without any, it is down."""

    def answer(request: httpx.Request, *_: object) -> httpx.Response:
        assert (request.headers["host"], request.extensions["sni_hostname"]) == (HERE.host, HERE.host)
        assert request.url.host == HERE.address
        if not statuses:
            raise httpx.ConnectError("no")
        return httpx.Response(statuses.get(request.url.path, 200), json=document())

    made = ledger_of(answer)
    with monkeypatch.context() as patched:
        for number in range(40):
            patched.setattr(made.ledger, "_clock", lambda number=number: float(number))
            region = "us-west-2" if number % 4 == 0 else "us-east-1"
            kind: Written = "document" if number % 2 else "patient"
            made.ledger.acknowledge(number=number, kind=kind, id=f"i{number}", region=region)
    return made


GONE = {"/fhir/DocumentReference/i31": 404, "/fhir/Patient/i38": 404, "/fhir/Patient/i36": 404}


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize(
    ("statuses", "options", "numbers", "looked_for", "seconds"),
    [
        (GONE, {}, (31, 38), 30, 8.5),
        (GONE, {"own": True}, (31, 36, 38), 40, 8.5),
        (GONE, {"numbers": (38, 37, 36)}, (38,), 2, 1.5),
        ({"/": 404}, {}, (), 30, 0.0),
        ({"/fhir/Patient/i38": 404}, {"fault_at": 5.0}, (38,), 30, 0.0),
    ],
    ids=["of others", "own too", "of some numbers", "none", "after the fault"],
)
def test_missing_writes_are_those_that_the_region_denies(
    monkeypatch: pytest.MonkeyPatch,
    statuses: dict[str, int],
    options: dict[str, Any],
    numbers: tuple[int, ...],
    looked_for: int,
    seconds: float,
) -> None:
    found = forty(statuses, monkeypatch).ledger.missing("us-west-2", **{"at": 50.0, "fault_at": 39.5, **options})
    assert (found.numbers, found.looked_for, found.seconds, found.at) == (numbers, looked_for, seconds, 50.0)


@pytest.mark.parametrize("statuses", [{}, {"/fhir/Patient/i38": 503}, {"/fhir/Patient/i38": 429}])
def test_write_without_an_answer_of_a_busy_region_is_unanswered(
    monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int]
) -> None:
    made = forty(statuses, monkeypatch)
    found = made.ledger.missing("us-west-2", at=50.0, fault_at=39.5)
    assert found.numbers == ()
    assert set(found.unanswered) == ({38} if statuses else {n for n in range(40) if n % 4})
    assert sum(made.pauses) >= UNANSWERED_SECONDS


def test_busy_region_is_asked_as_long_as_it_answers_for_other_writes() -> None:
    def answer(request: httpx.Request, _: int, seconds: float) -> httpx.Response:
        # One more write is answered every 50 s, which is shorter than a stall.
        number = int(request.url.path.rpartition("i")[2])
        return httpx.Response(200 if seconds > 50.0 * (number + 1) else 429)

    made = ledger_of(answer)
    for number in range(6):
        made.ledger.acknowledge(number=number, kind="patient", id=f"i{number}", region="us-east-1")
    found = made.ledger.missing("us-west-2", at=2.0, fault_at=2.0)
    assert (found.numbers, found.unanswered) == ((), ())
    assert sum(made.pauses) > 300.0


@pytest.mark.requirement("R4.2")
@pytest.mark.trap(1)
@pytest.mark.parametrize("absent", [httpx.Response(404), httpx.Response(503, text=f"... {NOT_YET_HERE}")])
def test_update_is_present_when_its_version_is(absent: httpx.Response) -> None:
    made = ledger_of(lambda request, *_: absent if request.url.path.endswith("v2") else httpx.Response(200))
    for number, version in enumerate(("v1", "v2")):
        made.ledger.acknowledge(number=number, kind="update", id="p", region="us-east-1", version=version)
    assert made.ledger.missing("us-west-2", at=2.0, fault_at=2.0).numbers == (1,)
    assert made.requests.keys() == {"/fhir/Patient/p/_history/v1", "/fhir/Patient/p/_history/v2"}


@pytest.mark.parametrize("trouble", [429, 503, None])
def test_busy_region_is_requested_again_with_growing_pauses(trouble: int | None) -> None:
    def answer(_: httpx.Request, time: int, __: float) -> httpx.Response:
        if time > 3:
            return httpx.Response(404)
        if trouble is None:
            raise httpx.ReadTimeout("no")
        return httpx.Response(trouble)

    made = ledger_of(answer)
    made.ledger.acknowledge(number=7, kind="patient", id="p", region="us-east-1")
    assert made.ledger.missing("us-west-2", at=2.0, fault_at=2.0).numbers == (7,)
    assert made.pauses == [0.5, 1.0, 2.0]


def test_error_that_is_not_temporary_is_raised_at_once() -> None:
    made = ledger_of(lambda *_: httpx.Response(403))
    made.ledger.acknowledge(number=7, kind="patient", id="p", region="us-east-1")
    with pytest.raises(DeploymentError, match="403"):
        made.ledger.missing("us-west-2", at=2.0, fault_at=2.0)
    assert (made.pauses, made.requests.total()) == ([], 1)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("by_host", [True, False])
@pytest.mark.parametrize(("bucket", "missing"), [("documents-west", ()), ("documents-east", (1,)), ("", (1,))])
def test_document_is_present_when_its_bytes_are_in_the_regions_own_bucket(
    bucket: str, missing: tuple[int, ...], by_host: bool
) -> None:
    made = ledger_of(lambda *_: httpx.Response(200, json=document(bucket, by_host=by_host)))
    made.ledger.acknowledge(number=1, kind="document", id="d", region="us-east-1")
    assert made.ledger.missing("us-west-2", at=2.0, fault_at=2.0).numbers == missing


@pytest.mark.requirement("C3")
def test_unfinished_documents_are_those_without_the_announced_bytes() -> None:
    states = {
        "a": document(), "b": document(state="preliminary"), "c": None, "d": document("documents-east"),
        "e": document(bytes_=b"rumour"),
    }  # fmt: skip

    def answer(request: httpx.Request, *_: object) -> httpx.Response:
        if not request.url.path.startswith("/fhir"):
            return httpx.Response(200, content=request.url.path.rpartition("/")[2].encode())
        state = states[request.url.path.removeprefix("/fhir/DocumentReference/")]
        return httpx.Response(404) if state is None else httpx.Response(200, json=state)

    made = ledger_of(answer)
    made.ledger.acknowledge(number=0, kind="patient", id="p", region="us-east-1")
    for number, id in enumerate(states, 1):
        made.ledger.acknowledge(
            number=number, kind="document", id=id, region="us-east-1" if number % 2 else "us-west-2"
        )
    assert made.ledger.unfinished("us-west-2").numbers == (2, 3, 4, 5)
    states["b"] = document()
    assert made.ledger.unfinished("us-west-2", numbers=(2, 3)).numbers == (3,)
    assert made.requests["/fhir/DocumentReference/a"] == 1


def test_response_that_is_no_document_is_an_error() -> None:
    made = ledger_of(lambda *_: httpx.Response(200, content=b"hello"))
    made.ledger.acknowledge(number=3, kind="document", id="d", region="us-east-1")
    with pytest.raises(DeploymentError, match="write 3"):
        made.ledger.unfinished("us-west-2")


def test_document_whose_bytes_a_busy_bucket_does_not_return_is_unanswered() -> None:
    made = ledger_of(
        lambda request, *_: (
            httpx.Response(200, json=document()) if request.url.path.startswith("/fhir") else httpx.Response(503)
        )
    )
    made.ledger.acknowledge(number=3, kind="document", id="d", region="us-east-1")
    assert made.ledger.unfinished("us-west-2") == Unfinished(numbers=(), unanswered=(3,))


@pytest.fixture
def following(ledger: Ledger) -> Iterator[Ledger]:
    ledger.start()
    yield ledger
    ledger.stop()


def test_lag_grows_until_the_patient_is_readable(regions: dict[str, Region], following: Ledger) -> None:
    following.acknowledge(number=1, kind="patient", id="x", region=EAST)
    until(lambda: WEST in following.lag())
    regions[WEST].readable = False
    following.acknowledge(number=2, kind="patient", id="y", region=EAST)
    until(lambda: following.lag().get(WEST, 0.0) > 0.3)
    regions[WEST].readable = True
    until(lambda: not following.awaited())
    assert following.lag()[WEST] > 0.3
    assert EAST not in following.lag()


def test_lag_is_unknown_before_anything_has_arrived(regions: dict[str, Region], following: Ledger) -> None:
    regions[WEST].readable = False
    following.acknowledge(number=1, kind="patient", id="x", region=EAST)
    until(lambda: len(regions[WEST].seen) > 1)
    assert following.lag() == {}
    assert set(following.awaited()) == {WEST}
    regions[WEST].readable = True
    until(lambda: not following.awaited())
