"""The routes of the API, and the rights that each needs.

The dispatcher, the gateway, the CapabilityStatement and the OpenAPI document derive from this table.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from patient_api.contract.headers import (
    FHIR_JSON,
    FORM,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_EXIST,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    MERGES,
    MINIMUM_VERSION,
    PREFER,
)
from patient_api.contract.keys import AUDIT_EVENT, DOCUMENT, PATIENT

FHIR_BODY: Final = (FHIR_JSON, JSON)
PATCH_BODY: Final = (JSON_PATCH, MERGE_PATCH, *FHIR_BODY)
FORM_BODY: Final = (FORM,)

# Statuses that the gateway and the dispatcher may return for any route.
COMMON_STATUSES: Final = (400, 401, 403, 406, 429, 500, 503)

CLIENT_STAGE: Final = "$default"
"""The stage of the API that clients call. Its URLs do not contain its name."""
PROBE_STAGE: Final = "probes"
"""The stage of the API that health checkers call, as `/probes/health`. It serves the routes that they request, and no
other route, because it has no access log (ADR 0030)."""


@dataclass(frozen=True)
class Route:
    """One method on one path.

    A route for GET also serves HEAD.

    Attributes:
        interaction: its FHIR code (http://hl7.org/fhir/R4/valueset-restful-interaction.html); None outside FHIR.
        type: the resource type; None for routes that need no token.
        right: the letter of the SMART scope that it needs on `type`.
        headers: the request headers that its operation evaluates. Other preconditions are refused.
        parameters: query parameters beside the general ones; for searches, see the search parameters.
        conditional: whether search criteria in the query name the record. Needs the rights to search and to read too.
        probed: whether health checkers request it, in `PROBE_STAGE`.
    """

    operation: str
    method: str
    path: str
    summary: str
    statuses: tuple[int, ...]
    interaction: str | None = None
    type: str | None = None
    right: str | None = None
    body: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    searches: bool = False
    conditional: bool = False
    probed: bool = False

    @property
    def fhir(self) -> bool:
        """Return whether the route uses FHIR's media types and general parameters."""
        return self.path.startswith("/fhir/") and not self.path.startswith("/fhir/.")

    @property
    def preferences(self) -> tuple[str, ...]:
        """Return the preferences in Prefer that it honours, in lower case. Others of these names are refused."""
        handling = ("handling=strict", "handling=lenient") if self.searches else ("handling=strict",)
        if self.method == "DELETE":
            return ("return=minimal", *handling)
        if PREFER in self.headers and not self.searches:
            return ("return=minimal", "return=representation", "return=operationoutcome", *handling)
        return ("return=representation", *handling)

    @cached_property
    def pattern(self) -> "re.Pattern[str]":
        """The paths of this route; groups are the path's parameters."""
        return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/\\n]+)", re.escape(self.path)))


@dataclass(frozen=True)
class Match:
    """A route, and the values of its path parameters."""

    route: Route
    parameters: dict[str, str] = field(default_factory=dict)


def find(method: str, path: str, stage: str = CLIENT_STAGE) -> Match | None:
    """Return the route of a request; None when no route of the stage has this path with this method."""
    wanted = "GET" if method == "HEAD" else method
    return next((match for match in _on(path, stage) if match.route.method == wanted), None)


def allowed(path: str, stage: str = CLIENT_STAGE) -> list[str]:
    """Return the methods of a path; none for a path that the stage does not serve."""
    found = {match.route.method for match in _on(path, stage)}
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"}) if found else []


def _on(path: str, stage: str) -> list[Match]:
    """Return the routes of a path. A literal segment, such as `_search`, takes precedence over a parameter."""
    served = [route for route in ROUTES if route.probed or stage != PROBE_STAGE]
    matches = ((route, route.pattern.fullmatch(path)) for route in served)
    found = [Match(route, match.groupdict()) for route, match in matches if match]
    return [match for match in found if not match.parameters] or found


