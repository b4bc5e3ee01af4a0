"""Validate resources with the operation $validate: report the errors that a create or an update would return.

See https://hl7.org/fhir/R4/operation-resource-validate.html. It reads no record, so only refused
callers are in the audit trail.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from patient_api.contract.audit import Action
from patient_api.contract.keys import PATIENT
from patient_api.errors import ApiError, Malformed, Unprocessable
from patient_api.fhir.codec import JsonValue
from patient_api.http.payload import Resource, document_in, problems
from patient_api.http.request import Request
from patient_api.service_context import ServiceContext
from patient_api.store.versions import check_index_size

_PROFILE: Final = f"http://hl7.org/fhir/StructureDefinition/{PATIENT}"
PROFILES: Final = (_PROFILE, f"{_PROFILE}|4.0.1")
# Names and types of the parameters beside `resource`. In a URL they are text.
_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("valueCode", "valueString"),
    "profile": ("valueCanonical", "valueUri", "valueString"),
}


@dataclass(frozen=True)
class _ValidationRequest:
    resource: Resource
    mode: str | None = None
    profile: str | None = None


class Validation:
    """Validates resources by the rules of writes. Reports the first problem of each element."""

    def __init__(self, context: ServiceContext) -> None:
        self._authorization = context.authorization
        self._tokens = context.tokens

    def validate(self, request: Request, id: str | None = None) -> Sequence[ApiError]:
        """Return the errors that a create, or with `id` an update, of the resource in the body would raise.

        The body is the resource itself or a Parameters resource that contains it. Needs the right to create, with an id
        the right to update. Raises Forbidden, NotFound, UnsupportedMedia, TooLarge, StorageFault; Malformed when the
        body is not a JSON object or requests another kind of check.
        """
        self._authorization.authorize(
            request, Action.EXECUTE, "operation", PATIENT, id, right="c" if id is None else "u"
        )
        requested = _parse(request)
        if requested.mode is not None and requested.mode not in modes(id):
            raise Malformed(f"mode must be {' or '.join(modes(id))} here, or left out.")
        if requested.profile is not None and requested.profile not in PROFILES:
            raise Malformed(f"profile must be {_PROFILE}, or left out.")
        found = list(problems(requested.resource, PATIENT, id=None if requested.mode == "create" else id))
        if not found:
            return list(self._index_errors(request.caller.tenant, requested.resource))
        # All unknown elements of one parent cause the same problem.
        return list({(one.diagnostics, one.expression): one for one in found}.values())

    def _index_errors(self, tenant: str, resource: Resource) -> Iterator[ApiError]:
        try:
            check_index_size(self._tokens(tenant, resource))
        except Unprocessable as error:
            yield error


def modes(id: str | None) -> tuple[str, ...]:
    """Return the supported modes. An update needs the id of a record."""
    return ("create",) if id is None else ("create", "update")


def _parse(request: Request) -> _ValidationRequest:
    """Return the resource and the mode, from the URL or the Parameters. Raises Malformed."""
    document = document_in(request)
    given = {name: value for name, value in request.parameters_of_query() if name in _TYPES}
    if document.get("resourceType") != "Parameters":
        return _ValidationRequest(document, **given)
    resource: Resource | None = None
    parameters = document.get("parameter")
    for name, type, value in map(_parameter, parameters if isinstance(parameters, list) else ()):
        if name == type == "resource" and resource is None and isinstance(value, dict):
            resource = value
        elif type in _TYPES.get(name, ()) and name not in given and isinstance(value, str):
            given[name] = value
        else:
            text = "; ".join(f"{name} as {' or '.join(types)}" for name, types in _TYPES.items())
            raise Malformed(f"Parameters may contain resource and, unless the URL does, {text}, each once.")
    if resource is None:
        raise Malformed("Parameters must contain the resource to check in a parameter named resource.")
    return _ValidationRequest(resource, **given)


def _parameter(given: JsonValue) -> tuple[str, str, JsonValue]:
    """Return the name of a parameter, the member with its value, and the value. Raises Malformed."""
    if isinstance(given, dict) and isinstance(name := given.get("name"), str):
        values = [(member, value) for member, value in given.items() if member != "name"]
        if len(values) == 1:
            return (name, *values[0])
    raise Malformed("Each parameter must be an object with a name and a value.")
