"""Check resources against a compiled profile.

A profile is a table of types by name, written by `tools/fhir_profile.py` from the JSON Schemas beside this module:

    object       {"is": "object", "members": {name: [type, most]}, "required": [...], "choices": {base: [names]},
                  "needs": {name: [names]}, "invariants": [...]}; `most` is 0 for one value, -1 for any number of them
    boolean, string, number, integer
                 {"is": ..., "pattern": ..., "format": ..., "codes": [...], "least": ..., "most": ..., "problem": ...};
                 with `quoted`, errors repeat the value, which is no patient data
    structure    an object of any members without empty parts: {"is": "structure", "members": {...}, "required": [...],
                 "pattern": ...}; `members` are checked, and names of other members match `pattern`
    refused      an element of FHIR that the profile does not accept
"""

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Final

from patient_api.fhir.codec import Number
from patient_api.fhir.profile.invariants import FORMATS, INVARIANTS

LONGEST_QUOTED: Final = 255  # characters

_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]*")


class ProfileError(Exception):
    """A problem with an element. The path to it is completed while the exception propagates."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)


class Profile:
    """One compiled profile. Patterns are compiled when they are first used."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._root: str = table["root"]
        self.types: dict[str, dict[str, Any]] = table["types"]
        self._patterns: dict[str, re.Pattern[str]] = {}

    def check(self, resource: dict[str, Any]) -> None:
        """Raise the first of the problems that `problems` yields."""
        for error in self.problems(resource):
            raise error

    def problems(self, resource: dict[str, Any]) -> Iterator[ProfileError]:
        """Yield the first problem of each element of a resource, in their order.

        Rules between elements are checked when each element is valid by itself. The path of a problem leads from the
        element to the resource.
        """
        rule = self.types[self._root]
        valid = True
        for name in resource:
            try:
                self._defined_member(name, resource, rule)
            except ProfileError as error:
                valid = False
                yield self._from_root(error)
        if not valid:
            return
        try:
            self._object_rules(resource, rule)
            _check_references(resource, _contained_ids(resource.get("contained", ())))
        except ProfileError as error:
            yield self._from_root(error)

    def _from_root(self, error: ProfileError) -> ProfileError:
        error.path.append(self._root)
        return error

    def _value(self, value: Any, name: str) -> None:
        rule = self.types[name]
        match rule["is"]:
            case "object":
                self._object(value, rule)
            case "string":
                self._string(value, rule)
            case "boolean":
                if not isinstance(value, bool):
                    raise ProfileError(rule["problem"])
            case "number":
                if not isinstance(value, Number):
                    raise ProfileError(rule["problem"])
            case "integer":
                if not (
                    isinstance(value, Number)
                    and _WHOLE.fullmatch(value.text)
                    and rule["least"] <= value <= rule["most"]
                ):
                    raise ProfileError(rule["problem"])
            case "structure":
                self._structure(value, rule)
            case _:
                raise ProfileError(rule["problem"])

    def _string(self, value: Any, rule: dict[str, Any]) -> None:
        if not isinstance(value, str):
            raise ProfileError(rule["problem"])
        if "codes" in rule and value not in rule["codes"]:
            named = rule.get("quoted") and len(value) <= LONGEST_QUOTED and not re.search(r"[^!-~]", value)
            raise ProfileError(f"{rule['problem']}: {value}" if named else rule["problem"])
        if "pattern" in rule and not self._pattern(rule["pattern"]).fullmatch(value):
            raise ProfileError(rule["problem"])
        if "format" in rule and not FORMATS[rule["format"]](value):
            raise ProfileError(rule["problem"])

    def _pattern(self, text: str) -> re.Pattern[str]:
        pattern = self._patterns.get(text)
        if pattern is None:
            pattern = self._patterns[text] = re.compile(text)
        return pattern

    def _object(self, value: Any, rule: dict[str, Any]) -> None:
        if not isinstance(value, dict):
            raise ProfileError("must be an object")
        if not value:
            raise ProfileError("must not be empty")
        for name in value:
            self._defined_member(name, value, rule)
        self._object_rules(value, rule)

    def _defined_member(self, name: str, value: dict[str, Any], rule: dict[str, Any]) -> None:
        if name not in rule["members"]:
            raise ProfileError("has an element that the profile does not define")
        self._member(name, value, rule)

    def _member(self, name: str, value: dict[str, Any], rule: dict[str, Any]) -> None:
        type, most = rule["members"][name]
        item = value[name]
        try:
            if most:
                self._list(item, type, most, value, name)
            else:
                self._value(item, type)
                if type == "Element" and name[1:] not in value:
                    _check_extension(item)
        except ProfileError as error:
            error.path.append(f".{_element_name(name, rule)}")
            raise

    def _structure(self, value: Any, rule: dict[str, Any]) -> None:
        if not isinstance(value, dict) or not value:
            raise ProfileError(rule["problem"])
        for name, item in value.items():
            if name in rule["members"]:
                self._member(name, value, rule)
            elif not (self._pattern(rule["pattern"]).fullmatch(name) and self._content_at(item, f".{name}")):
                raise ProfileError(rule["problem"])
        for name in rule["required"]:
            if name not in value:
                raise ProfileError("is required", f".{name}")

    def _object_rules(self, value: dict[str, Any], rule: dict[str, Any]) -> None:
        """Check the rules between the members of an object."""
        for name in rule["required"]:
            if name not in value:
                raise ProfileError("is required", f".{name}")
        if len(value) == 1 and "id" in value and rule is not self.types["Element"]:
            raise ProfileError("must have more than an id")
        for base, names in rule.get("choices", {}).items():
            if len({name.removeprefix("_") for name in value.keys() & names}) > 1:
                raise ProfileError("must be of one type only", f".{base}")
        for name, others in rule.get("needs", {}).items():
            for other in others:
                if name in value and other not in value:
                    raise ProfileError(f"is required with {name}", f".{other}")
        for key in rule.get("invariants", ()):
            if problem := INVARIANTS[key](value):
                raise ProfileError(problem)

    def _list(self, value: Any, type: str, most: int, parent: dict[str, Any], name: str) -> None:
        if not isinstance(value, list):
            raise ProfileError("must be a list")
        if not value:
            raise ProfileError("must not be empty")
        if 0 < most < len(value):
            raise ProfileError(f"must not have more than {most} of it")
        # A list of primitives and the list of their extensions fill each other's gaps: null in one, not in both.
        other = parent.get(name[1:] if type == "Element" else f"_{name}")
        gaps = other if isinstance(other, list) else []
        if gaps and len(gaps) != len(value):
            raise ProfileError("must be as long as the list of its extensions")
        for index, item in enumerate(value):
            try:
                if item is None and gaps and gaps[index] is not None:
                    continue
                self._value(item, type)
                if type == "Element" and (not gaps or gaps[index] is None):
                    _check_extension(item)
            except ProfileError as error:
                error.path.append(f"[{index}]")
                raise

    def _content_at(self, value: Any, step: str) -> bool:
        """Return whether a value of a data type that the profile only stores contains no empty part.

        Raises ProfileError for a modifier extension, which is not allowed there.
        """
        try:
            return self._has_content(value)
        except ProfileError as error:
            error.path.append(step)
            raise

    def _has_content(self, value: Any) -> bool:
        if isinstance(value, str):
            return self._pattern(self.types["string"]["pattern"]).fullmatch(value) is not None
        if isinstance(value, list):
            return bool(value) and all(
                item is None or self._content_at(item, f"[{index}]") for index, item in enumerate(value)
            )
        if isinstance(value, dict):
            rule = self.types["Structure"]
            names = self._pattern(rule["pattern"])
            for name in value.keys() & rule["members"]:
                self._member(name, value, rule)
            return bool(value) and all(
                name in rule["members"] or (names.fullmatch(name) and self._content_at(item, f".{name}"))
                for name, item in value.items()
            )
        return value is not None


