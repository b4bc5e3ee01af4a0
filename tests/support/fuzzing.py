"""Helpers of fuzzing beside schemathesis: target records, hostile values, and checks of responses."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal

import httpx
import schemathesis
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis import Case, Response
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.platform import MARKS, ROOT, patient

AnyCase = Case[Any]
DOCUMENT: Final = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
CONFORMING: Final = (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
# Not the date of birth, which is the server's own example of a date.
_PLANTED: Final = MARKS[:3]
_BYTES: Final = b"clearly fictitious"
# Those left out would make another message of it (Content-Length, Host, Transfer-Encoding) or another caller.
_HEADERS: Final = (
    "Accept", "Accept-Encoding", "Content-Encoding", "Content-Type", "Cookie", "Forwarded", "Idempotency-Key",
    "If-Match", "If-Modified-Since", "If-None-Exist", "If-None-Match", "Merges", "Minimum-Version", "Prefer", "Range",
    "X-Amzn-Request-Context", "X-Forwarded-For", "X-Forwarded-Host", "X-HTTP-Method-Override", "X-Tenant",
)  # fmt: skip
_FITTING: Final[dict[str, Any]] = {
    "application/json-patch+json": [{"op": "add", "path": "/active", "value": True}],
    "application/fhir+json": {"resourceType": "Parameters", "parameter": []},
}
_VALUES: Final = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(str.strip) | (
    st.sampled_from(
        [
            "*", ",", '"', 'W/"', 'W/"x", W/"y"', "application/fhir+json; charset=utf-16", "application/json;q=0",
            "gzip", "bytes=0-1", "return=minimal", "DELETE", "0" * 4000, "%0d%0aSet-Cookie:x=1", "identifier=|",
            "name=a&name=b", "_count=1", "clinic-a", "../../etc/passwd", "${jndi:ldap://x}", "'; --",
            "text/html,*/*;q=0.1", *_PLANTED,
        ]
    )
)  # fmt: skip


@dataclass(frozen=True)
class Aim:
    """The target of a case: `record` is the number of a record, None leaves the case as schemathesis made it.

    For record 0, writes have a valid body, so that they succeed unless another part is invalid.
    """

    record: int | None
    stale: bool
    mark: Literal["body", "query", "path"] | None
    headers: Mapping[str, str]

    @property
    def untouched(self) -> bool:
        return self.record is None and self.mark is None and not self.headers


AIMS: Final = st.builds(
    Aim,
    record=st.sampled_from([0, 0, 1, 2, 3, None]),
    stale=st.sampled_from([False, False, False, True]),
    mark=st.sampled_from([None, None, None, None, None, None, "body", "query", "path"]),
    headers=st.just({}) | st.just({}) | st.dictionaries(st.sampled_from(_HEADERS), _VALUES, max_size=3),
)


def generated_from(document: Mapping[str, Any]) -> BaseSchema:
    """The document as schemathesis reads it.

    Extensions, of which there are some thirty kinds and which every element may have, again and again, are generated
    for the resources only: with all of them a single case takes a second to make. Answers have to conform to the rest.
    """
    lean = json.loads(json.dumps(document))
    for name, schema in lean["components"]["schemas"].items():
        members = schema.get("properties", {})
        if name == "Extension":
            kept = ("url", "valueString", "valueDate", "valueDecimal", "valueBase64Binary", "valueBoolean")
            schema["properties"] = {member: members[member] for member in kept}
        elif name not in {"Patient", "DocumentReferenceAttachment"}:
            members.pop("extension", None)
        schema.pop("patternProperties", None)
    config = schemathesis.Config.from_dict(
        {
            "generation": {"with-security-parameters": False},
            "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
        }
    )
    return schemathesis.openapi.from_dict(lean, config=config)


@dataclass
class Records:
    """Records that exist, so that cases get further than to 404: patients, one of them deleted, and a document."""

    client: httpx.Client
    patients: list[tuple[str, str]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def fill(self) -> None:
        self.patients = [self._created() for _ in range(4)]
        id, _ = self.patients[3]
        assert self.client.delete(f"/fhir/Patient/{id}").status_code == 204
        announced = announcing(self.patients[0][0], {})
        answer = self.client.post("/fhir/DocumentReference", json=announced)
        assert answer.status_code == 201, answer.text
        self.documents = [answer.json()["id"]]

    def turn(self, case: AnyCase, aim: Aim) -> None:
        """Turn a case to a record that exists, with the version it has."""
        if aim.record is None:
            return
        id, etag = self.patients[aim.record]
        of_document = "DocumentReference" in case.path
        if "id" in case.path_parameters:
            case.path_parameters = {**case.path_parameters, "id": self.documents[0] if of_document else id}
        if _by_criteria(case):
            case.query = {"_id": id}
        if "vid" in case.path_parameters:
            case.path_parameters = {**case.path_parameters, "vid": etag[3:-1]}
        if case.method in {"PUT", "PATCH", "DELETE"} and not aim.stale:
            case.headers = CaseInsensitiveDict({**headers_of(case), "If-Match": etag})
        fits = aim.record == 0
        if isinstance(case.body, dict) and of_document and "$" not in case.path:
            case.body = announcing(id, {} if fits else case.body)
        elif isinstance(case.body, dict) and case.method == "PUT":
            whole: dict[str, Any] = patient() if fits else case.body
            case.body = {**whole, "id": id}
        elif fits and case.method == "PATCH":
            case.body = _FITTING.get(str(case.media_type), {"active": True})

    def learn(self, aim: Aim, case: AnyCase, answer: Response) -> None:
        """Keep up with what a case did to the record it was aimed at."""
        if aim.record is None or not (_by_criteria(case) or "Patient/{id}" in case.path):
            return
        if case.method in {"GET", "POST"}:
            return
        if answer.status_code == 200:
            self.patients[aim.record] = (self.patients[aim.record][0], answer.headers["etag"][0])
        elif answer.status_code == 204 and aim.record < 3:
            self.patients[aim.record] = self._created()

    def _created(self) -> tuple[str, str]:
        answer = self.client.post("/fhir/Patient", json=patient(multipleBirthInteger=next(self._numbers)))
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], answer.headers["etag"]


def _by_criteria(case: AnyCase) -> bool:
    """Return whether a case changes the record that its query matches."""
    return case.path == "/fhir/Patient" and case.method in {"PUT", "PATCH", "DELETE"}


def headers_of(case: AnyCase) -> dict[str, str]:
    return dict(case.headers.items()) if case.headers else {}


def announcing(patient_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A DocumentReference for that patient, with an attachment that fits together."""
    digest = base64.b64encode(hashlib.sha256(_BYTES).digest()).decode()
    attachment = {
        "contentType": "text/plain",
        "size": len(_BYTES),
        "extension": [{"url": "urn:healthcare-dr:sha256", "valueBase64Binary": digest}],
    }
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        **body,
        "subject": {"reference": f"Patient/{patient_id}"},
        "content": [{"attachment": attachment}],
    }


