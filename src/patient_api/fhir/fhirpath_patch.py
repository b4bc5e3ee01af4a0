"""Apply FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html) to a resource.

Elements that belong to the server cannot be changed. Paths are limited to the part of FHIRPath that leads to an
element, such as `Patient.name.where(use = 'official').given[0]`, with `first()`, `last()`, `extension('url')`, and in
`where` comparisons joined by `and`.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from patient_api.errors import Malformed, Unprocessable
from patient_api.fhir.codec import JsonValue, Number
from patient_api.fhir.patch import MAX_OPERATIONS, check_weight
from patient_api.fhir.profile import types_of

Resource: TypeAlias = dict[str, Any]
Literal: TypeAlias = "str | bool | Number"

LONGEST_PATH: Final = 1024

_PARTS_OF_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "add": frozenset({"path", "name", "value"}),
    "insert": frozenset({"path", "value", "index"}),
    "delete": frozenset({"path"}),
    "replace": frozenset({"path", "value"}),
    "move": frozenset({"path", "source", "destination"}),
}
_SERVER_ELEMENTS: Final = frozenset({"id", "meta", "resourceType"})
_INDEX: Final = re.compile("0|[1-9][0-9]{0,8}")
# http://hl7.org/fhirpath/N1/#string
_ESCAPES: Final[Mapping[str, str]] = {
    **{character: character for character in "'\"`\\/"}, "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
_NAME: Final = "[A-Za-z][A-Za-z0-9]*+"
_TEXT: Final = r"'(?:[^'\\]|\\.)*+'"
_NAMES: Final = rf"{_NAME}(?:\s*\.\s*{_NAME})*+"
_NUMBER: Final = r"-?[0-9]++(?:\.[0-9]++)?"
_CONDITION: Final = re.compile(
    rf"(?P<names>{_NAMES})\s*=\s*(?:(?P<text>{_TEXT})|(?P<number>{_NUMBER})|(?P<boolean>true|false)\b)"
)
_CONDITION_TEXT: Final = rf"{_NAMES}\s*=\s*(?:{_TEXT}|{_NUMBER}|(?:true|false)\b)"
_FIRST_STEP: Final = re.compile(rf"\s*({_NAME})\s*")
_STEP: Final = re.compile(
    rf"""(?:
        \[ \s* (?P<index>[0-9]+) \s* \]
        | \. \s* (?P<end>first|last) \s* \( \s* \)
        | \. \s* extension \s* \( \s* (?P<url>{_TEXT}) \s* \)
        | \. \s* where \s* \( \s* (?P<conditions>{_CONDITION_TEXT} (?: \s* and\b \s* {_CONDITION_TEXT} )*+ ) \s* \)
        | \. \s* (?P<child>{_NAME})
    ) \s*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Value:
    """A value of an operation. `type` is its data type, such as `HumanName`, and empty for a resource or for parts."""

    type: str
    content: JsonValue
    parts: Sequence[Resource] | None = None


@dataclass(frozen=True)
class Element:
    """An element of a resource.

    `keys` lead to it in JSON, `type` is its type in the profile, and `choice` the name without the type of a [x].
    """

    keys: tuple[str | int, ...]
    type: str
    choice: str | None = None


@dataclass(frozen=True)
class Definition:
    """The definition of a child element. `many` is whether it repeats, `choice` the name without the type of a [x]."""

    name: str
    type: str
    many: bool = False
    choice: str | None = None


@dataclass(frozen=True)
class Step:
    """One step of a path: to a child element, to one element by its index, or to the elements that meet conditions."""

    child: str | None = None
    index: int | None = None
    conditions: tuple[tuple[tuple[str, ...], Literal], ...] = ()


def apply(resource: Resource, document: JsonValue) -> Resource:
    """Return a copy of `resource` with all operations applied.

    Raises Malformed for a document that is not a FHIRPath Patch. Raises Unprocessable for a path that is not supported
    or does not lead to one element, for a change of id, meta or resourceType, and for a result that is too large. Texts
    of errors contain no part of the document or the resource.
    """
    operations = [_Operation(position, item) for position, item in enumerate(_operations(document))]
    patched = copy.deepcopy(resource)
    for operation in operations:
        operation.apply(patched)
    check_weight(patched)
    return patched


