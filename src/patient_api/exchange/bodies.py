"""Resources as requests bring them."""

from typing import Final

from patient_api.errors import Malformed, TooLarge, Unprocessable
from patient_api.exchange.request import MAX_BODY, Request
from patient_api.fhir.codec import JsonValue, dump, parse

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


def check_size(resource: Resource) -> None:
    """Raises TooLarge for a resource that no body could bring."""
    if len(dump(resource).encode()) > MAX_BODY:
        raise TooLarge(f"The resource would exceed {MAX_BODY} bytes.")


def valid(resource: Resource) -> Resource:
    """The resource, if its profile allows it. Raises Unprocessable."""
    # Reads, which come first in many a container, do without.
    from patient_api.fhir.profile import validate

    validate(resource)
    return resource
