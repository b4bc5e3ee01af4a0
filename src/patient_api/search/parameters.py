"""Define the search parameters of each type, and parse searches.

Parsing, the CapabilityStatement and the OpenAPI document derive from the same definitions. A parameter that is not
understood is dropped or rejected by the rule in `http.criteria`. Errors name the parameter and the rule, never the
value.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import Malformed
from patient_api.fhir.dates import Prefix, Span, span
from patient_api.fhir.normalize import fold
from patient_api.http.criteria import Criteria, Pairs, checked, count_in
from patient_api.store.model import is_id

AUDIT: Final = "AuditEvent"

DEFAULT_COUNT: Final = 20
LARGEST_COUNT: Final = 50
LARGEST_ALTERNATIVES: Final = 20  # values of one parameter, separated by commas
LARGEST_CRITERIA: Final = 20  # parameters of one search, repetitions included
LONGEST_VALUE: Final = 1024  # characters of one parameter
PREFIXES: Final = tuple(prefix.value for prefix in Prefix)
SORTS: Final = ("_lastUpdated", "-_lastUpdated")

DOCUMENT_STATUS: Final = "http://hl7.org/fhir/document-reference-status"
GENDER: Final = "http://hl7.org/fhir/administrative-gender"
OUTCOME: Final = "http://hl7.org/fhir/audit-event-outcome"


class ParameterType(StrEnum):
    """http://hl7.org/fhir/R4/valueset-search-param-type.html"""

    STRING = "string"
    TOKEN = "token"  # noqa: S105 - a type of parameter
    DATE = "date"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Parameter:
    """A search parameter. No modifier is supported.

    Attributes:
        definition: FHIR's own SearchParameter; None where this one differs from it.
        prefixes: the comparison prefixes that a value may have.
        system: the system that a token without one implies.
        identifies: whether values are ids of resources.
    """

    name: str
    type: ParameterType
    documentation: str
    definition: str | None
    prefixes: tuple[str, ...] = ()
    system: str | None = None
    identifies: bool = False


@dataclass(frozen=True)
class Control:
    """A parameter that controls the response. `values` are all values that it takes, if they are few."""

    name: str
    documentation: str
    values: tuple[str, ...] = ()


def _defined(name: str) -> str:
    return f"http://hl7.org/fhir/SearchParameter/{name}"


def _string(name: str, documentation: str, definition: str) -> Parameter:
    how = "Matches the beginning, without regard to case, accents and white space."
    return Parameter(name, ParameterType.STRING, f"{documentation} {how}", _defined(definition))


def _date(name: str, documentation: str, definition: str) -> Parameter:
    how = f"A date, or a time with its zone, after one of {', '.join(PREFIXES)} or none."
    return Parameter(name, ParameterType.DATE, f"{documentation} {how}", _defined(definition), prefixes=PREFIXES)


def _code_catalogue(name: str, documentation: str, definition: str, system: str) -> Parameter:
    return Parameter(name, ParameterType.TOKEN, documentation, _defined(definition), system=system)


_ID: Final = Parameter(
    "_id", ParameterType.TOKEN, "The resource's id, which is case-sensitive.", _defined("Resource-id"), identifies=True
)
_UPDATED: Final = _date("_lastUpdated", "The time of the last change.", "Resource-lastUpdated")
_CODED: Final = (
    "`code`, `system|code`, `|code` for one without a system, or `system|` for all of a system; case does not "
    "matter in codes."
)


def _patient(documentation: str, definition: str) -> Parameter:
    how = "`Patient/<id>` or `<id>`."
    kind = ParameterType.REFERENCE
    return Parameter("patient", kind, f"{documentation} {how}", _defined(definition), identifies=True)


PARAMETERS: Final[Mapping[str, tuple[Parameter, ...]]] = {
    PATIENT: (
        _ID,
        _UPDATED,
        Parameter("identifier", ParameterType.TOKEN, f"An identifier. {_CODED}", _defined("Patient-identifier")),
        _string("family", "A family name.", "individual-family"),
        _string("given", "A given name.", "individual-given"),
        _string("name", "A family name, given name, prefix, suffix or whole name.", "Patient-name"),
        _date("birthdate", "The date of birth.", "individual-birthdate"),
        _code_catalogue("gender", "male, female, other or unknown.", "individual-gender", GENDER),
    ),
    DOCUMENT: (
        _ID,
        _UPDATED,
        _patient("The patient the document is about.", "clinical-patient"),
        _date("date", "The time at which the reference was created.", "DocumentReference-date"),
        _code_catalogue(
            "status", "current, superseded or entered-in-error.", "DocumentReference-status", DOCUMENT_STATUS
        ),
        Parameter("type", ParameterType.TOKEN, f"The kind of document. {_CODED}", _defined("clinical-type")),
    ),
    AUDIT: (
        _patient("The patient whose record, or whose document, was accessed.", "AuditEvent-patient"),
        _date("date", "The time of the access.", "AuditEvent-date"),
        # FHIR's parameter of this name is a reference; our agents are subjects of tokens, not resources.
        Parameter("agent", ParameterType.TOKEN, "The subject of the token that accessed it.", None),
        _code_catalogue("outcome", "0 success, 4 refused, 8 failed.", "AuditEvent-outcome", OUTCOME),
    ),
}

_COUNT: Final = Control(
    "_count",
    f"Entries on a page: {DEFAULT_COUNT} unless asked otherwise, {LARGEST_COUNT} at most. A page may have fewer. "
    "With 0 the answer is the total alone.",
)
_SUMMARY: Final = Control(
    "_summary", "`count` for the total alone; `false` is what is answered anyway.", ("false", "count")
)
_TOTAL: Final = Control(
    "_total",
    "With `accurate` each page has the total, or the search is refused if that would cost too much; otherwise a page "
    "has it when it is known.",
    ("none", "estimate", "accurate"),
)
_SORT: Final = Control("_sort", "By the last change, or with `-` the newest first.", SORTS)
# Not FHIR's, but what the client library fhirpy counts with.
_TOTAL_METHOD: Final = Control("_totalMethod", "`count` is the same as `_total=accurate`.", ("count",))
_CURSOR: Final = Control("_cursor", "Goes on where a page ended: taken from its link `next`, of use for an hour.")
_FORMAT: Final = Control("_format", "Weighs more than the header Accept.")
_PRETTY: Final = Control("_pretty", "Answers are compact either way.", ("true", "false"))

CONTROLS: Final[Mapping[str, tuple[Control, ...]]] = {
    PATIENT: (_COUNT, _SORT, _SUMMARY, _TOTAL, _TOTAL_METHOD, _CURSOR, _FORMAT, _PRETTY),
    DOCUMENT: (_COUNT, _SORT, _SUMMARY, _TOTAL, _TOTAL_METHOD, _CURSOR, _FORMAT, _PRETTY),
    AUDIT: (_COUNT, _SUMMARY, _TOTAL, _TOTAL_METHOD, _CURSOR, _FORMAT, _PRETTY),
}


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
    """A parsed search. All criteria have to match. `fingerprint` distinguishes one search from another.

    `pairs` are the parameters that were understood, `dropped` the names of the others. A search with `count` 0 returns
    the total alone; `counted` requests the total, within bounds.
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
    pairs, dropped = checked(pairs, takes=known.keys() | _control_names(kind), lenient=lenient)
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
    checked(criteria.pairs, takes=[parameter.name for parameter in PARAMETERS[kind]])
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