class _Operation:
    """One operation of a patch."""

    def __init__(self, position: int, parameter: Any) -> None:
        self._position = position
        if not isinstance(parameter, dict) or parameter.get("name") != "operation":
            raise Malformed(f"{self} must be a parameter named operation.")
        parts = self._parts_by_name(parameter.get("part"))
        kind = parts.pop("type", {}).get("valueCode")
        if not isinstance(kind, str) or kind not in _PARTS_OF_TYPE:
            raise Malformed(f"{self} has no type of FHIRPath Patch: {', '.join(_PARTS_OF_TYPE)}.")
        if parts.keys() != _PARTS_OF_TYPE[kind]:
            raise Malformed(f"{self} takes {', '.join(sorted(_PARTS_OF_TYPE[kind]))}, each once: it is of type {kind}.")
        self._kind = kind
        self._path = self._parse_path(self._part(parts, "path", "valueString", str))
        self._name = self._part(parts, "name", "valueString", str) if "name" in parts else ""
        self._value = self._parse_value(parts["value"]) if "value" in parts else Value("", None)
        numbers = {
            name: self._part(parts, name, "valueInteger", Number)
            for name in parts.keys() & {"index", "source", "destination"}
        }
        # Check the text, because a number such as 1e999999999 would exhaust the memory as an int.
        if not all(_INDEX.fullmatch(number.text) for number in numbers.values()):
            raise Malformed(f"{self} has an invalid index.")
        self._numbers = {name: int(number) for name, number in numbers.items()}

    def __str__(self) -> str:
        return f"Operation {self._position} of the patch"

    def apply(self, resource: Resource) -> None:
        """Apply the operation to `resource` in place."""
        target = _TypedResource(resource, str(self))
        if self._kind == "add":
            self._add(target)
        elif self._kind in {"insert", "move"}:
            self._reorder(target)
        else:
            self._change(target)

    def _add(self, target: "_TypedResource") -> None:
        element = target.only(target.find(self._path))
        parent = target.parent(element)
        definition = target.definition(element.type, self._name, parent, of_type=self._value.type)
        target.check_changeable((*element.keys, definition.name))
        content = target.json_of(self._value, definition.type)
        if definition.many:
            parent[definition.name] = [*target.values_of(parent, definition.name), content]
        elif definition.name in parent or (
            definition.choice and target.present(element.type, parent, definition.choice)
        ):
            raise Unprocessable(f"{self} adds an element that already exists.")
        else:
            parent[definition.name] = content

    def _reorder(self, target: "_TypedResource") -> None:
        *steps, last = self._path
        if last.child is None:
            raise Unprocessable(f"{self} is not on a list as a whole.")
        element = target.only(target.find(steps))
        parent = target.parent(element)
        definition = target.definition(element.type, last.child, parent)
        target.check_changeable((*element.keys, definition.name))
        if not definition.many:
            raise Unprocessable(f"{self} is not on a list.")
        items = target.values_of(parent, definition.name)
        if self._kind == "insert":
            if self._numbers["index"] > len(items):
                raise Unprocessable(f"{self} has an index beyond the list.")
            items.insert(self._numbers["index"], target.json_of(self._value, definition.type))
            parent[definition.name] = items
            return
        if max(self._numbers.values()) >= len(items):
            raise Unprocessable(f"{self} has an index beyond the list.")
        items.insert(self._numbers["destination"], items.pop(self._numbers["source"]))
        parent[definition.name] = items

    def _change(self, target: "_TypedResource") -> None:
        found = target.find(self._path)
        if self._kind == "delete" and not found:
            return
        element = target.only(found)
        target.check_changeable(element.keys)
        *keys, last = element.keys
        parent = target.at(tuple(keys))
        if isinstance(last, int):
            target.values_of(target.at(tuple(keys[:-1])), str(keys[-1]))
            if self._kind == "replace":
                parent[last] = target.json_of(self._value, element.type)
                return
            del parent[last]
            if not parent:
                del target.at(tuple(keys[:-1]))[keys[-1]]
            return
        definition = Definition(last, element.type)
        if self._kind == "replace" and element.choice:
            definition = target.definition(
                target.type_of(tuple(keys)), element.choice, parent, of_type=self._value.type
            )
        # The extensions of the old value are removed, too.
        parent.pop(f"_{last}", None)
        del parent[last]
        if self._kind == "replace":
            parent[definition.name] = target.json_of(self._value, definition.type)

    def _parts_by_name(self, listed: Any) -> dict[str, Resource]:
        parts = {}
        for part in listed if isinstance(listed, list) else ():
            name = part.get("name") if isinstance(part, dict) else None
            if not isinstance(name, str) or name in parts:
                raise Malformed(f"{self} has a part without a name of its own.")
            parts[name] = part
        return parts

    def _part(self, parts: Mapping[str, Resource], name: str, element: str, kind: type[Any]) -> Any:
        value = parts[name].get(element)
        if not isinstance(value, kind):
            raise Malformed(f"{self} needs a {name} as {element}.")
        return value

    def _parse_value(self, part: Resource) -> Value:
        given = [(name, item) for name, item in part.items() if name != "name"]
        match given:
            case [("part", [*parts])]:
                return Value("", None, [_object(item) for item in parts])
            case [("resource", content)]:
                return Value("", content)
            case [(name, content)] if re.fullmatch("value[A-Z][A-Za-z0-9]*", name):
                return Value(name.removeprefix("value"), content)
        raise Malformed(f"{self} needs one value: of a data type, as value[x], or in parts.")

    def _parse_path(self, path: str) -> list[Step]:
        if len(path) > LONGEST_PATH:
            raise Unprocessable(f"{self} has a path of more than {LONGEST_PATH} characters.")
        try:
            return _steps(path)
        except ValueError:
            raise Unprocessable(
                f"{self} has a path that is not understood: it may hold names, indices, first(), last(), "
                "extension('…') and where(… = … and …)."
            ) from None


