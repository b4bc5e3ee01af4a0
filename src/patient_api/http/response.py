"""Responses of the API, as plain data until the dispatcher converts them to API Gateway's format."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Self

from patient_api.contract.headers import CONTENT_TYPE, ETAG, FHIR_JSON, JSON, LAST_MODIFIED, LOCATION
from patient_api.contract.keys import PATIENT
from patient_api.errors import ApiError
from patient_api.http.negotiation import preferences
from patient_api.http.preconditions import weak
from patient_api.http.request import Request
from patient_api.store.model import Version

LARGEST_INDENTED: Final = 4 * 1024 * 1024
"""Characters of a response with line breaks. A longer one is compact: Lambda returns at most 6 MB."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


@dataclass(frozen=True)
class Response:
    """A response. `body` is JSON or empty. Responses must not be cached."""

    status: int
    body: str
    content_type: str = FHIR_JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, status: int, content: Mapping[str, object]) -> Self:
        """Return a JSON response that is not FHIR."""
        return cls(status, json.dumps(content, separators=(",", ":")), JSON)

    @classmethod
    def version(
        cls, version: Version, *, status: int = HTTPStatus.OK, whole: bool = True, base: str | None = None
    ) -> Self:
        """Return the response with a version of a record, or only with its headers; with a FHIR base, also its
        location.
        """
        stamp = version.stamp
        headers = {
            ETAG: weak(str(stamp)),
            LAST_MODIFIED: formatdate(stamp.millis // 1000, usegmt=True),
        }
        if base is not None:
            versioned = f"/_history/{stamp}" if version.key.type == PATIENT else ""
            headers[LOCATION] = f"{base}/{version.key.reference}{versioned}"
        return cls(status, (version.resource or "") if whole else "", headers=headers)

    @classmethod
    def written(
        cls,
        version: Version,
        request: Request,
        *,
        status: int = HTTPStatus.OK,
        shown: bool = True,
        text: str = "The record was written.",
    ) -> Self:
        """Return the response to a write, in the form that the client prefers (https://hl7.org/fhir/R4/http.html#ops).

        Without a preference that is the resource. `shown` is False when the client has no right to read it. `text` is
        the diagnostics of an OperationOutcome.
        """
        preferred = preferences(request).get("return")
        response = cls.version(
            version,
            status=status,
            whole=shown and preferred not in {"minimal", "operationoutcome"},
            base=request.base if status == HTTPStatus.CREATED else None,
        )
        if preferred != "operationoutcome":
            return response
        return replace(response, body=cls.outcome(status, "informational", text, severity="information").body)

    @classmethod
    def refusal(cls, error: ApiError) -> Self:
        """Return an OperationOutcome with the error."""
        return cls.outcome(
            error.status, error.issue, error.diagnostics, headers=error.headers, expression=error.expression
        )

    @classmethod
    def outcome(
        cls,
        status: int,
        issue: str,
        diagnostics: str,
        *,
        headers: Mapping[str, str] | None = None,
        expression: str | None = None,
        severity: str = "error",
    ) -> Self:
        """Return an OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html) with one issue."""
        one = _issue(severity, issue, diagnostics, expression)
        return replace(cls._of_issues([one], status=status), headers=dict(headers or {}))

    @classmethod
    def validation(cls, problems: Sequence[ApiError]) -> Self:
        """Return an OperationOutcome with the problems of a resource, or with the information that there are none."""
        if not problems:
            return cls.outcome(HTTPStatus.OK, "informational", "The resource is valid.", severity="information")
        issues = [_issue("error", one.issue, one.diagnostics, one.expression) for one in problems]
        return cls._of_issues(issues)

    @classmethod
    def _of_issues(cls, issues: Sequence[Mapping[str, object]], *, status: int = HTTPStatus.OK) -> Self:
        resource = {"resourceType": "OperationOutcome", "issue": issues}
        return cls(status, json.dumps(resource, separators=(",", ":")))

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return the response with additional headers."""
        return replace(self, headers={**self.headers, **headers})

    def event(self, *, fhir: str = FHIR_JSON, headers_only: bool = False, indent: bool = False) -> dict[str, Any]:
        """Return the response in API Gateway's payload format 2.0; `fhir` is the media type of FHIR bodies.

        With `indent` the body has line breaks, up to LARGEST_INDENTED characters.
        """
        headers = {"cache-control": "no-store", **{name.lower(): value for name, value in self.headers.items()}}
        if self.body:
            headers[CONTENT_TYPE.lower()] = fhir if self.content_type == FHIR_JSON else self.content_type
        body = "" if headers_only else indented(self.body) if indent else self.body
        return {"statusCode": int(self.status), "headers": headers, "body": body, "isBase64Encoded": False}


def indented(text: str) -> str:
    """Return JSON with line breaks and the same tokens; unchanged if the result would be too long."""
    parts: list[str] = []
    depth, size, opened = 0, 0, False
    for match in _TOKEN.finditer(text):
        part = match[0]
        closes, opens = part in {"}", "]"}, part in {"{", "["}
        depth -= closes
        # An empty object or list stays on one line.
        broken = closes != opened
        if broken:
            part = f"\n{'  ' * depth}{part}"
        elif part == ",":
            part = f",\n{'  ' * depth}"
        elif part == ":":
            part = ": "
        depth += opens
        opened = opens
        parts.append(part)
        size += len(part)
        if size > LARGEST_INDENTED:
            return text
    return "".join(parts)


def _issue(severity: str, code: str, diagnostics: str, expression: str | None) -> Mapping[str, object]:
    issue: dict[str, object] = {"severity": severity, "code": code, "diagnostics": diagnostics}
    return issue if expression is None else issue | {"expression": [expression]}
