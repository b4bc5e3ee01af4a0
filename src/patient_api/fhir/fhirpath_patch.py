"""FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html) on a resource: never on what belongs to the server.

Paths are of the part of FHIRPath that leads to an element: `Patient.name.where(use = 'official').given[0]`, with
`first()`, `last()`, `extension('url')`, and in `where` comparisons joined by `and`.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from patient_api.errors import Malformed, Unprocessable
from patient_api.fhir.codec import JsonValue, Number
from patient_api.fhir.patch import MAX_OPERATIONS, weigh
from patient_api.fhir.profile import types_of

Resource: TypeAlias = dict[str, Any]
Literal: TypeAlias = "str | bool | Number"

LONGEST_PATH: Final = 1024

_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "add": frozenset({"path", "name", "value"}),
    "insert": frozenset({"path", "value", "index"}),
    "delete": frozenset({"path"}),
    "replace": frozenset({"path", "value"}),
    "move": frozenset({"path", "source", "destination"}),
}
_OF_THE_SERVER: Final = frozenset({"id", "meta", "resourceType"})
_NAME: Final = re.compile("[A-Za-z][A-Za-z0-9]*")
_INDEX: Final = re.compile("0|[1-9][0-9]{0,8}")
# http://hl7.org/fhirpath/N1/#string
_ESCAPES: Final[Mapping[str, str]] = {
    **{character: character for character in "'\"`\\/"}, "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<name>[A-Za-z][A-Za-z0-9]*)|(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<sign>[.()\[\]=]))"
)


@dataclass(frozen=True)
class Value:
    """A value with the data type that it came as, such as `HumanName`; empty for a resource, or one made of parts."""

    type: str
    content: JsonValue
    parts: Sequence[Resource] | None = None


@dataclass(frozen=True)
class Place:
    """An element: the way to it in JSON, its type in the profile and, for an element [x], the name without the type."""

    way: tuple[str | int, ...]
    type: str
    choice: str | None = None


@dataclass(frozen=True)
class Member:
    """An element that another one may have: its name in JSON, its type, and whether it repeats or is an [x]."""

    name: str
    type: str
    many: bool = False
    choice: str | None = None


@dataclass(frozen=True)
class Step:
    """One step of a path; `member` is the element it leads to, and the others pick some of what was found so far."""

    member: str | None = None
    index: int | None = None
    conditions: tuple[tuple[tuple[str, ...], Literal], ...] = ()


def apply(resource: Resource, document: JsonValue) -> Resource:
    """`resource` with the patch applied as a whole; the resource passed in stays as it is.

    Raises Malformed for what is no FHIRPath Patch; Unprocessable for a path that is not understood or does not lead to
    one element, for a change of id, meta or resourceType, and for a result out of bounds. No text holds any of it.
    """
    operations = [_Operation(position, item) for position, item in enumerate(_listed(document))]
    patched = copy.deepcopy(resource)
    for operation in operations:
        operation.apply(patched)
    weigh(patched)
    return patched


class _Operation:
    """One operation, as a parameter with its parts."""

    def __init__(self, position: int, parameter: Any) -> None:
        self._position = position
        if not isinstance(parameter, dict) or parameter.get("name") != "operation":
            raise Malformed(f"{self} is no parameter named operation.")
        parts = self._parts(parameter.get("part"))
        kind = parts.pop("type", {}).get("valueCode")
        if not isinstance(kind, str) or kind not in _PARTS:
            raise Malformed(f"{self} has no type of FHIRPath Patch: {', '.join(_PARTS)}.")
        if parts.keys() != _PARTS[kind]:
            raise Malformed(f"{self} takes {', '.join(sorted(_PARTS[kind]))}, each once: it is of type {kind}.")
        self._kind = kind
        self._path = self._steps(self._of_type(parts, "path", "valueString", str))
        self._name = self._of_type(parts, "name", "valueString", str) if "name" in parts else ""
        self._value = self._valued(parts["value"]) if "value" in parts else Value("", None)
        numbers = {
            name: self._of_type(parts, name, "valueInteger", Number)
            for name in parts.keys() & {"index", "source", "destination"}
        }
        # By the text: as an int, a number such as 1e999999999 takes all the memory there is.
        if not all(_INDEX.fullmatch(number.text) for number in numbers.values()):
            raise Malformed(f"{self} has an index that is none.")
        self._numbers = {name: int(number) for name, number in numbers.items()}

    def __str__(self) -> str:
        return f"Operation {self._position} of the patch"

    def apply(self, resource: Resource) -> None:
        """Change `resource` in place."""
        shape = _Shape(resource, str(self))
        if self._kind == "add":
            self._add(shape)
        elif self._kind in {"insert", "move"}:
            self._reorder(shape)
        else:
            self._change(shape)

    def _add(self, shape: "_Shape") -> None:
        place = shape.only(shape.find(self._path))
        holder = shape.holder(place)
        member = shape.member(place.type, self._name, holder, of_type=self._value.type)
        shape.check_changeable((*place.way, member.name))
        content = shape.built(self._value, member.type)
        if member.many:
            holder[member.name] = [*shape.listed(holder, member.name), content]
        elif member.name in holder or (member.choice and shape.present(place.type, holder, member.choice)):
            raise Unprocessable(f"{self} adds an element that is there already.")
        else:
            holder[member.name] = content

    def _reorder(self, shape: "_Shape") -> None:
        *way, last = self._path
        if last.member is None:
            raise Unprocessable(f"{self} is not on a list as a whole.")
        place = shape.only(shape.find(way))
        holder = shape.holder(place)
        member = shape.member(place.type, last.member, holder)
        shape.check_changeable((*place.way, member.name))
        if not member.many:
            raise Unprocessable(f"{self} is not on a list.")
        items = shape.listed(holder, member.name)
        if self._kind == "insert":
            if self._numbers["index"] > len(items):
                raise Unprocessable(f"{self} has an index beyond the list.")
            items.insert(self._numbers["index"], shape.built(self._value, member.type))
            holder[member.name] = items
            return
        if max(self._numbers.values()) >= len(items):
            raise Unprocessable(f"{self} has an index beyond the list.")
        items.insert(self._numbers["destination"], items.pop(self._numbers["source"]))
        holder[member.name] = items

    def _change(self, shape: "_Shape") -> None:
        found = shape.find(self._path)
        if self._kind == "delete" and not found:
            return
        place = shape.only(found)
        shape.check_changeable(place.way)
        *way, last = place.way
        parent = shape.at(tuple(way))
        if isinstance(last, int):
            shape.listed(shape.at(tuple(way[:-1])), str(way[-1]))
            if self._kind == "replace":
                parent[last] = shape.built(self._value, place.type)
                return
            del parent[last]
            if not parent:
                del shape.at(tuple(way[:-1]))[way[-1]]
            return
        member = Member(last, place.type)
        if self._kind == "replace" and place.choice:
            member = shape.member(shape.type_of(tuple(way)), place.choice, parent, of_type=self._value.type)
        # The extensions of the old value go with it.
        parent.pop(f"_{last}", None)
        del parent[last]
        if self._kind == "replace":
            parent[member.name] = shape.built(self._value, member.type)

    def _parts(self, listed: Any) -> dict[str, Resource]:
        parts = {}
        for part in listed if isinstance(listed, list) else ():
            name = part.get("name") if isinstance(part, dict) else None
            if not isinstance(name, str) or name in parts:
                raise Malformed(f"{self} has a part without a name of its own.")
            parts[name] = part
        return parts

    def _of_type(self, parts: Mapping[str, Resource], name: str, element: str, kind: type[Any]) -> Any:
        value = parts[name].get(element)
        if not isinstance(value, kind):
            raise Malformed(f"{self} needs a {name} as {element}.")
        return value

    def _valued(self, part: Resource) -> Value:
        given = [(name, item) for name, item in part.items() if name != "name"]
        match given:
            case [("part", [*parts])]:
                return Value("", None, [_object(item) for item in parts])
            case [("resource", content)]:
                return Value("", content)
            case [(name, content)] if re.fullmatch("value[A-Z][A-Za-z0-9]*", name):
                return Value(name.removeprefix("value"), content)
        raise Malformed(f"{self} needs one value: of a data type, as value[x], or in parts.")

    def _steps(self, path: str) -> list[Step]:
        if len(path) > LONGEST_PATH:
            raise Unprocessable(f"{self} has a path of more than {LONGEST_PATH} characters.")
        try:
            return _Path(path).steps()
        except ValueError:
            raise Unprocessable(
                f"{self} has a path that is not understood: it may hold names, indices, first(), last(), "
                "extension('…') and where(… = … and …)."
            ) from None


class _Path:
    """Reads a path. Its methods raise ValueError for what is not understood."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if token is None or token.lastgroup is None:
                raise ValueError
            self._tokens.append((token.lastgroup, token[token.lastgroup]))
            at = token.end()

    def steps(self) -> list[Step]:
        found = [Step(member=self._next("name"))]
        while self._tokens:
            kind, text = self._tokens.pop(0)
            if (kind, text) == ("sign", "["):
                index = self._next("number")
                if not index.isdigit():
                    raise ValueError
                found.append(Step(index=int(index)))
                self._next("sign", "]")
            elif (kind, text) == ("sign", "."):
                found += self._named(self._next("name"))
            else:
                raise ValueError
        return found

    def _named(self, name: str) -> list[Step]:
        if self._tokens[:1] != [("sign", "(")]:
            return [Step(member=name)]
        self._next("sign", "(")
        steps: list[Step] = []
        if name in {"first", "last"}:
            steps = [Step(index=0 if name == "first" else -1)]
        elif name == "extension":
            steps = [Step(member="extension"), Step(conditions=((("url",), self._literal()),))]
        elif name == "where":
            conditions = [self._condition()]
            while self._tokens[:1] == [("name", "and")]:
                self._next("name")
                conditions.append(self._condition())
            steps = [Step(conditions=tuple(conditions))]
        else:
            raise ValueError
        self._next("sign", ")")
        return steps

    def _condition(self) -> tuple[tuple[str, ...], Literal]:
        names = [self._next("name")]
        while self._tokens[:1] == [("sign", ".")]:
            self._next("sign")
            names.append(self._next("name"))
        self._next("sign", "=")
        return tuple(names), self._literal()

    def _literal(self) -> Literal:
        kind, text = self._tokens.pop(0) if self._tokens else ("", "")
        if kind == "text":
            return _unescaped(text[1:-1])
        if kind == "number":
            return Number(text)
        if (kind, text) in {("name", "true"), ("name", "false")}:
            return text == "true"
        raise ValueError

    def _next(self, kind: str, text: str | None = None) -> str:
        found = self._tokens.pop(0) if self._tokens else ("", "")
        if found[0] != kind or text not in {None, found[1]}:
            raise ValueError
        return found[1]