def _steps(path: str) -> list[Step]:
    """Return the steps of a path. Raises ValueError for a path that is not supported."""
    first = _FIRST_STEP.match(path)
    if first is None:
        raise ValueError
    found, at = [Step(child=first[1])], first.end()
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise ValueError
        if step["url"]:
            found += [Step(child="extension"), Step(conditions=((("url",), _unescaped(step["url"])),))]
        elif step["conditions"]:
            found.append(Step(conditions=tuple(map(_condition, _CONDITION.finditer(step["conditions"])))))
        elif step["child"]:
            found.append(Step(child=step["child"]))
        else:
            found.append(Step(index=int(step["index"]) if step["index"] else 0 if step["end"] == "first" else -1))
        at = step.end()
    return found


def _condition(match: re.Match[str]) -> tuple[tuple[str, ...], Literal]:
    names = tuple(name.strip() for name in match["names"].split("."))
    if match["text"]:
        return names, _unescaped(match["text"])
    return names, Number(match["number"]) if match["number"] else match["boolean"] == "true"


class _TypedResource:
    """A resource with the structure that its profile defines: elements, their types and cardinalities."""

    def __init__(self, resource: Resource, operation: str) -> None:
        self._resource = resource
        self._operation = operation
        self._root = str(resource["resourceType"])
        self._types = types_of(self._root)

    def find(self, steps: Sequence[Step]) -> list[Element]:
        """Return the elements that a path leads to. Raises Unprocessable for an element that the type does not have."""
        found = [Element((), self._root)]
        for number, step in enumerate(steps):
            if step.index is not None:
                found = found[step.index :][:1]
            elif step.conditions:
                found = [element for element in found if self._matches(element, step)]
            elif number or step.child != self._root:
                found = [inner for element in found for inner in self._children(element, str(step.child))]
        return found

    def only(self, elements: Sequence[Element]) -> Element:
        """Return the only element. Raises Unprocessable for none or several."""
        if len(elements) != 1:
            raise Unprocessable(
                f"{self._operation} has a path that leads to {'more than one' if elements else 'no'} element."
            )
        return elements[0]

    def at(self, keys: tuple[str | int, ...]) -> Any:
        """Return the value at the end of the keys."""
        value: Any = self._resource
        for step in keys:
            value = value[step]
        return value

    def parent(self, element: Element) -> Resource:
        """Return the JSON object of an element. Raises Unprocessable for a primitive element."""
        parent = self.at(element.keys)
        if not isinstance(parent, dict):
            raise Unprocessable(f"{self._operation} is on a primitive element, which has no child elements.")
        return parent

    def type_of(self, keys: tuple[str | int, ...]) -> str:
        """Return the type of the element at the end of the keys."""
        kind = self._root
        for step in keys:
            if isinstance(step, str):
                kind = self._types[kind].get("members", {}).get(step, ("Structure", 0))[0]
        return kind

    def definition(self, kind: str, name: str, parent: Resource, *, of_type: str = "") -> Definition:
        """Return the definition of the child `name` of `parent`, an element of the type `kind`.

        Raises Unprocessable for a child that the type does not have, and for a [x] that cannot be `of_type`.
        """
        rule = self._types[kind]
        members = rule.get("members", {})
        if not re.fullmatch(_NAME, name):
            raise self._missing()
        if name in rule.get("choices", {}):
            chosen = f"{name}{of_type}"
            if chosen not in members:
                raise Unprocessable(f"{self._operation} has a value of a type that does not fit.")
            return Definition(chosen, members[chosen][0], choice=name)
        if name in members:
            of, most = members[name]
            return Definition(name, of, many=most != 0)
        if rule["is"] != "structure":
            raise self._missing()
        return Definition(name, "Structure", many=isinstance(parent.get(name), list))

    def present(self, kind: str, parent: Resource, choice: str) -> str | None:
        """Return the JSON name that a [x] has in `parent`, None when it has no value."""
        names = self._types[kind]["choices"][choice]
        return next((name for name in names if name in parent and not name.startswith("_")), None)

    def json_of(self, value: Value, kind: str) -> JsonValue:
        """Return the value as JSON for an element of the type `kind`. Raises Unprocessable, Malformed."""
        if value.parts is None:
            return copy.deepcopy(value.content)
        made: Resource = {}
        for part in value.parts:
            name = part.get("name")
            given = [(key, item) for key, item in part.items() if key != "name"]
            if not isinstance(name, str) or len(given) != 1:
                raise Malformed(f"{self._operation} has a value with a part that does not have a name and one value.")
            ((element, content),) = given
            definition = self.definition(kind, name, made, of_type=element.removeprefix("value"))
            if element == "part":
                items = content if isinstance(content, list) else []
                content = self.json_of(Value("", None, [_object(item) for item in items]), definition.type)
            if not definition.many and definition.name in made:
                raise Unprocessable(f"{self._operation} has a value that repeats a part which may appear once.")
            made[definition.name] = [*made.get(definition.name, []), content] if definition.many else content
        return made

    def check_changeable(self, keys: tuple[str | int, ...]) -> None:
        """Check that an element does not belong to the server. Raises Unprocessable."""
        if not keys or keys[0] in _SERVER_ELEMENTS:
            raise Unprocessable(
                f"{self._operation} changes the id, the meta or the type of the resource, or replaces the resource."
            )

    def values_of(self, parent: Resource, name: str) -> list[Any]:
        """Return a copy of the values of a child that repeats.

        Raises Unprocessable for primitives with extensions, which are in a list of their own, and for a child that an
        earlier operation replaced by another type.
        """
        if f"_{name}" in parent:
            raise Unprocessable(f"{self._operation} is on a list whose values have extensions: send a JSON Patch.")
        items = parent.get(name, [])
        if not isinstance(items, list):
            raise self._missing()
        return list(items)

    def _children(self, element: Element, name: str) -> list[Element]:
        parent = self.at(element.keys)
        if not isinstance(parent, dict):
            raise self._missing()
        rule = self._types[element.type]
        if name in rule.get("choices", {}):
            found = self.present(element.type, parent, name)
            return [Element((*element.keys, found), rule["members"][found][0], name)] if found else []
        definition = self.definition(element.type, name, parent)
        if name not in parent:
            return []
        value = parent[name]
        if isinstance(value, list):
            return [Element((*element.keys, name, index), definition.type) for index in range(len(value))]
        return [Element((*element.keys, name), definition.type)]

    def _matches(self, element: Element, step: Step) -> bool:
        for names, literal in step.conditions:
            found = [element]
            for name in names:
                found = [inner for one in found for inner in self._children(one, name)]
            values = [self.at(one.keys) for one in found]
            if not any(value == literal and isinstance(value, bool) == isinstance(literal, bool) for value in values):
                return False
        return True

    def _missing(self) -> Unprocessable:
        return Unprocessable(f"{self._operation} is on an element that does not exist.")


def _unescaped(literal: str) -> str:
    """Return the characters of a string literal in quotes. Raises ValueError for an invalid escape."""

    def character(escape: re.Match[str]) -> str:
        if escape["code"]:
            return chr(int(escape["code"], 16))
        if escape["name"] not in _ESCAPES:
            raise ValueError
        return _ESCAPES[escape["name"]]

    unescaped = re.sub(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<name>.))", character, literal[1:-1])
    # A character beyond 16 bits is a pair of surrogates. Half a pair does not decode.
    return unescaped.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le")


def _operations(document: JsonValue) -> list[JsonValue]:
    match document:
        case {"resourceType": "Parameters", "parameter": [*operations], **rest} if not rest.keys() - {"id", "meta"}:
            if len(operations) > MAX_OPERATIONS:
                raise Unprocessable(f"A patch may have {MAX_OPERATIONS} operations.")
            return operations
    raise Malformed("A FHIRPath Patch is a Parameters resource with operations.")


def _object(value: JsonValue) -> Resource:
    return value if isinstance(value, dict) else {}
