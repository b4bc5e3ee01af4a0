"""What a drill's ledger finds missing."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.load.ledger import UNANSWERED_SECONDS, Endpoint, Ledger, Unfinished
from healthcare_dr.ops.seed.sample_documents import SHA256, sha256

BUCKETS = {"us-west-2": "documents-west"}
HERE = Endpoint(region="us-west-2", host="b.execute-api.us-west-2.amazonaws.com", address="127.0.0.3", port=9)


def document(
    bucket: str = "documents-west", *, state: str = "final", bytes_: bytes = b"letter", by_host: bool = False
) -> dict[str, Any]:
    """A DocumentReference whose bytes a bucket gives, if one does; what was announced are those of a letter."""
    host = f"{bucket}.s3.us-west-2.amazonaws.com" if by_host else f"127.0.0.1/{bucket}"
    attachment = {"extension": [{"url": SHA256, "valueBase64Binary": sha256(b"letter")}]}
    if bucket:
        attachment["url"] = f"https://{host}/documents/t/{bytes_.decode()}"  # type: ignore[assignment]
    return {"docStatus": state, "content": [{"attachment": attachment}]}


def ledger(answers: dict[str, int], now: list[float]) -> Ledger:
    def sleep(seconds: float) -> None:
        now[0] += seconds

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["host"] == HERE.host
        assert request.extensions["sni_hostname"] == HERE.host
        assert request.url.host == HERE.address
        if not answers:
            raise httpx.ConnectError("no")
        return httpx.Response(answers.get(request.url.path, 200), json=document())

    client = httpx.Client(transport=httpx.MockTransport(answer))
    made = Ledger(
        endpoints={HERE.region: HERE},
        buckets=BUCKETS,
        token="t",
        client=client,
        clock=lambda: now[0],
        sleep=sleep,
    )
    for number in range(40):
        now[0] = float(number)
        region = "us-west-2" if number % 4 == 0 else "us-east-1"
        made.acknowledge(number=number, kind="document" if number % 2 else "patient", id=f"i{number}", region=region)
    return made


@pytest.mark.requirement("R4.2")
@pytest.mark.parametrize(("own", "numbers", "count"), [(False, (31, 38), 30), (True, (31, 36, 38), 40)])
def test_missing_are_those_that_are_not_there(own: bool, numbers: tuple[int, ...], count: int) -> None:
    gone = {"/fhir/DocumentReference/i31": 404, "/fhir/Patient/i38": 404, "/fhir/Patient/i36": 404}
    found = ledger(gone, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5, own=own)
    assert (found.numbers, found.looked_for, found.seconds, found.at) == (numbers, count, 8.5, 50.0)


def test_nothing_missing_reaches_back_no_time() -> None:
    found = ledger({"/": 404}, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5)
    assert (found.numbers, found.seconds) == ((), 0.0)


def test_writes_after_the_fault_reach_back_no_time() -> None:
    assert ledger({"/fhir/Patient/i38": 404}, [0.0]).missing("us-west-2", at=50.0, fault_at=5.0).seconds == 0.0


@pytest.mark.parametrize("answers", [{}, {"/fhir/Patient/i38": 503}, {"/fhir/Patient/i38": 429}])
def test_write_that_a_busy_region_never_answers_for_is_unanswered_and_not_missing(answers: dict[str, int]) -> None:
    now = [0.0]
    found = ledger(answers, now).missing("us-west-2", at=50.0, fault_at=39.5)
    assert found.numbers == ()
    assert set(found.unanswered) == ({38} if answers else {n for n in range(40) if n % 4})
    assert now[0] >= 39.0 + UNANSWERED_SECONDS


def test_busy_region_is_asked_for_as_long_as_it_answers_for_other_writes() -> None:
    now, asked = [0.0], Counter[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        # It answers for one more write every 50 s, which is less than what counts as no progress.
        asked[request.url.path] += 1
        number = int(request.url.path.rpartition("i")[2])
        return httpx.Response(200 if now[0] > 50.0 * (number + 1) else 429)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    client = httpx.Client(transport=httpx.MockTransport(answer))
    made = Ledger(
        endpoints={HERE.region: HERE}, buckets=BUCKETS, token="t", client=client, clock=lambda: now[0], sleep=sleep
    )
    for number in range(6):
        made.acknowledge(number=number, kind="patient", id=f"i{number}", region="us-east-1")
    found = made.missing("us-west-2", at=2.0, fault_at=2.0)
    assert (found.numbers, found.unanswered) == ((), ())
    assert now[0] > 300.0


def test_only_the_numbers_that_are_asked_for_are_looked_for() -> None:
    gone = {"/fhir/DocumentReference/i31": 404, "/fhir/Patient/i38": 404, "/fhir/Patient/i36": 404}
    found = ledger(gone, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5, numbers=(38, 37, 36))
    assert (found.numbers, found.looked_for) == ((38,), 2)


def told(answer: Callable[[httpx.Request, int], httpx.Response]) -> tuple[Ledger, list[float], Counter[str]]:
    """A ledger whose region answers as told, given how often that path was asked for; its pauses; what was asked."""
    pauses: list[float] = []
    asked: Counter[str] = Counter()

    def counted(request: httpx.Request) -> httpx.Response:
        asked[request.url.path] += 1
        return answer(request, asked[request.url.path])

    client = httpx.Client(transport=httpx.MockTransport(counted))
    made = Ledger(
        endpoints={HERE.region: HERE},
        buckets=BUCKETS,
        token="t",
        client=client,
        clock=lambda: 1.0 + sum(pauses),
        sleep=pauses.append,
    )
    return made, pauses, asked


@pytest.mark.requirement("R4.2")
@pytest.mark.trap(1)
def test_an_update_is_there_when_its_version_is() -> None:
    made, _, asked = told(lambda request, _: httpx.Response(404 if request.url.path.endswith("v2") else 200))
    for number, version in enumerate(("v1", "v2")):
        made.acknowledge(number=number, kind="update", id="p", region="us-east-1", version=version)
    assert made.missing("us-west-2", at=2.0, fault_at=2.0).numbers == (1,)
    assert asked.keys() == {"/fhir/Patient/p/_history/v1", "/fhir/Patient/p/_history/v2"}


@pytest.mark.parametrize("trouble", [429, 503, None])
def test_a_loaded_region_is_asked_again_before_anything_is_said(trouble: int | None) -> None:
    def answer(_: httpx.Request, time: int) -> httpx.Response:
        if time > 3:
            return httpx.Response(404)
        if trouble is None:
            raise httpx.ReadTimeout("no")
        return httpx.Response(trouble)

    made, pauses, _ = told(answer)
    made.acknowledge(number=7, kind="patient", id="p", region="us-east-1")
    assert made.missing("us-west-2", at=2.0, fault_at=2.0).numbers == (7,)
    assert pauses == [0.5, 1.0, 2.0]


def test_what_no_waiting_mends_is_said_at_once() -> None:
    made, pauses, asked = told(lambda *_: httpx.Response(403))
    made.acknowledge(number=7, kind="patient", id="p", region="us-east-1")
    with pytest.raises(DeploymentError, match="403"):
        made.missing("us-west-2", at=2.0, fault_at=2.0)
    assert (pauses, asked.total()) == ([], 1)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("by_host", [True, False])
@pytest.mark.parametrize(("bucket", "missing"), [("documents-west", ()), ("documents-east", (1,)), ("", (1,))])
def test_a_document_is_there_when_its_bytes_are_in_the_regions_own_bucket(
    bucket: str, missing: tuple[int, ...], by_host: bool
) -> None:
    made, *_ = told(lambda *_: httpx.Response(200, json=document(bucket, by_host=by_host)))
    made.acknowledge(number=1, kind="document", id="d", region="us-east-1")
    assert made.missing("us-west-2", at=2.0, fault_at=2.0).numbers == missing


@pytest.mark.requirement("C3")
def test_unfinished_are_the_documents_without_the_right_bytes_wherever_they_were_acknowledged() -> None:
    states = {
        "a": document(), "b": document(state="preliminary"), "c": None, "d": document("documents-east"),
        "e": document(bytes_=b"rumour"),
    }  # fmt: skip

    def answer(request: httpx.Request, _: int) -> httpx.Response:
        if not request.url.path.startswith("/fhir"):
            return httpx.Response(200, content=request.url.path.rpartition("/")[2].encode())
        state = states[request.url.path.removeprefix("/fhir/DocumentReference/")]
        return httpx.Response(404) if state is None else httpx.Response(200, json=state)

    made, _, asked = told(answer)
    made.acknowledge(number=0, kind="patient", id="p", region="us-east-1")
    for number, id in enumerate(states, 1):
        made.acknowledge(number=number, kind="document", id=id, region="us-east-1" if number % 2 else "us-west-2")
    assert made.unfinished("us-west-2").numbers == (2, 3, 4, 5)
    states["b"] = document()
    assert made.unfinished("us-west-2", numbers=(2, 3)).numbers == (3,)
    assert asked["/fhir/DocumentReference/a"] == 1


def test_what_is_no_document_of_the_platform_is_said() -> None:
    made, *_ = told(lambda *_: httpx.Response(200, content=b"hello"))
    made.acknowledge(number=3, kind="document", id="d", region="us-east-1")
    with pytest.raises(DeploymentError, match="write 3"):
        made.unfinished("us-west-2")


def test_document_whose_bytes_are_not_given_for_lack_of_time_is_unanswered() -> None:
    made, *_ = told(
        lambda request, _: (
            httpx.Response(200, json=document()) if request.url.path.startswith("/fhir") else httpx.Response(503)
        )
    )
    made.acknowledge(number=3, kind="document", id="d", region="us-east-1")
    assert made.unfinished("us-west-2") == Unfinished(numbers=(), unanswered=(3,))
