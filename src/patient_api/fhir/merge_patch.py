"""JSON Merge Patch (RFC 7396) on a resource: never on what belongs to the server."""

from typing import Final

from patient_api.errors import Unprocessable
from patient_api.fhir.codec import JsonValue

_OF_THE_SERVER: Final = ("resourceType", "id", "meta")


def merge(resource: dict[str, JsonValue], changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """`resource` with the changes merged into it; the resource passed in stays as it is.

    The patch may repeat what belongs to the server, as clients do that send the members of a resource which they have
    read. Raises Unprocessable when it changes any of that.
    """
    merged = _merged(resource, changes)
    for name in _OF_THE_SERVER:
        if merged.get(name) != resource.get(name):
            raise Unprocessable("The patch changes the id, the meta or the type of the resource.")
    return merged


def _merged(target: JsonValue, changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    found = dict(target) if isinstance(target, dict) else {}
    for name, change in changes.items():
        if change is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), change) if isinstance(change, dict) else change
    return found