_ON_READ: Final = (IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE)
_ON_WRITE: Final = (IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE)

ROUTES: Final[Sequence[Route]] = (
    Route("getHealth", "GET", "/health", "Check whether this region can serve", (200, 503), probed=True),
    Route(
        "getDrain", "GET", "/drain/{region}", "Check whether a region is drained; 404 if not", (200, 404), probed=True
    ),
    Route(
        "getCapabilities", "GET", "/fhir/metadata", "Read the capabilities of this server", (200,),
        interaction="capabilities", parameters=("mode",),
    ),
    Route(
        "getSmartConfiguration", "GET", "/fhir/.well-known/smart-configuration",
        "Read the issuer's endpoints and the supported scopes", (200, 400, 404, 503),
    ),
    Route(
        "createPatient", "POST", "/fhir/Patient", "Create a patient's record", (200, 201, 409, 412, 413, 415, 422),
        interaction="create", type=PATIENT, right="c", body=FHIR_BODY,
        headers=(PREFER, IF_NONE_EXIST, IDEMPOTENCY_KEY), conditional=True,
    ),
    Route(
        "updatePatientThatMatches", "PUT", "/fhir/Patient",
        "Update the record that matches the criteria, or create one",
        (200, 201, 405, 409, 412, 413, 415, 422), interaction="update", type=PATIENT, right="u", body=FHIR_BODY,
        headers=(*_ON_WRITE, PREFER), conditional=True,
    ),
    Route(
        "patchPatientThatMatches", "PATCH", "/fhir/Patient", "Patch the record that matches the criteria",
        (200, 404, 409, 412, 413, 415, 422), interaction="patch", type=PATIENT, right="u", body=PATCH_BODY,
        headers=(*_ON_WRITE, PREFER), conditional=True,
    ),
    Route(
        "deletePatientThatMatches", "DELETE", "/fhir/Patient", "Delete the record that matches the criteria",
        (204, 404, 409, 412), interaction="delete", type=PATIENT, right="d", headers=_ON_WRITE, conditional=True,
    ),
    Route(
        "validatePatient", "POST", "/fhir/Patient/$validate", "Validate a resource as a create does, and write nothing",
        (200, 413, 415), type=PATIENT, right="c", body=FHIR_BODY, parameters=("mode", "profile"),
    ),
    Route(
        "searchPatients", "GET", "/fhir/Patient", "Search patients", (200,),
        interaction="search-type", type=PATIENT, right="s", headers=(PREFER,), searches=True,
    ),
    Route(
        "searchPatientsByForm", "POST", "/fhir/Patient/_search", "Search patients, with the criteria in the body",
        (200, 413, 415), interaction="search-type", type=PATIENT, right="s", body=FORM_BODY, headers=(PREFER,),
        searches=True,
    ),
    Route(
        "readPatient", "GET", "/fhir/Patient/{id}", "Read the newest version", (200, 304, 404, 410, 412),
        interaction="read", type=PATIENT, right="r", headers=(*_ON_READ, MINIMUM_VERSION),
    ),
    Route(
        "updatePatient", "PUT", "/fhir/Patient/{id}", "Replace the version that the precondition names",
        (200, 404, 405, 409, 412, 413, 415, 422, 428),
        interaction="update", type=PATIENT, right="u", body=FHIR_BODY,
        headers=(*_ON_WRITE, MERGES, MINIMUM_VERSION, PREFER),
    ),
    Route(
        "patchPatient", "PATCH", "/fhir/Patient/{id}", "Patch the current version",
        (200, 404, 409, 410, 412, 413, 415, 422),
        interaction="patch", type=PATIENT, right="u", body=PATCH_BODY, headers=(*_ON_WRITE, MINIMUM_VERSION, PREFER),
    ),
    Route(
        "deletePatient", "DELETE", "/fhir/Patient/{id}", "Add a version that marks the record as deleted",
        (204, 404, 409, 412, 422), interaction="delete", type=PATIENT, right="d",
        headers=(*_ON_WRITE, MERGES, MINIMUM_VERSION),
    ),
    Route(
        "validatePatientUpdate", "POST", "/fhir/Patient/{id}/$validate",
        "Validate a resource as an update would, without reading or writing a record", (200, 404, 413, 415),
        type=PATIENT, right="u", body=FHIR_BODY, parameters=("mode", "profile"),
    ),
    Route(
        "getPatientHistory", "GET", "/fhir/Patient/{id}/_history", "List the versions of both regions", (200, 404, 412),
        interaction="history-instance", type=PATIENT, right="r", headers=(MINIMUM_VERSION,),
        parameters=("_count", "_cursor"),
    ),
    Route(
        "readPatientVersion", "GET", "/fhir/Patient/{id}/_history/{vid}", "Read one version", (200, 304, 404, 410, 412),
        interaction="vread", type=PATIENT, right="r", headers=_ON_READ,
    ),
    Route(
        "createDocument", "POST", "/fhir/DocumentReference", "Declare a document; the response contains the upload URL",
        (201, 409, 412, 413, 415, 422), interaction="create", type=DOCUMENT, right="c", body=FHIR_BODY,
        headers=(IDEMPOTENCY_KEY, MINIMUM_VERSION),
    ),
    Route(
        "searchDocuments", "GET", "/fhir/DocumentReference", "Search documents", (200,),
        interaction="search-type", type=DOCUMENT, right="s", headers=(PREFER,), searches=True,
    ),
    Route(
        "readDocument", "GET", "/fhir/DocumentReference/{id}", "Read a document's state and download URL",
        (200, 404, 412), interaction="read", type=DOCUMENT, right="r",
        headers=(IF_MATCH, IF_UNMODIFIED_SINCE, MINIMUM_VERSION),
    ),
    Route(
        "completeDocument", "POST", "/fhir/DocumentReference/{id}/$complete", "Complete an upload in parts",
        (200, 404, 409, 412, 413, 415, 422), type=DOCUMENT, right="u", body=FHIR_BODY,
        headers=(MINIMUM_VERSION,),
    ),
    Route(
        "searchAuditEvents", "GET", "/fhir/AuditEvent", "Search the audit trail", (200,),
        interaction="search-type", type=AUDIT_EVENT, right="s", headers=(PREFER,), searches=True,
    ),
)  # fmt: skip


