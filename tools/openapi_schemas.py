"""Schemas of the OpenAPI document: those of the profiles, and those of responses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from patient_api.contract.keys import DOCUMENT, PATIENT

PROFILE: Final = Path(__file__).parents[1] / "src" / "patient_api" / "fhir" / "profile"
OURS: Final = frozenset({"$schema", "$comment", "choices", "invariants", "definitions"})
# Keywords that draft 2020-12 renamed.
RENAMED: Final = {"dependencies": "dependentRequired"}
ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9\\-.]{1,64}$"}


def _kind(name: str, required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    known = {"resourceType": {"const": name}, **properties}
    return {"type": "object", "required": ["resourceType", *required], "properties": known}


def _some(item: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


RESOURCE: Final = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"enum": [PATIENT, DOCUMENT, "AuditEvent", "OperationOutcome"]}},
}
META: Final = {
    "type": "object",
    "required": ["versionId", "lastUpdated"],
    "properties": {"versionId": ID, "lastUpdated": {"type": "string", "format": "date-time"}},
}
ISSUE: Final = {
    "type": "object",
    "required": ["severity", "code", "diagnostics"],
    "properties": {
        "severity": {"enum": ["error", "warning", "information"]},
        "code": {"type": "string", "pattern": "^[a-z-]+$"},
        "diagnostics": {"type": "string"},
        "expression": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
    },
    "additionalProperties": False,
}
LINK: Final = {
    "type": "object",
    "required": ["relation", "url"],
    "properties": {"relation": {"enum": ["self", "next"]}, "url": {"type": "string"}},
}
RESPONSES: Final = {
    "OperationOutcome": _kind("OperationOutcome", ["issue"], issue=_some(ISSUE)),
    "Bundle": _kind(
        "Bundle",
        ["type", "link"],
        type={"enum": ["searchset", "history"]},
        total={"type": "integer", "minimum": 0},
        link=_some(LINK),
        entry=_some({"type": "object", "properties": {"fullUrl": {"type": "string"}, "resource": RESOURCE}}),
    ),
    "CapabilityStatement": _kind("CapabilityStatement", ["status", "date", "kind", "fhirVersion", "format", "rest"]),
    "StoredPatient": {"allOf": [{"$ref": "#/components/schemas/Patient"}, _kind("Patient", ["id", "meta"], meta=META)]},
    # Its attachment also has an address, which requests must not contain.
    "StoredDocumentReference": _kind(
        "DocumentReference", ["id", "meta", "status", "docStatus", "subject", "content"], id=ID, meta=META
    ),
    "SmartConfiguration": {
        "type": "object",
        "required": ["issuer", "grant_types_supported", "code_challenge_methods_supported", "capabilities"],
        "properties": {
            **{name: {"type": "string", "format": "uri"} for name in ("issuer", "jwks_uri", "token_endpoint")},
            **{
                name: {"type": "array", "items": {"type": "string"}}
                for name in ("grant_types_supported", "code_challenge_methods_supported", "capabilities")
            },
        },
    },
    "State": {"type": "object", "minProperties": 1, "maxProperties": 1},
    "Refusal": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("OperationOutcome", "GatewayRefusal")]},
    "GatewayRefusal": {
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": ["string", "null"]}},
    },
}


def schemas() -> dict[str, Any]:
    """Return the schemas by name. References begin with `#/components/schemas/`."""
    found: dict[str, Any] = dict(RESPONSES)
    shared = _definitions("datatypes")
    found |= {name: _adapted(schema, "") for name, schema in shared.items()}
    for kind, file in ((PATIENT, "patient"), (DOCUMENT, "document_reference")):
        # Both profiles and the data types may define parts of the same name.
        parts = {f"{kind}{name}": _narrowed(part, shared) for name, part in _definitions(file).items()}
        for name, part in {**parts, kind: _profile(file)}.items():
            if name in found:
                raise ValueError(f"{name} is defined twice.")
            found[name] = _adapted(part, kind)
    return dict(sorted(found.items()))


def _profile(file: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((PROFILE / f"{file}.schema.json").read_text(encoding="utf-8"))
    return schema


def _definitions(file: str) -> dict[str, Any]:
    definitions: dict[str, Any] = _profile(file)["definitions"]
    return definitions


def _narrowed(schema: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data type that a profile narrows as one schema, with the narrower rules in place of the wider."""
    match schema:
        case {"allOf": [{"$ref": reference}, narrower]}:
            base = shared[reference.rpartition("/")[2]]
            members = {name: _shared(member) for name, member in base["properties"].items()}
            required = [*base.get("required", ()), *narrower.get("required", ())]
            siblings = _shared(base.get("patternProperties", {}))
            whole = {**base, "properties": members | narrower["properties"], "patternProperties": siblings}
            return {**whole, "required": required} if required else whole
    return schema


def _shared(schema: Any) -> Any:
    """Return a part of the data types with references that resolve from another file."""
    if isinstance(schema, list):
        return [_shared(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: f"datatypes.schema.json{part}" if name == "$ref" else _shared(part) for name, part in schema.items()}


def _adapted(schema: Any, kind: str) -> Any:
    """Return a part of a profile's JSON Schema with OpenAPI's references and without this project's keywords."""
    if isinstance(schema, list):
        return [_adapted(part, kind) for part in schema]
    if not isinstance(schema, dict):
        return schema
    adapted = {RENAMED.get(name, name): _adapted(part, kind) for name, part in schema.items() if name not in OURS}
    if isinstance(schema.get("$ref"), str):
        file, _, name = schema["$ref"].partition("#/definitions/")
        adapted["$ref"] = f"#/components/schemas/{'' if file else kind}{name}"
    return adapted
