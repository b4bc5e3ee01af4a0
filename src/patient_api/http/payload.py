"""Parse and validate the resources and patches in request bodies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from patient_api.contract.headers import FHIR_JSON, JSON, JSON_PATCH
from patient_api.contract.routes import FHIR_BODY, PATCH_BODY
from patient_api.errors import ApiError, Malformed, TooLarge, Unprocessable
from patient_api.fhir.codec import JsonValue, dump, parse
from patient_api.http.request import MAX_BODY, Request

Resource = dict[str, JsonValue]


def resource_in(request: Request, kind: str, *, id: str | None = None) -> Resource:
    """Return the valid resource of this type in the body, with this id where one is given.

    Raises UnsupportedMedia, TooLarge, Malformed, and Unprocessable with the element at fault.
    """
    resource = document_in(request)
    for problem in problems(resource, kind, id=id):
        raise problem
    return resource


def document_in(request: Request) -> Resource:
    """Return the JSON object in the body, of any resource type. Raises UnsupportedMedia, TooLarge, Malformed."""
    document = parse(request.payload(FHIR_BODY))
    if not isinstance(document, dict):
        raise Malformed("The body is not a JSON object.")
    return document


def problems(resource: Resource, kind: str, *, id: str | None = None) -> Iterator[ApiError]:
    """Yield the first problem of each element of a resource that must be valid, of this type and of this id."""
    if resource.get("resourceType") != kind:
        yield Unprocessable(f"This route takes a {kind}.", expression=f"{kind}.resourceType")
        return
    if id is not None and resource.get("id") != id:
        # R4 demands 400 here (https://hl7.org/fhir/R4/http.html#update).
        yield Malformed("The id must be the one in the URL.", expression=f"{kind}.id")
    # Imported here, because reads do not use the profiles.
    from patient_api.fhir.profile import problems as of_profile

    yield from of_profile(resource)


def no_parameters_in(request: Request) -> None:
    """Check that the body of an operation that takes no parameters is empty, or a Parameters resource without any.

    Raises UnsupportedMedia, TooLarge, Malformed.
    """
    if request.body and parse(request.payload(FHIR_BODY)) != {"resourceType": "Parameters"}:
        raise Malformed("This operation takes no parameters.")


def version_in(resource: Resource) -> str | None:
    """Return the version in a body's `meta.versionId`, None without one."""
    match resource.get("meta"):
        case {"versionId": str(version)}:
            return version
    return None


@dataclass(frozen=True)
class Patch:
    """A change to a resource. `version` is the version that the patch itself names, None without one."""

    apply: Callable[[Resource], Resource]
    version: str | None = None


def patch_in(request: Request) -> Patch:
    """Return the patch in the body. Raises UnsupportedMedia, TooLarge, Malformed."""
    document = parse(request.payload(PATCH_BODY))
    if request.media_type == JSON_PATCH:
        from patient_api.fhir.patch import apply

        return Patch(lambda resource: apply(resource, document))
    # Some clients, such as fhirpy, send a merge patch as plain JSON.
    if request.media_type == FHIR_JSON or (request.media_type == JSON and _is_parameters(document)):
        from patient_api.fhir.fhirpath_patch import apply as apply_parameters

        return Patch(lambda resource: apply_parameters(resource, document))
    from patient_api.fhir.patch import merge

    if not isinstance(document, dict):
        raise Malformed("A merge patch is an object.")
    return Patch(lambda resource: merge(resource, document), version_in(document))


def check_size(resource: Resource) -> None:
    """Raise TooLarge for a resource that is larger than a body may be."""
    if len(dump(resource).encode()) > MAX_BODY:
        raise TooLarge(f"The resource would exceed {MAX_BODY} bytes.")


def valid(resource: Resource) -> Resource:
    """Return the resource if it conforms to its profile. Raises Unprocessable."""
    from patient_api.fhir.profile import validate

    validate(resource)
    return resource


def _is_parameters(document: JsonValue) -> bool:
    """Return whether a patch sent as plain JSON is a Parameters resource: no merge patch turns a record into one."""
    return isinstance(document, dict) and document.get("resourceType") == "Parameters"
