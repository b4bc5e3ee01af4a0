"""Apply JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) to a resource.

The number and cost of operations are limited, and elements that belong to the server cannot be changed.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

from jsonpatch import JsonPatch, JsonPatchException
from jsonpointer import JsonPointer, JsonPointerException

from patient_api.errors import Malformed, Unprocessable
from patient_api.fhir.codec import MAX_DEPTH, JsonValue, Number

MAX_OPERATIONS: Final = 100
# Characters and values of the resource and of everything that a patch writes. DynamoDB items are smaller.
MAX_WEIGHT: Final = 1_000_000

_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "add": frozenset({"value"}),
    "remove": frozenset(),
    "replace": frozenset({"value"}),
    "move": frozenset({"from"}),
    "copy": frozenset({"from"}),
    "test": frozenset({"value"}),
}
_SERVER_ELEMENTS: Final = frozenset({"id", "meta", "resourceType"})


def apply(resource: dict[str, JsonValue], patch_document: JsonValue) -> dict[str, JsonValue]:
    """Return a copy of `resource` with all operations of a JSON Patch applied.

    Raises Malformed for a document that is not a JSON Patch. Raises Unprocessable for a path that does not exist, a
    test that fails, a change of id, meta or resourceType, and a patch or result that is too large. Texts of errors
    contain no path and no value.
    """
    operations = [_Operation(position, item) for position, item in enumerate(_operations(patch_document))]
    patched: dict[str, JsonValue] = copy.deepcopy(resource)
    remaining = MAX_WEIGHT - _weight(patched, 0)
    for operation in operations:
        remaining -= operation.cost(patched)
        if remaining < 0:
            raise Unprocessable(f"{operation} makes the resource too large.")
        operation.apply(patched)
    return patched


class _Operation:
    """One operation of a patch, checked against the limits of this API."""

    def __init__(self, position: int, item: JsonValue) -> None:
        self._position = position
        if not isinstance(item, dict):
            raise Malformed(f"{self} is not an object.")
        op = item.get("op")
        if not isinstance(op, str) or op not in _MEMBERS:
            raise Malformed(f"{self} has no op of JSON Patch: {', '.join(_MEMBERS)}.")
        if missing := [name for name in ("path", *_MEMBERS[op]) if name not in item]:
            raise Malformed(f"{self} has no {missing[0]}, which {op} needs.")
        self._op = op
        self._path = self._pointer(item["path"])
        self._source = self._pointer(item["from"]) if "from" in _MEMBERS[op] else None
        self._value = item.get("value")
        self._patch = JsonPatch([item])
        changed = {"test": (), "move": (self._path, self._source)}.get(op, (self._path,))
        for pointer in changed:
            if pointer is not None and (not pointer.parts or pointer.parts[0] in _SERVER_ELEMENTS):
                raise Unprocessable(
                    f"{self} changes the id, the meta or the type of the resource, or replaces the resource."
                )

    def __str__(self) -> str:
        return f"Operation {self._position} of the patch"

    def cost(self, resource: dict[str, JsonValue]) -> int:
        """Return the weight of the written value. Raises Unprocessable when it is nested too deep or does not exist."""
        value: Any = self._value
        if self._source is not None:
            try:
                value = self._source.resolve(resource)
            except JsonPointerException:
                raise Unprocessable(f"{self} has a from that does not exist.") from None
        if self._op in {"remove", "test"}:
            return 0
        weight = _weight(value, len(self._path.parts))
        return 0 if self._op == "move" else weight

    def apply(self, resource: dict[str, JsonValue]) -> None:
        """Change `resource` in place."""
        try:
            self._patch.apply(resource, in_place=True)
        except (JsonPatchException, JsonPointerException):
            failed = "does not hold" if self._op == "test" else "has a path that does not exist"
            raise Unprocessable(f"{self} ({self._op}) {failed}.") from None

    def _pointer(self, text: JsonValue) -> JsonPointer:
        if not isinstance(text, str):
            raise Malformed(f"{self} has a path that is not a string.")
        try:
            return JsonPointer(text)
        except JsonPointerException:
            raise Malformed(f"{self} has a path that is not a JSON Pointer.") from None


def check_weight(resource: dict[str, JsonValue]) -> None:
    """Check that a patched resource is not too large. Raises Unprocessable."""
    if _weight(resource, 0) > MAX_WEIGHT:
        raise Unprocessable("The patch makes the resource too large.")


def _operations(patch_document: JsonValue) -> list[JsonValue]:
    if not isinstance(patch_document, list):
        raise Malformed("A JSON Patch is a list of operations.")
    if len(patch_document) > MAX_OPERATIONS:
        raise Unprocessable(f"A patch may have {MAX_OPERATIONS} operations.")
    return patch_document


def _weight(value: JsonValue, depth: int) -> int:
    """Return the number of characters and values in `value` at `depth`. Raises Unprocessable when nested too deep."""
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, Number):
        return 1 + len(value.text)
    if not isinstance(value, (dict, list)):
        return 1
    if depth >= MAX_DEPTH:
        raise Unprocessable(f"The patch nests deeper than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        return 1 + sum(len(name) + _weight(item, depth + 1) for name, item in value.items())
    return 1 + sum(_weight(item, depth + 1) for item in value)


def merge(resource: dict[str, JsonValue], changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a copy of `resource` with a JSON Merge Patch applied.

    The patch may repeat id, meta and resourceType, because clients send members of the resource that they have read.
    Raises Unprocessable when it changes any of them.
    """
    merged = _merged(resource, changes)
    for name in _SERVER_ELEMENTS:
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
