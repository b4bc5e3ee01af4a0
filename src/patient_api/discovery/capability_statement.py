"""Build the CapabilityStatement from the tables of routes and search parameters."""

from collections.abc import Sequence, Set
from itertools import groupby
from typing import Final

from patient_api.contract.headers import FHIR_JSON, IF_MODIFIED_SINCE, IF_NONE_MATCH
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.contract.routes import PATCH_BODY, ROUTES, Route
from patient_api.fhir.codec import JsonValue, dump
from patient_api.search.parameters import PARAMETERS, Parameter

# The day of the last change to the statement.
DATE: Final = "2026-11-28"
FHIR_VERSION: Final = "4.0.1"

_VERSIONING: Final = {PATIENT: "versioned-update", DOCUMENT: "versioned"}
_SECURITY: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"


def statement(base: str, *, cors: bool) -> str:
    """Return the CapabilityStatement of the server at `base`, as JSON (http://hl7.org/fhir/R4/capabilitystatement.html)."""
    of_types = sorted((route for route in ROUTES if route.type is not None), key=lambda route: str(route.type))
    resources: list[JsonValue] = [_resource(type, list(routes)) for type, routes in groupby(of_types, _type_of)]
    return dump(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": DATE,
            "kind": "instance",
            "software": {"name": "healthcare-dr patient API"},
            "implementation": {"description": "Patient records in two regions", "url": base},
            "fhirVersion": FHIR_VERSION,
            "format": [FHIR_JSON, "json"],
            "patchFormat": list(PATCH_BODY),
            "rest": [{"mode": "server", "security": _security(cors=cors), "resource": resources}],
        }
    )


def _type_of(route: Route) -> str:
    return str(route.type)


def _resource(type: str, routes: Sequence[Route]) -> JsonValue:
    codes = list(dict.fromkeys(route.interaction for route in routes if route.interaction is not None))
    conditional = {route.interaction for route in routes if route.conditional}
    described: dict[str, JsonValue] = {
        "type": type,
        "interaction": [_interaction(code, conditional) for code in codes],
        "versioning": _VERSIONING.get(type, "no-version"),
        "readHistory": "vread" in codes,
        "updateCreate": False,
        "conditionalCreate": "create" in conditional,
        "conditionalRead": "full-support"
        if any({IF_NONE_MATCH, IF_MODIFIED_SINCE} <= set(route.headers) for route in routes)
        else "not-supported",
        "conditionalUpdate": "update" in conditional,
        "conditionalDelete": "single" if "delete" in conditional else "not-supported",
        "searchParam": [_parameter(parameter) for parameter in PARAMETERS.get(type, ())],
    }
    names = dict.fromkeys(route.path.rpartition("$")[2] for route in routes if "$" in route.path)
    operations: list[JsonValue] = [{"name": name, "definition": _definition(name, type)} for name in names]
    return described | {"operation": operations} if operations else described


def _interaction(code: str, conditional: Set[str | None]) -> JsonValue:
    described: dict[str, JsonValue] = {"code": code}
    # R4 has no element for it; R5 added `conditionalPatch`.
    if code == "patch" and code in conditional:
        described["documentation"] = "Also of the one record that search criteria in the URL match."
    return described


def _definition(operation: str, type: str) -> str:
    """Return the URL of the OperationDefinition: that of FHIR where FHIR defines the operation."""
    defined = {"validate": "http://hl7.org/fhir/OperationDefinition/Resource-validate"}
    return defined.get(operation, f"urn:healthcare-dr:operation:{type}-{operation}")


def _parameter(parameter: Parameter) -> JsonValue:
    described: dict[str, JsonValue] = {"name": parameter.name}
    if parameter.definition is not None:
        described["definition"] = f"http://hl7.org/fhir/SearchParameter/{parameter.definition}"
    return described | {"type": parameter.type.value, "documentation": parameter.documentation}


def _security(*, cors: bool) -> JsonValue:
    smart: JsonValue = {"coding": [{"system": _SECURITY, "code": "SMART-on-FHIR"}]}
    description = (
        "Tokens of the configured OpenID Connect issuer with SMART on FHIR scopes of version 2 or 1; the tenant is a "
        "claim. Where tokens come from is in .well-known/smart-configuration."
    )
    return {"cors": cors, "service": [smart], "description": description}