class _Shape:
    """A resource with the structure that its profile defines: elements, their types and cardinalities."""

    def __init__(self, resource: Resource, operation: str) -> None:
        self._resource = resource
        self._operation = operation
        self._root = str(resource["resourceType"])
        self._types = types_of(self._root)

    def find(self, steps: Sequence[Step]) -> list[Place]:
        """The elements that a path leads to. Raises Unprocessable for one that no such resource has."""
        found = [Place((), self._root)]
        for number, step in enumerate(steps):
            if step.index is not None:
                found = found[step.index :][:1]
            elif step.conditions:
                found = [place for place in found if self._meets(place, step)]
            elif number or step.member != self._root:
                found = [inner for place in found for inner in self._inner(place, str(step.member))]
        return found

    def only(self, places: Sequence[Place]) -> Place:
        """The one element. Raises Unprocessable for none or more."""
        if len(places) != 1:
            raise Unprocessable(
                f"{self._operation} has a path that leads to {'more than one' if places else 'no'} element."
            )
        return places[0]

    def at(self, way: tuple[str | int, ...]) -> Any:
        """Return the value at a path."""
        value: Any = self._resource
        for step in way:
            value = value[step]
        return value

    def holder(self, place: Place) -> Resource:
        """The element at a place, which has to have elements of its own."""
        holder = self.at(place.way)
        if not isinstance(holder, dict):
            raise Unprocessable(f"{self._operation} is on a primitive element, which has no others.")
        return holder

    def type_of(self, way: tuple[str | int, ...]) -> str:
        """The type of the element at the end of a way that leads to one."""
        kind = self._root
        for step in way:
            if isinstance(step, str):
                kind = self._types[kind].get("members", {}).get(step, ("Structure", 0))[0]
        return kind

    def member(self, kind: str, name: str, holder: Resource, *, of_type: str = "") -> Member:
        """The element of that name that `holder`, which is of the type `kind`, may have.

        Raises Unprocessable where there is no such element, or an element [x] that is not of that type.
        """
        rule = self._types[kind]
        members = rule.get("members", {})
        if not _NAME.fullmatch(name):
            raise self._missing()
        if name in rule.get("choices", {}):
            chosen = f"{name}{of_type}"
            if chosen not in members:
                raise Unprocessable(f"{self._operation} has a value of a type that does not fit.")
            return Member(chosen, members[chosen][0], choice=name)
        if name in members:
            of, most = members[name]
            return Member(name, of, many=most != 0)
        if rule["is"] != "structure":
            raise self._missing()
        return Member(name, "Structure", many=isinstance(holder.get(name), list))

    def present(self, kind: str, holder: Resource, choice: str) -> str | None:
        """The name in JSON under which an element [x] of that type is there."""
        names = self._types[kind]["choices"][choice]
        return next((name for name in names if name in holder and not name.startswith("_")), None)

    def built(self, value: Value, kind: str) -> JsonValue:
        """The value as JSON for an element of that type. Raises Unprocessable, Malformed."""
        if value.parts is None:
            return copy.deepcopy(value.content)
        made: Resource = {}
        for part in value.parts:
            name = part.get("name")
            given = [(key, item) for key, item in part.items() if key != "name"]
            if not isinstance(name, str) or len(given) != 1:
                raise Malformed(f"{self._operation} has a value with a part that has no name or no one value.")
            ((element, content),) = given
            member = self.member(kind, name, made, of_type=element.removeprefix("value"))
            if element == "part":
                items = content if isinstance(content, list) else []
                content = self.built(Value("", None, [_object(item) for item in items]), member.type)
            if not member.many and member.name in made:
                raise Unprocessable(f"{self._operation} has a value with two of a part that may be there once.")
            made[member.name] = [*made.get(member.name, []), content] if member.many else content
        return made

    def check_changeable(self, way: tuple[str | int, ...]) -> None:
        """Raises Unprocessable for what belongs to the server."""
        if not way or way[0] in _OF_THE_SERVER:
            raise Unprocessable(
                f"{self._operation} changes the id, the meta or the type of the resource, or all of it."
            )

    def listed(self, holder: Resource, name: str) -> list[Any]:
        """A copy of an element that repeats.

        Raises Unprocessable for primitives with extensions, which stand in a list of their own, and for what an earlier
        operation made something else of.
        """
        if f"_{name}" in holder:
            raise Unprocessable(f"{self._operation} is on a list whose values have extensions: send a JSON Patch.")
        items = holder.get(name, [])
        if not isinstance(items, list):
            raise self._missing()
        return list(items)

    def _inner(self, place: Place, name: str) -> list[Place]:
        holder = self.at(place.way)
        if not isinstance(holder, dict):
            raise self._missing()
        rule = self._types[place.type]
        if name in rule.get("choices", {}):
            found = self.present(place.type, holder, name)
            return [Place((*place.way, found), rule["members"][found][0], name)] if found else []
        member = self.member(place.type, name, holder)
        if name not in holder:
            return []
        value = holder[name]
        if isinstance(value, list):
            return [Place((*place.way, name, index), member.type) for index in range(len(value))]
        return [Place((*place.way, name), member.type)]

    def _meets(self, place: Place, step: Step) -> bool:
        for names, literal in step.conditions:
            found = [place]
            for name in names:
                found = [inner for one in found for inner in self._inner(one, name)]
            values = [self.at(one.way) for one in found]
            if not any(value == literal and isinstance(value, bool) == isinstance(literal, bool) for value in values):
                return False
        return True

    def _missing(self) -> Unprocessable:
        return Unprocessable(f"{self._operation} is on an element that does not exist.")


def _unescaped(text: str) -> str:
    """The characters of a string literal. Raises ValueError for an escape that FHIRPath does not have."""

    def character(escape: re.Match[str]) -> str:
        if escape["code"]:
            return chr(int(escape["code"], 16))
        if escape["name"] not in _ESCAPES:
            raise ValueError
        return _ESCAPES[escape["name"]]

    unescaped = re.sub(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<name>.))", character, text)
    # A character beyond 16 bits comes as a pair of surrogates; half of one is none.
    return unescaped.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le")


def _listed(document: JsonValue) -> list[JsonValue]:
    match document:
        case {"resourceType": "Parameters", "parameter": [*operations], **rest} if not rest.keys() - {"id", "meta"}:
            if len(operations) > MAX_OPERATIONS:
                raise Unprocessable(f"A patch may have {MAX_OPERATIONS} operations.")
            return operations
    raise Malformed("A FHIRPath Patch is a Parameters resource with operations.")


def _object(value: JsonValue) -> Resource:
    return value if isinstance(value, dict) else {}
