"""Write docs/openapi.json: the OpenAPI 3.1 document of the patient API, derived from its routes and parameters."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from openapi_schemas import ID, schemas

from patient_api.contract.keys import PATIENT
from patient_api.contract.routes import COMMON_STATUSES, ROUTES, Route
from patient_api.http.criteria import GENERAL
from patient_api.patients.validation import PROFILES, modes
from patient_api.search.parameters import (
    CONTROLS,
    LARGEST_ALTERNATIVES,
    LONGEST_VALUE,
    PARAMETERS,
    PREFIXES,
    Control,
    Parameter,
    ParameterType,
)

ROOT: Final = Path(__file__).parents[1]
DOCUMENT_FILE: Final = ROOT / "docs" / "openapi.json"
FHIR: Final = "application/fhir+json"
JSON: Final = "application/json"

ETAG: Final = {"type": "string", "pattern": '^W/"[A-Za-z0-9\\-.]{1,64}"$'}
PATHS: Final = {"id": ID, "vid": ID, "region": {"type": "string", "pattern": "^[a-z]{2}(-[a-z]+)+-[0-9]$"}}
STAMP: Final = {"type": "string", "pattern": '^W/"[0-9]{13}-[0-9]{4}-[a-z0-9-]{1,45}"$'}
# RFC 9110, section 8.8.3: a list may have empty elements.
_TAG: Final = '(W/)?"[!#-~]*"'
_TAGS: Final = f"[ \\t,]*{_TAG}([ \\t]*,[ \\t,]*{_TAG})*[ \\t,]*"
ETAGS: Final = {"type": "string", "pattern": f"^{_TAGS}$"}
CONDITION: Final = {"type": "string", "pattern": f"^(\\*|{_TAGS})$"}
HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "If-Match": (
        "The required versions, or `*` for any; otherwise the response is 412, or 503 for a version on its way.",
        CONDITION,
    ),
    # On a read, an invalid value matches no version and is not an error.
    "If-None-Match": ("The excluded versions: a read of one returns 304, a write 412.", {"type": "string"}),
    # RFC 9110 requires servers to ignore an invalid date.
    "If-Modified-Since": (
        "The time of the client's version: if it is still current, the response is 304.",
        {"type": "string"},
    ),
    "If-Unmodified-Since": ("The response is 412 when the current version was written later.", {"type": "string"}),
    "Merges": (
        "The concurrent versions of the other region that this write merges: 10 at most. The response is 503 "
        "until they have arrived.",
        ETAGS,
    ),
    "Minimum-Version": (
        "A version that the client knows; when a document is created, one of its patient. The response is 503 until "
        "the region has received it, or a version that descends from it.",
        STAMP,
    ),
    "If-None-Exist": (
        "A search; create only if it matches nothing. Criteria in the URL have the same meaning.",
        {"type": "string"},
    ),
    "Idempotency-Key": (
        "A repeated request with this key receives the first response, in either region.",
        {"type": "string", "pattern": "^[ -~]{1,255}$"},
    ),
    "Prefer": (
        "On a write, `return=minimal` for a response without a body, or `return=OperationOutcome`. On a search, "
        "`handling=lenient` to ignore unknown parameters, which an entry of the bundle names. A value that the "
        "operation does not honour is refused.",
        {"type": "string"},
    ),
}
RESPONSE_HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "ETag": ("The version.", ETAG),
    "Last-Modified": ("The time when it was written.", {"type": "string"}),
    "Location": ("The address of that version.", {"type": "string", "format": "uri", "pattern": "^https://.+/fhir/"}),
    "Retry-After": ("Seconds.", {"type": "integer", "minimum": 1}),
}
INTERACTIONS_ON_VERSIONS: Final = frozenset({"create", "read", "vread", "update", "patch", "delete"})
# Statuses that both the gateway and the function may return; 404 and 413 come from the function.
OF_GATEWAY: Final = frozenset({401, 403, 429, 500, 503})
JSON_PATCH: Final = {
    "type": "array",
    "maxItems": 100,
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}
FHIRPATH_PATCH: Final = {
    "type": "object",
    "required": ["resourceType", "parameter"],
    "properties": {
        "resourceType": {"const": "Parameters"},
        "parameter": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "required": ["name", "part"],
                "properties": {
                    "name": {"const": "operation"},
                    "part": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                },
            },
        },
    },
}


_TIME: Final = "([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)(\\.[0-9]+)?)?"
_ZONE: Final = "(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DATE: Final = f"({'|'.join(PREFIXES)})?[0-9]{{4}}(-[0-9]{{2}}(-[0-9]{{2}}(T{_TIME}{_ZONE})?)?)?"


CONTROLS_BY_NAME: Final = {
    "mode": Control("mode", "Only `full` is supported.", ("full",)),
    "profile": Control("profile", "The profile of FHIR's Patient, which is always checked.", PROFILES),
    **{control.name: control for control in CONTROLS[PATIENT]},
}


MODE: Final = "The interaction to validate for; an update needs the id in the URL."


def document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "healthcare-dr patient API",
            "version": "0.1.0",
            "summary": "FHIR R4 over patient records in two regions",
            "description": "Every path with GET also supports HEAD, whose response has no body.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": {
                "Outcome": _content("What is wrong.", {FHIR: "OperationOutcome", JSON: "OperationOutcome"}),
                "Refused": _content("What is wrong.", {FHIR: "OperationOutcome", JSON: "Refusal"}),
                "Unavailable": {
                    **_content("What is wrong.", {FHIR: "OperationOutcome", JSON: "Refusal"}),
                    "headers": _response_headers(["Retry-After"], required=False),
                },
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "SMART on FHIR v2"}
            },
        },
    }


def text() -> str:
    """Return the content of the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _operation(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": route.operation, "summary": route.summary}
    if route.right is not None:
        described["security"] = [{"token": [f"{who}/{route.type}.{route.right}" for who in ("system", "user")]}]
    else:
        described["security"] = []
    parameters = [*_path_parameters(route), *_headers(route), *_queries(route)]
    if parameters:
        described["parameters"] = parameters
    if route.body:
        described["requestBody"] = {
            "required": "$" not in route.path or _validates(route),
            "content": {media_type: {"schema": _body(route, media_type)} for media_type in route.body},
        }
    statuses = sorted({*route.statuses, *(COMMON_STATUSES if route.fhir else (500, 503))})
    described["responses"] = {str(status): _response(route, status) for status in statuses}
    return described


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.pattern.groupindex:
        yield {"name": name, "in": "path", "required": True, "schema": PATHS[name]}


def _headers(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.headers:
        description, schema = HEADERS[name]
        yield {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _queries(route: Route) -> Iterator[dict[str, Any]]:
    for parameter in _query_parameters(route):
        yield {
            "name": parameter.name,
            "in": "query",
            "description": parameter.documentation,
            "schema": _value(parameter),
        }


def _query_parameters(route: Route) -> Iterator[Parameter | Control]:
    if route.searches and not route.body:
        yield from PARAMETERS[str(route.type)]
        yield from CONTROLS[str(route.type)]
    elif not route.searches and route.fhir:
        if route.conditional:
            yield from PARAMETERS[str(route.type)]
        for name in (*route.parameters, *GENERAL):
            yield Control("mode", MODE, _modes(route)) if name == "mode" and route.right else CONTROLS_BY_NAME[name]


def _modes(route: Route) -> tuple[str, ...]:
    return modes("id" if "id" in route.pattern.groupindex else None)


def _value(parameter: Parameter | Control) -> dict[str, Any]:
    if isinstance(parameter, Control) and parameter.values:
        return {"enum": list(parameter.values)}
    if parameter.name == "_count":
        return {"type": "integer", "minimum": 0}
    if parameter.name == "_format":
        return {"type": "string", "pattern": "^(json|text/json|application/(fhir\\+)?json)(;.*)?$"}
    if isinstance(parameter, Parameter):
        if parameter.type is ParameterType.DATE:
            return {"type": "string", "pattern": f"^{_DATE}(,{_DATE}){{0,{LARGEST_ALTERNATIVES - 1}}}$"}
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_VALUE}
    return {"type": "string"}


def _body(route: Route, media_type: str) -> dict[str, Any]:
    if route.method == "PATCH":
        # A merge patch is a part of a resource, with null for members to remove; plain JSON is treated as one.
        described: dict[str, dict[str, Any]] = {"application/json-patch+json": JSON_PATCH, FHIR: FHIRPATH_PATCH}
        return described.get(media_type, {"type": "object"})
    if _validates(route):
        # The resource, or Parameters that contain it; the response lists its problems.
        return {"type": "object"}
    if "$" in route.path:
        return {
            "type": "object",
            "properties": {"resourceType": {"const": "Parameters"}},
            "additionalProperties": False,
        }
    if route.searches:
        known: list[Parameter | Control] = [*PARAMETERS[str(route.type)], *CONTROLS[str(route.type)]]
        return {"type": "object", "properties": {each.name: _value(each) for each in known}}
    return {"$ref": f"#/components/schemas/{route.type}"}


def _response(route: Route, status: int) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if route.operation == "getHealth" or (route.operation == "getDrain" and status < 500):
        return _content(phrase, {JSON: "State"})
    if status >= 400:
        kind = "Unavailable" if status == 503 else "Refused" if status in OF_GATEWAY else "Outcome"
        return {"$ref": f"#/components/responses/{kind}"}
    described: dict[str, Any] = {"description": phrase}
    if not route.fhir:
        described = _content(phrase, {JSON: "SmartConfiguration"})
    elif status not in {204, 304}:
        described = _content(phrase, {FHIR: _resource(route), JSON: _resource(route)})
    if route.interaction in INTERACTIONS_ON_VERSIONS:
        names = ["ETag", "Last-Modified", *(["Location"] if status == 201 else [])]
        described["headers"] = _response_headers(names, required=True)
    return described


def _validates(route: Route) -> bool:
    return route.path.endswith("/$validate")


def _resource(route: Route) -> str:
    if _validates(route):
        return "OperationOutcome"
    if route.searches or route.interaction == "history-instance":
        return "Bundle"
    return f"Stored{route.type}" if route.type else "CapabilityStatement"


def _response_headers(names: Sequence[str], *, required: bool) -> dict[str, Any]:
    return {
        name: {"required": required, "description": description, "schema": schema}
        for name, (description, schema) in RESPONSE_HEADERS.items()
        if name in names
    }


def _content(description: str, schemas: Mapping[str, str]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {
            media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media_type, schema in schemas.items()
        },
    }


if __name__ == "__main__":
    DOCUMENT_FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {DOCUMENT_FILE.relative_to(ROOT)}", file=sys.stderr)
