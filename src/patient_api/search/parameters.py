"""Searches as they are asked. What is not understood is dropped or refused by the rule of `exchange.criteria`.

Errors name the parameter and the rule, never the value.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from patient_api.errors import Malformed
from patient_api.exchange.criteria import Criteria, Pairs, count_in, kept
from patient_api.fhir.dates import Prefix, Span, span
from patient_api.fhir.folding import fold
from patient_api.records.model import PATIENT, is_id
from patient_api.search.catalogue import (
    CONTROLS,
    DEFAULT_COUNT,
    LARGEST_ALTERNATIVES,
    LARGEST_COUNT,
    LARGEST_CRITERIA,
    LONGEST_VALUE,
    PARAMETERS,
    PREFIXES,
    Parameter,
    ParameterType,
)


@dataclass(frozen=True)
class Text:
    """The beginning of a string, folded."""

    folded: str


@dataclass(frozen=True)
class Code:
    """A code in a system: in any when that is None, in none when it is empty. Without a code, all of the system."""

    system: str | None
    code: str | None


@dataclass(frozen=True)
class When:
    """A date to compare with."""

    prefix: Prefix
    span: Span


@dataclass(frozen=True)
class Id:
    """The id of a resource."""

    id: str


Value: TypeAlias = Text | Code | When | Id
V = TypeVar("V", Text, Code, When, Id)


@dataclass(frozen=True)
class Criterion:
    """One of the values has to match."""

    name: str
    values: tuple[Value, ...]

    def each(self, kind: type[V]) -> list[V]:
        """The values of this kind; a criterion holds but one kind."""
        return [value for value in self.values if isinstance(value, kind)]


@dataclass(frozen=True)
class Search:
    """What is looked for: all of the criteria have to match. `fingerprint` tells one search from another.

    `pairs` are the parameters that were understood, `dropped` the names of the others. A search of `count` 0 is for the
    total alone; `counted` says that the total is wanted, whatever it costs within bounds.
    """

    criteria: tuple[Criterion, ...]
    fingerprint: str
    pairs: Pairs = ()
    dropped: Sequence[str] = ()
    count: int = DEFAULT_COUNT
    counted: bool = False
    sort: str | None = None
    cursor: str | None = None

    def named(self, name: str) -> list[Criterion]:
        """The criteria of that name."""
        return [criterion for criterion in self.criteria if criterion.name == name]

    def only(self, name: str) -> str | None:
        """The id that the parameter of that name confines the search to; None for no id or several."""
        found = {value.id for criterion in self.named(name) for value in criterion.each(Id)}
        return found.pop() if len(found) == 1 else None


_FORBIDDEN: Final = re.compile("[\0\ud800-\udfff]")
_ESCAPED: Final = frozenset(",|$\\")
_UNSUPPORTED: Final = frozenset({"ne", "sa", "eb", "ap"})


def search_in(kind: str, pairs: Pairs, *, lenient: bool = False) -> Search:
    """The search of resources of that type. Raises Malformed, NotAcceptable."""
    known = {parameter.name: parameter for parameter in PARAMETERS[kind]}
    pairs, dropped = kept(pairs, takes=known.keys() | _control_names(kind), lenient=lenient)
    controls = _controls(kind, pairs)
    asked = [(name, value) for name, value in pairs if name not in controls]
    if dropped and not asked:
        raise Malformed(f"No criterion is left: none of the parameters is known, of {', '.join(sorted(known))}.")
    if len(asked) > LARGEST_CRITERIA:
        raise Malformed(f"A search takes {LARGEST_CRITERIA} parameters at most.")
    for control in CONTROLS[kind]:
        if control.values and controls.get(control.name, control.values[0]) not in control.values:
            raise Malformed(f"{control.name} takes {' or '.join(control.values)}.")
    count = count_in(controls.get("_count"), default=DEFAULT_COUNT, most=LARGEST_COUNT)
    if controls.get("_summary") == "count":
        count = 0
    cursor = controls.get("_cursor")
    if count == 0 and cursor is not None:
        raise Malformed("A search for the total alone has no pages: leave out _cursor.")
    sort = controls.get("_sort")
    return Search(
        criteria=tuple(_criterion(known[name], value) for name, value in asked),
        fingerprint=hashlib.sha256(json.dumps([sort, sorted(asked)]).encode()).hexdigest(),
        pairs=pairs,
        dropped=dropped,
        count=count,
        counted=count == 0 or controls.get("_total") == "accurate" or "_totalMethod" in controls,
        sort=sort,
        cursor=cursor,
    )


def criteria_in(kind: str, criteria: Criteria) -> Search:
    """The search of a conditional request: criteria, at least one, and nothing else. Raises Malformed."""
    names = _control_names(kind)
    if not criteria.pairs or any(name in names for name, _ in criteria.pairs):
        raise Malformed(f"The criteria in {criteria.place} must be search parameters, at least one, and nothing else.")
    kept(criteria.pairs, takes=[parameter.name for parameter in PARAMETERS[kind]])
    return search_in(kind, criteria.pairs)


def _controls(kind: str, pairs: Pairs) -> Mapping[str, str]:
    names = _control_names(kind)
    given = [(name, value) for name, value in pairs if name in names]
    if len(dict(given)) != len(given):
        raise Malformed(f"A search takes each of {', '.join(sorted(names))} once.")
    return dict(given)


def _control_names(kind: str) -> set[str]:
    return {control.name for control in CONTROLS[kind]}


def _criterion(parameter: Parameter, value: str) -> Criterion:
    name = parameter.name
    if len(value) > LONGEST_VALUE:
        raise Malformed(f"{name} exceeds {LONGEST_VALUE} characters.")
    if _FORBIDDEN.search(value):
        raise Malformed(f"{name} holds NUL or half of a surrogate pair.")
    alternatives = _alternatives(value, name)
    if len(alternatives) > LARGEST_ALTERNATIVES:
        raise Malformed(f"{name} takes {LARGEST_ALTERNATIVES} values at most.")
    return Criterion(name, tuple(dict.fromkeys(_value(parameter, parts) for parts in alternatives)))


def _alternatives(value: str, name: str) -> list[list[str]]:
    """The values between commas, each in its parts between vertical bars (search.html#escaping)."""
    found = [[""]]
    characters = iter(value)
    for character in characters:
        if character == ",":
            found.append([""])
        elif character == "|":
            found[-1].append("")
        elif character == "\\":
            escaped = next(characters, None)
            if escaped not in _ESCAPED:
                raise Malformed(f"{name} has a backslash that escapes nothing: write two for one.")
            found[-1][-1] += str(escaped)
        else:
            found[-1][-1] += character
    return found


def _value(parameter: Parameter, parts: list[str]) -> Value:
    if parameter.identifies:
        return _id(parameter, "|".join(parts))
    if parameter.type is ParameterType.TOKEN:
        return _code(parameter.name, parts)
    if parameter.type is ParameterType.DATE:
        return _when(parameter.name, "|".join(parts))
    folded = fold("|".join(parts))
    if not folded:
        raise Malformed(f"{parameter.name} has an empty value.")
    return Text(folded)


def _id(parameter: Parameter, text: str) -> Id:
    name = text.removeprefix(f"{PATIENT}/") if parameter.type is ParameterType.REFERENCE else text
    # What is no id finds nothing, and may be anything: it must not get into a key.
    if not is_id(name):
        raise Malformed(f"{parameter.name} has a value that is no id.")
    return Id(name)


def _code(name: str, parts: list[str]) -> Code:
    if len(parts) > 2:
        raise Malformed(f"{name} has more than one vertical bar: escape those of the code or the system.")
    system, code = (None, parts[0]) if len(parts) == 1 else parts
    if not system and not code:
        raise Malformed(f"{name} has a value without a code or a system.")
    return Code(system, code or None)


def _when(name: str, text: str) -> When:
    prefix, rest = (text[:2], text[2:]) if text[:1].isalpha() else (Prefix.EQ.value, text)
    if prefix in _UNSUPPORTED:
        raise Malformed(f"{name} takes the prefixes {', '.join(PREFIXES)} only.")
    asked = span(rest)
    if prefix not in PREFIXES or asked is None:
        raise Malformed(
            f"{name} must be a date that exists, such as 1970, 1970-05 or 1970-05-02, or a time with its zone, "
            "such as 1970-05-02T10:00:00Z; in a URL the sign + is written %2B."
        )
    return When(Prefix(prefix), asked)
