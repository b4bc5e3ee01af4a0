"""Write docs/openapi.json: the OpenAPI 3.1 document of the patient API, from the tables that the API is made of."""

import json
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from patient_api.api.routes import COMMON_STATUSES, ROUTES, Route
from patient_api.records.model import DOCUMENT, PATIENT
from patient_api.search.catalogue import CONTROLS, PARAMETERS, Control, Parameter

ROOT: Final = Path(__file__).parents[1]
DOCUMENT_FILE: Final = ROOT / "docs" / "openapi.json"
PROFILE: Final = ROOT / "src" / "patient_api" / "fhir" / "profile"
OUR_KEYWORDS: Final = frozenset({"$schema", "$comment", "choices", "invariants", "definitions"})

ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9\\-.]{1,64}$"}
ETAG: Final = {"type": "string", "pattern": '^W/"[A-Za-z0-9\\-.]{1,64}"$'}
PATHS: Final = {"id": ID, "vid": ID, "region": {"type": "string"}}
HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "If-Match": ("The version this write is to replace.", ETAG),
    "If-None-Match": ("The version the caller has: then the answer is 304.", ETAG),
    "Minimum-Version": ("A version the caller knows: the answer is that one or a newer one, or 503.", ETAG),
    "If-None-Exist": ("A search; create only if it matches nothing.", {"type": "string"}),
    "Idempotency-Key": (
        "A repeated request with this key gets the first answer, in either region.",
        {"type": "string", "pattern": "^[ -~]{1,255}$"},
    ),
    "Prefer": ("`return=minimal` for an answer without a body.", {"type": "string"}),
}
NEEDED: Final = {"updatePatient": "If-Match", "patchPatient": "If-Match"}
PATCH: Final = {
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


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "healthcare-dr patient API",
            "version": "0.1.0",
            "summary": "FHIR R4 over patient records in two regions",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {"Outcome": _content("What was wrong.", "application/fhir+json", "OperationOutcome")},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "SMART on FHIR v2"}
            },
        },
    }


def text() -> str:
    """The document as the file holds it."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _operation(route: Route) -> dict[str, Any]:
    fhir = route.path.startswith("/fhir/")
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
            "required": True,
            "content": {media_type: {"schema": _body(route, media_type)} for media_type in route.body},
        }
    statuses = sorted({*route.statuses, *(COMMON_STATUSES if fhir else (500,))})
    described["responses"] = {str(status): _response(route, status) for status in statuses}
    return described


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.pattern.groupindex:
        yield {"name": name, "in": "path", "required": True, "schema": PATHS[name]}


def _headers(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.headers:
        description, schema = HEADERS[name]
        required = NEEDED.get(route.operation) == name
        yield {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def _queries(route: Route) -> Iterator[dict[str, Any]]:
    if route.searches and not route.body:
        for parameter in (*PARAMETERS[str(route.type)], *CONTROLS[str(route.type)]):
            yield {
                "name": parameter.name,
                "in": "query",
                "description": parameter.documentation,
                "schema": _value(parameter),
            }


def _value(parameter: Parameter | Control) -> dict[str, Any]:
    if isinstance(parameter, Control) and parameter.values:
        return {"enum": list(parameter.values)}
    if parameter.name == "_count":
        return {"type": "integer", "minimum": 1}
    return {"type": "string"}


def _body(route: Route, media_type: str) -> dict[str, Any]:
    if media_type == "application/json-patch+json":
        return PATCH
    if route.searches:
        known = (*PARAMETERS[str(route.type)], *CONTROLS[str(route.type)])
        return {"type": "object", "properties": {each.name: _value(each) for each in known}}
    return {"$ref": f"#/components/schemas/{route.type}"}


def _response(route: Route, status: int) -> dict[str, Any]:
    said = HTTPStatus(status).phrase
    if status in {204, 304}:
        return {"description": said}
    if not route.path.startswith("/fhir/"):
        return {"description": said, "content": {"application/json": {"schema": {"type": "object"}}}}
    if status >= 400:
        return {"$ref": "#/components/responses/Outcome"}
    if route.searches or route.interaction == "history-instance":
        return _content(said, "application/fhir+json", "Bundle")
    return _content(said, "application/fhir+json", str(route.type or "CapabilityStatement"))


def _content(description: str, media_type: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _schemas() -> dict[str, Any]:
    found = {
        kind: {"type": "object", "required": ["resourceType"], "properties": {"resourceType": {"const": kind}}}
        for kind in ("AuditEvent", "Bundle", "CapabilityStatement", "OperationOutcome")
    }
    datatypes = json.loads((PROFILE / "datatypes.schema.json").read_text(encoding="utf-8"))
    found |= {name: _adapted(schema) for name, schema in datatypes["definitions"].items()}
    for kind, file in ((PATIENT, "patient"), (DOCUMENT, "document_reference")):
        schema = json.loads((PROFILE / f"{file}.schema.json").read_text(encoding="utf-8"))
        found |= {name: _adapted(part) for name, part in schema.get("definitions", {}).items()}
        found[kind] = _adapted(schema)
    return dict(sorted(found.items()))


def _adapted(schema: Any) -> Any:
    """A part of the profile's JSON Schemas as OpenAPI takes it: one place for all definitions, no keywords of ours."""
    if isinstance(schema, list):
        return [_adapted(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    adapted = {name: _adapted(part) for name, part in schema.items() if name not in OUR_KEYWORDS}
    if isinstance(schema.get("$ref"), str):
        adapted["$ref"] = f"#/components/schemas/{schema['$ref'].rpartition('/')[2]}"
    return adapted


if __name__ == "__main__":
    DOCUMENT_FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {DOCUMENT_FILE.relative_to(ROOT)}", file=sys.stderr)
