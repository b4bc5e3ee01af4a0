"""Validate resources against the FHIR R4 profile of this API."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from patient_api.errors import Unprocessable
from patient_api.fhir.codec import JsonValue
from patient_api.fhir.profile.engine import Profile

_COMPILED: Final = Path(__file__).parent / "compiled"
_TABLES: Final = {"Patient": "patient.json", "DocumentReference": "document_reference.json"}


def validate(resource: dict[str, JsonValue]) -> None:
    """Raise the first of the problems that `problems` yields."""
    for problem in problems(resource):
        raise problem


def problems(resource: dict[str, JsonValue]) -> Iterator[Unprocessable]:
    """Yield the first problem of each element of a resource, named by its FHIRPath.

    Problems repeat nothing that the client sent, except for the URL of a modifier extension.

    `expression` stays within the subset that OperationOutcome allows: names and indices, an element [x] without its
    type (https://hl7.org/fhir/R4/operationoutcome-definitions.html#OperationOutcome.issue.expression). An element that
    the profile does not define is reported as a problem of its parent.
    """
    type = resource.get("resourceType")
    if not isinstance(type, str) or type not in _TABLES:
        yield Unprocessable("resourceType must be one of: " + ", ".join(_TABLES) + ".")
        return
    for error in _profile(type).problems(resource):
        expression = "".join(reversed(error.path))
        yield Unprocessable(f"{expression} {error.problem}.", expression=expression)


def types_of(type: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the types in the profile of a resource type by name, in the form that `engine` describes."""
    return _profile(type).types


@cache
def _profile(type: str) -> Profile:
    return Profile(json.loads((_COMPILED / _TABLES[type]).read_bytes()))
