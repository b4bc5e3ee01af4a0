"""What the API answers: plain data, until the edge turns it into what the router wants."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final, Self

from patient_api.errors import ApiError
from patient_api.etag import weak
from patient_api.patient import TYPE, Version

FHIR: Final = "application/fhir+json"


@dataclass(frozen=True)
class Answer:
    """`body` is JSON. Nothing the API says may be kept by anybody on the way."""

    status: int
    body: str
    content_type: str = FHIR
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, status: int, content: Mapping[str, object]) -> Self:
        """An answer that is not FHIR."""
        return cls(status, json.dumps(content, separators=(",", ":")), "application/json")

    @classmethod
    def version(cls, version: Version, *, status: int = 200) -> Self:
        """A version of a record; with 201 also where it is."""
        stamp = version.stamp
        headers = {
            "ETag": weak(str(stamp)),
            "Last-Modified": formatdate(stamp.millis // 1000, usegmt=True),
        }
        if status == 201:
            headers["Location"] = f"/fhir/{TYPE}/{version.key.id}/_history/{stamp}"
        return cls(status, version.resource, headers=headers)

    @classmethod
    def refusal(cls, error: ApiError) -> Self:
        """An OperationOutcome that says what was wrong with the call."""
        return cls.outcome(error.status, error.issue, error.diagnostics, headers=error.headers)

    @classmethod
    def outcome(cls, status: int, issue: str, diagnostics: str, *, headers: Mapping[str, str] | None = None) -> Self:
        """An OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html)."""
        resource = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": issue, "diagnostics": diagnostics}],
        }
        return cls(status, json.dumps(resource, separators=(",", ":")), headers=dict(headers or {}))
