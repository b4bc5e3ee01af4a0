"""Parse searches.

A parameter that is not understood is dropped or rejected by the rule in `http.criteria`. Errors name the parameter and
the rule, never the value.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from patient_api.errors import Malformed
from patient_api.http.criteria import Criteria, Pairs, checked, count_in
from patient_api.search.parameters import (
    CONTROLS,
    DEFAULT_COUNT,
    LARGEST_ALTERNATIVES,
    LARGEST_COUNT,
    LONGEST_VALUE,
    PARAMETERS,
    Lookup,
    Parameter,
)

LARGEST_CRITERIA: Final = 20  # parameters of one search, repetitions included

_FORBIDDEN: Final = re.compile("[\0\ud800-\udfff]")
_ESCAPED: Final = frozenset(",|$\\")


@dataclass(frozen=True)
class Criterion:
    """A parameter and its values, of which one has to match."""

    parameter: Parameter
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Search:
    """A parsed search. All criteria have to match.

    Attributes:
        fingerprint: equal for searches of the same criteria and order.
        pairs: the parameters that were understood.
        dropped: the names of the other parameters.
        count: the largest number of entries on a page; with 0 the response is the total alone.
        counted: whether the total is requested, within bounds.
    """

    criteria: tuple[Criterion, ...]
    fingerprint: str
    pairs: Pairs = ()
    dropped: Sequence[str] = ()
    count: int = DEFAULT_COUNT
    counted: bool = False
    sort: str | None = None
    cursor: str | None = None

    def values(self, name: str) -> list[tuple[Any, ...]]:
        """Return the values of each criterion of that name."""
        return [criterion.values for criterion in self.criteria if criterion.parameter.name == name]

    def only(self, name: str) -> str | None:
        """Return the id that the criteria of that name restrict the search to. None for no id or several."""
        found = {id for values in self.values(name) for id in values}
        return str(found.pop()) if len(found) == 1 else None

    def lookups(self) -> list[Lookup]:
        """Return the index lookups that narrow the search down."""
        indexed = {
            criterion.parameter.name: criterion.parameter for criterion in self.criteria if criterion.parameter.index
        }
        return [lookup for name, parameter in indexed.items() for lookup in parameter.lookups(self.values(name))]

    def matches(self, record: Any) -> bool:
        """Return whether a record meets all criteria: a resource of the searched type or, for AuditEvent, an event."""
        return all(criterion.parameter.meets(record, criterion.values) for criterion in self.criteria)


def parse_search(type: str, pairs: Pairs, *, lenient: bool = False) -> Search:
    """Return the search of resources of that type. Raises Malformed, NotAcceptable."""
    known = {parameter.name: parameter for parameter in PARAMETERS[type]}
    pairs, dropped = checked(pairs, takes=known.keys() | _control_names(type), lenient=lenient)
    controls = _controls(type, pairs)
    given = [(name, value) for name, value in pairs if name not in controls]
    if dropped and not given:
        raise Malformed(f"The search has no known criterion; known are {', '.join(sorted(known))}.")
    if len(given) > LARGEST_CRITERIA:
        raise Malformed(f"A search may have at most {LARGEST_CRITERIA} parameters.")
    count = count_in(controls.get("_count"), default=DEFAULT_COUNT, most=LARGEST_COUNT)
    if controls.get("_summary") == "count":
        count = 0
    if count == 0 and "_cursor" in controls:
        raise Malformed("A search without entries has no pages: omit _cursor.")
    sort = controls.get("_sort")
    return Search(
        criteria=tuple(_criterion(known[name], value) for name, value in given),
        fingerprint=hashlib.sha256(json.dumps([sort, sorted(given)]).encode()).hexdigest(),
        pairs=pairs,
        dropped=dropped,
        count=count,
        counted=count == 0 or controls.get("_total") == "accurate" or "_totalMethod" in controls,
        sort=sort,
        cursor=controls.get("_cursor"),
    )


def parse_criteria(type: str, criteria: Criteria) -> Search:
    """Return the search of a conditional request, which has criteria and no controls. Raises Malformed."""
    controls = _control_names(type)
    if not criteria.pairs or any(name in controls for name, _ in criteria.pairs):
        raise Malformed(f"The criteria in {criteria.place} must be search parameters, at least one, and nothing else.")
    checked(criteria.pairs, takes=[parameter.name for parameter in PARAMETERS[type]])
    return parse_search(type, criteria.pairs)


def _controls(type: str, pairs: Pairs) -> Mapping[str, str]:
    names = _control_names(type)
    given = [(name, value) for name, value in pairs if name in names]
    controls = dict(given)
    if len(controls) != len(given):
        raise Malformed(f"Each of {', '.join(sorted(names))} may appear once.")
    for control in CONTROLS[type]:
        if control.values and controls.get(control.name, control.values[0]) not in control.values:
            raise Malformed(f"{control.name} must be {' or '.join(control.values)}.")
    return controls


def _control_names(type: str) -> set[str]:
    return {control.name for control in CONTROLS[type]}


def _criterion(parameter: Parameter, value: str) -> Criterion:
    name = parameter.name
    if len(value) > LONGEST_VALUE:
        raise Malformed(f"{name} exceeds {LONGEST_VALUE} characters.")
    if _FORBIDDEN.search(value):
        raise Malformed(f"{name} contains NUL or half of a surrogate pair.")
    alternatives = _alternatives(value, name)
    if len(alternatives) > LARGEST_ALTERNATIVES:
        raise Malformed(f"{name} may have at most {LARGEST_ALTERNATIVES} values.")
    return Criterion(parameter, tuple(dict.fromkeys(map(parameter.parse, alternatives))))


def _alternatives(value: str, name: str) -> list[list[str]]:
    """Split at commas and then at vertical bars, unless escaped (https://hl7.org/fhir/R4/search.html#escaping)."""
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
                raise Malformed(f"{name} has a backslash that escapes no character: write two backslashes for one.")
            found[-1][-1] += str(escaped)
        else:
            found[-1][-1] += character
    return found
