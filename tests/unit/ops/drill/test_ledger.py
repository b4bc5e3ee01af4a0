"""What a drill's ledger finds missing."""

import httpx
import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.ledger import Endpoint, Ledger

HERE = Endpoint(region="us-west-2", host="b.execute-api.us-west-2.amazonaws.com", address="127.0.0.3", port=9)


def ledger(answers: dict[str, int], now: list[float]) -> Ledger:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["host"] == HERE.host
        assert request.extensions["sni_hostname"] == HERE.host
        assert request.url.host == HERE.address
        if not answers:
            raise httpx.ConnectError("no")
        return httpx.Response(answers.get(request.url.path, 200))

    client = httpx.Client(transport=httpx.MockTransport(answer))
    made = Ledger(endpoints={HERE.region: HERE}, token="t", client=client, clock=lambda: now[0])
    for number in range(40):
        now[0] = float(number)
        region = "us-west-2" if number % 4 == 0 else "us-east-1"
        made.acknowledge(number=number, kind="document" if number % 2 else "patient", id=f"i{number}", region=region)
    return made


@pytest.mark.requirement("R4.2")
def test_missing_are_those_of_the_other_region_that_are_not_there() -> None:
    gone = {"/fhir/DocumentReference/i31": 404, "/fhir/Patient/i38": 404, "/fhir/Patient/i36": 404}
    found = ledger(gone, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5)
    assert (found.numbers, found.looked_for, found.seconds, found.at) == ((31, 38), 30, 8.5, 50.0)


def test_nothing_missing_reaches_back_no_time() -> None:
    found = ledger({"/": 404}, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5)
    assert (found.numbers, found.seconds) == ((), 0.0)


def test_writes_after_the_fault_reach_back_no_time() -> None:
    assert ledger({"/fhir/Patient/i38": 404}, [0.0]).missing("us-west-2", at=50.0, fault_at=5.0).seconds == 0.0


@pytest.mark.parametrize(("answers", "said"), [({}, "ConnectError"), ({"/fhir/Patient/i38": 503}, "503")])
def test_a_region_that_does_not_tell_is_an_error_not_a_loss(answers: dict[str, int], said: str) -> None:
    with pytest.raises(DeploymentError, match=said) as caught:
        ledger(answers, [0.0]).missing("us-west-2", at=50.0, fault_at=39.5)
    assert "\n" not in str(caught.value)
    assert "i38" not in str(caught.value)