def _with_heads(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the route keys, and a key for HEAD for each GET, because API Gateway routes HEAD separately."""
    given = tuple(keys)
    return (*given, *(key.replace("GET", "HEAD", 1) for key in given if key.startswith("GET ")))


OPEN_ROUTES: Final = (
    *_with_heads(f"{route.method} {route.path}" for route in ROUTES if route.type is None),
    # Browsers send preflights without a token
    # (https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html).
    "OPTIONS /{proxy+}",
)
"""Route keys of API Gateway that need no token: Route 53 signs no request, and the documents are public."""

AUTHENTICATED_ROUTES: Final = _with_heads(
    (
        "GET /fhir/{type}",
        "POST /fhir/{type}",
        "PUT /fhir/{type}",
        "PATCH /fhir/{type}",
        "DELETE /fhir/{type}",
        "POST /fhir/{type}/_search",
        "POST /fhir/{type}/{operation}",
        "GET /fhir/{type}/{id}",
        "PUT /fhir/{type}/{id}",
        "PATCH /fhir/{type}/{id}",
        "DELETE /fhir/{type}/{id}",
        "POST /fhir/{type}/{id}/{operation}",
        "GET /fhir/{type}/{id}/_history",
        "GET /fhir/{type}/{id}/_history/{vid}",
    )
)
"""Route keys of API Gateway that need a token or a signature. The function decides what the token grants (ADR 0027)."""
DEFAULT_ROUTE: Final = "$default"
"""The route key of every request that no other one matches; it needs a token or a signature too."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
