"""Resources as requests bring them."""

from typing import Final

from patient_api.errors import Malformed, Unprocessable
from patient_api.exchange.request import Request
from patient_api.fhir.codec import JsonValue, parse

Resource = dict[str, JsonValue]

JSON_PATCH: Final = frozenset({"application/json-patch+json"})
FHIR_JSON: Final = frozenset({"application/fhir+json", "application/json"})


def resource_in(request: Request, kind: str) -> Resource:
    """The resource in the body, of this type and valid.

    Raises UnsupportedMedia, TooLarge, Malformed, and Unprocessable with the element at fault.
    """
    resource = parse(request.payload(FHIR_JSON))
    if not isinstance(resource, dict):
        raise Malformed("The body is not a JSON object.")
    if resource.get("resourceType") != kind:
        raise Unprocessable(f"This route takes a {kind}.", expression=f"{kind}.resourceType")
    return valid(resource)


def patch_in(request: Request) -> JsonValue:
    """The JSON Patch in the body. Raises UnsupportedMedia, TooLarge, Malformed."""
    return parse(request.payload(JSON_PATCH))


def valid(resource: Resource) -> Resource:
    """The resource, if its profile allows it. Raises Unprocessable."""
    # Reads, which come first in many a container, do without.
    from patient_api.fhir.profile import validate

    validate(resource)
    return resource