def _contained_ids(contained: Sequence[dict[str, Any]]) -> Set[str]:
    """Return the ids of the contained resources. Raises ProfileError for an id that two of them have."""
    found = set()
    for index, one in enumerate(contained):
        if one.get("id") in found:
            raise ProfileError("must not be the id of another contained resource", ".id", f"[{index}]", ".contained")
        if "id" in one:
            found.add(one["id"])
    return found


def _check_references(value: Any, local: Set[str]) -> None:
    """Check that each local reference has its contained resource (ref-1). `#` alone refers to the resource itself."""
    steps: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str) and reference[:1] == "#" and reference[1:] not in {"", *local}:
            raise ProfileError("must have a contained resource of that id", ".reference")
        steps = ((f".{name}", item) for name, item in value.items())
    elif isinstance(value, list):
        steps = ((f"[{index}]", item) for index, item in enumerate(value))
    for step, item in steps:
        try:
            _check_references(item, local)
        except ProfileError as error:
            error.path.append(step)
            raise


def _check_extension(element: dict[str, Any]) -> None:
    if "extension" not in element:
        raise ProfileError("must have a value or an extension")


def _element_name(name: str, rule: dict[str, Any]) -> str:
    """Return the FHIRPath name of a member, without the type of a [x] and the underscore of JSON."""
    for base, names in rule.get("choices", {}).items():
        if name in names:
            return str(base)
    return name.removeprefix("_")
