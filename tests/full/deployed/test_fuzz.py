"""Requests that schemathesis makes from the OpenAPI document, valid and not, against both regions.

For each of the operations of the document and in each region: `CASES` that fit the document and, where it asks for
anything at all, `CASES` that do not; about a thousand in all. HDR_FUZZ_CASES makes it more, the first of them the same.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import requests
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis import GenerationMode, Response
from schemathesis.core import NotSet
from schemathesis.schemas import APIOperation

from support.fuzzing import AIMS, DOCUMENT, Aim, AnyCase, Records, check, generated_from, headers_of, marked
from support.platform import REGIONS, Deployed

CASES: Final = int(os.environ.get("HDR_FUZZ_CASES", "16"))
BEYOND: Final = {"/drain/{region}", "/fhir/DocumentReference/{id}/$complete"}
TENANT: Final = "fuzz"
SCHEMA: Final = generated_from(DOCUMENT)
OPERATIONS: Final = {
    found.label: found
    for method, path in ((method, path) for path, methods in DOCUMENT["paths"].items() for method in methods)
    for found in [SCHEMA[path][method]]
}
Operation = APIOperation[Any, Any, Any, Any]


def if_match_of(case: AnyCase) -> dict[str, str]:
    return {name: value for name, value in headers_of(case).items() if name == "If-Match"}


def asks_for_anything(operation: Operation) -> bool:
    return bool(list(operation.iter_parameters()))


KINDS: Final = [
    pytest.param(label, mode, id=f"{label} {mode.value}")
    for label, operation in OPERATIONS.items()
    for mode in GenerationMode
    if mode.is_positive or asks_for_anything(operation)
]
# Those that clients are known to send, and any other name and parameters.
MEDIA_TYPES: Final = st.sampled_from(
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "text/html",
        "text/json",
        "application/xml",
        "application/fhir+xml",
        "application/json",
        "application/fhir+json",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/ndjson",
        "*/*",
        "application/*",
    ]
) | st.from_regex(r"[a-z]{1,12}/[a-z]([a-z.+-]{0,20}[a-z])?(; ?[a-z]{1,8}=[a-z0-9-]{1,8})?", fullmatch=True)
FITTING: Final = Aim(record=0, stale=False, mark=None, headers={})
BOUNDED = settings(
    max_examples=CASES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Sender:
    """One region's API as schemathesis calls it."""

    def __init__(self, deployed: Deployed, region: str) -> None:
        self.base = deployed.emulator.api_url(deployed.api_id(region))
        self.session = requests.Session()
        self.session.trust_env = False
        self.authority = str(deployed.emulator.certificate)

    def send(self, case: AnyCase, headers: dict[str, str]) -> Response:
        return case.call(base_url=self.base, session=self.session, headers=headers, verify=self.authority, timeout=30)


@pytest.fixture(scope="module", params=REGIONS)
def fuzzed(request: pytest.FixtureRequest, deployed: Deployed) -> Iterator[tuple[Sender, Records, str]]:
    region, token = str(request.param), deployed.token(tenant=TENANT)
    sender = Sender(deployed, region)
    with deployed.api(region, token) as client, sender.session:
        records = Records(client)
        records.fill()
        yield sender, records, token


@pytest.mark.requirement("C5")
@pytest.mark.parametrize(("label", "mode"), KINDS)
def test_every_answer_is_one_that_the_document_promises(
    fuzzed: tuple[Sender, Records, str], label: str, mode: GenerationMode
) -> None:
    sender, records, token = fuzzed
    sent: Counter[int] = Counter()

    @BOUNDED
    @given(OPERATIONS[label].as_strategy(generation_mode=mode), AIMS)
    def fuzz(case: AnyCase, aim: Aim) -> None:
        records.turn(case, aim)
        marked(case, aim)
        answer = sender.send(case, {**aim.headers, "Authorization": f"Bearer {token}"})
        sent[answer.status_code] += 1
        records.learn(aim, case, answer)
        check(case, aim, answer)

    fuzz()
    assert sent.total() >= CASES
    # Not only what stops at the door. What is drained, or can be completed, is another test's business.
    assert mode.is_negative or any(status < 300 for status in sent) or label.partition(" ")[2] in BEYOND, sent


@pytest.mark.parametrize(
    "label", [label for label, operation in OPERATIONS.items() if operation.definition.raw.get("requestBody")]
)
def test_a_body_of_a_media_type_that_is_not_documented_is_refused(
    fuzzed: tuple[Sender, Records, str], label: str
) -> None:
    """With everything else as documented, so that nothing but the media type can be the reason."""
    sender, records, token = fuzzed
    documented = set(OPERATIONS[label].definition.raw["requestBody"]["content"])

    @BOUNDED
    @given(OPERATIONS[label].as_strategy(generation_mode=GenerationMode.POSITIVE), MEDIA_TYPES)
    def fuzz(case: AnyCase, media_type: str) -> None:
        assume(media_type.partition(";")[0] not in documented and not isinstance(case.body, NotSet))
        records.turn(case, FITTING)
        case.headers = CaseInsensitiveDict(if_match_of(case))
        answer = sender.send(case, {"Content-Type": media_type, "Authorization": f"Bearer {token}"})
        assert answer.status_code == 415, (case, media_type, answer.text)
        check(case, replace(FITTING, headers={"Content-Type": media_type}), answer)

    fuzz()


def test_there_are_about_a_thousand_cases() -> None:
    assert {method.upper() for path in DOCUMENT["paths"].values() for method in path} == {
        label.partition(" ")[0] for label in OPERATIONS
    }
    assert len(OPERATIONS) == sum(len(path) for path in DOCUMENT["paths"].values())
    assert len(KINDS) * len(REGIONS) * CASES >= 950


@pytest.mark.requirement("C6")
@pytest.mark.parametrize(
    "label", [label for label, operation in OPERATIONS.items() if operation.definition.raw.get("security")]
)
@pytest.mark.parametrize("scopes", [None, ["system/Observation.cruds"]], ids=["no token", "no right"])
def test_refusals_of_a_caller_are_as_documented(
    fuzzed: tuple[Sender, Records, str], deployed: Deployed, label: str, scopes: list[str] | None
) -> None:
    sender, _, _ = fuzzed
    operation = OPERATIONS[label]
    headers = {"Authorization": f"Bearer {deployed.token(tenant=TENANT, scopes=scopes)}"} if scopes else {}
    parameters = {parameter.name: "1" for parameter in operation.path_parameters}
    answer = sender.send(operation.Case(path_parameters=parameters), headers)
    assert answer.status_code == (403 if scopes else 401)
    operation.validate_response(answer)