def marked(case: AnyCase, aim: Aim) -> None:
    """Put what stands for patient data where a refusal might repeat it."""
    family, given, number = _PLANTED
    if aim.mark == "body" and isinstance(case.body, dict):
        case.body = {**case.body, "gender": family, "language": number}
    elif aim.mark == "query" and case.query:
        case.query = {name: f"{family} {given}{value}" for name, value in case.query.items()}
    elif aim.mark == "path" and case.path_parameters:
        case.path_parameters = dict.fromkeys(case.path_parameters, f"{family}_{number}")


def check(case: AnyCase, aim: Aim, answer: Response) -> None:
    """Assert that the response is documented and reveals nothing internal."""
    waits = "Minimum-Version" in {**headers_of(case), **aim.headers} and "retry-after" in answer.headers
    assert answer.status_code < 500 or (answer.status_code == 503 and waits), (case, aim, answer.text)
    assert "Traceback" not in answer.text
    if answer.status_code >= 400:
        assert not [mark for mark in _PLANTED if mark in f"{answer.text} {answer.headers}"], (
            answer.text,
            answer.headers,
        )
    assert "set-cookie" not in answer.headers
    checks = [*CONFORMING, negative_data_rejection] if aim.untouched else [*CONFORMING]
    case.validate_response(answer, checks=checks)
