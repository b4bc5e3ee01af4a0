"""Define the search parameters of each resource type.

Everything about a search parameter derives from its definition in `PARAMETERS`: how a search's values are parsed, which
elements of a resource they are compared with, the tokens that the resource is indexed by, and its entries in the
CapabilityStatement and the OpenAPI document. To add a parameter, add its definition.

An index token leads to candidates only, and a search checks each of them. So a token may be less specific than the
criterion, such as the first letters of a name. Records that were written before a parameter had an index have no token
for it.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import reduce
from typing import Any, ClassVar, Final, TypeAlias

from patient_api.audit.resource import OUTCOMES
from patient_api.contract.audit import AuditEvent
from patient_api.contract.keys import AUDIT_EVENT, DOCUMENT, PATIENT, instant
from patient_api.errors import Malformed
from patient_api.fhir.codec import JsonValue
from patient_api.fhir.dates import Prefix, Span, date_matches, reach, span, year_of
from patient_api.secrets import Secrets
from patient_api.store.model import Token, is_id

DEFAULT_COUNT: Final = 20
LARGEST_COUNT: Final = 50
LARGEST_ALTERNATIVES: Final = 20  # values of one parameter, separated by commas
LONGEST_VALUE: Final = 1024  # characters of one parameter
PREFIXES: Final = tuple(prefix.value for prefix in Prefix)
SORTS: Final = ("_lastUpdated", "-_lastUpdated")

# Leading letters of a name that make a token. A name has a token of each length that it reaches.
SHORT_PREFIX: Final = 2
LONG_PREFIX: Final = 4
LARGEST_YEARS: Final = 10  # years of birth that are looked up one by one

Resource = dict[str, JsonValue]
IndexToken: TypeAlias = tuple[str, str]
"""The name of an index and a value in clear text."""
Bounds: TypeAlias = tuple[int | None, int | None]
"""A range of nanoseconds since 1970, its end excluded. None leaves a side open."""


class ParameterType(StrEnum):
    """http://hl7.org/fhir/R4/valueset-search-param-type.html"""

    STRING = "string"
    TOKEN = "token"  # noqa: S105 - a type of parameter
    DATE = "date"
    REFERENCE = "reference"


class Selectivity(IntEnum):
    """How few candidates a lookup is expected to find; the lower, the fewer."""

    SYSTEM_AND_VALUE = 0
    VALUE = 1
    LONG_PREFIX = 2
    SHORT_PREFIX = 3
    YEAR = 4


@dataclass(frozen=True)
class Lookup:
    """Index tokens that together lead to every record that meets a criterion."""

    selectivity: Selectivity
    tokens: tuple[IndexToken, ...]

    @property
    def cost(self) -> tuple[int, int]:
        """The order of lookups by expected cost."""
        return self.selectivity, len(self.tokens)


@dataclass(frozen=True)
class Parameter(ABC):
    """A search parameter. No modifier is supported.

    Attributes:
        meaning: what the parameter is about, for clients.
        definition: the name of FHIR's own SearchParameter; None where this one differs from it.
        read: yields the elements that the parameter is about, from a resource or, for AuditEvent, an audit event.
        index: the name of the index that the elements are in; None for no index.
    """

    name: str
    meaning: str
    definition: str | None
    read: Callable[[Any], Iterable[Any]] = field(kw_only=True)
    index: str = field(default="", kw_only=True)
    type: ClassVar[ParameterType]
    syntax: ClassVar[str] = ""

    @property
    def documentation(self) -> str:
        """The meaning of the parameter and the syntax of its values."""
        return f"{self.meaning} {self.syntax}".rstrip()

    @abstractmethod
    def parse(self, parts: list[str]) -> Any:
        """Return one value of a search, which comes in its parts between vertical bars. Raises Malformed."""

    @abstractmethod
    def matches(self, value: Any, element: Any) -> bool:
        """Return whether an element matches a value of a search."""

    @abstractmethod
    def element_tokens(self, element: Any) -> Iterator[IndexToken]:
        """Yield the tokens of an element."""

    @abstractmethod
    def lookups(self, criteria: Sequence[Sequence[Any]]) -> Iterator[Lookup]:
        """Yield the lookups that narrow a search down; `criteria` are the values of each criterion, all to be met."""

    def meets(self, record: Any, values: Iterable[Any]) -> bool:
        """Return whether an element of a record matches any of the values."""
        elements = list(self.read(record))
        return any(self.matches(value, element) for value in values for element in elements)

    def tokens(self, record: Any) -> Iterator[IndexToken]:
        """Yield the tokens that a record is indexed by."""
        for element in self.read(record) if self.index else ():
            yield from self.element_tokens(element)


class StringParameter(Parameter):
    """Matches the beginning of a text. Values are folded texts, elements are texts."""

    type = ParameterType.STRING
    syntax = "Matches the beginning, without regard to case, accents and white space."

    def parse(self, parts: list[str]) -> str:
        folded = fold("|".join(parts))
        if not folded:
            raise Malformed(f"{self.name} has an empty value.")
        return folded

    def matches(self, value: str, element: str) -> bool:
        return fold(element).startswith(value)

    def element_tokens(self, element: str) -> Iterator[IndexToken]:
        folded = fold(element)
        if folded:
            yield self.index, folded[:SHORT_PREFIX]
        if len(folded) >= LONG_PREFIX:
            yield self.index, folded[:LONG_PREFIX]

    def lookups(self, criteria: Sequence[Sequence[str]]) -> Iterator[Lookup]:
        for values in criteria:
            shortest = min(map(len, values))
            if shortest >= SHORT_PREFIX:
                prefixes = (value[: LONG_PREFIX if len(value) >= LONG_PREFIX else SHORT_PREFIX] for value in values)
                selectivity = Selectivity.LONG_PREFIX if shortest >= LONG_PREFIX else Selectivity.SHORT_PREFIX
                yield Lookup(selectivity, _each_once((self.index, prefix) for prefix in prefixes))


@dataclass(frozen=True)
class Code:
    """A code in a system.

    The system is None for any system and empty for none. The code is None for every code of the system.
    """

    system: str | None
    code: str | None


@dataclass(frozen=True)
class TokenParameter(Parameter):
    """Matches codes. Values are `Code`s; elements are pairs of a system, empty for none, and a code.

    A system is a URI and must be identical. Codes match without case, because most systems do not define whether case
    matters (https://hl7.org/fhir/R4/search.html#token).
    """

    case_sensitive: bool = field(default=False, kw_only=True)
    type = ParameterType.TOKEN

    def parse(self, parts: list[str]) -> Code:
        if len(parts) > 2:
            raise Malformed(f"{self.name} has more than one vertical bar: escape those of the code or the system.")
        system, code = (None, parts[0]) if len(parts) == 1 else parts
        if not system and not code:
            raise Malformed(f"{self.name} has a value without a code or a system.")
        return Code(system, code or None)

    def matches(self, value: Code, element: tuple[str, str]) -> bool:
        system, code = element
        if value.system not in {None, system}:
            return False
        if value.code is None or value.code == code:
            return True
        return not self.case_sensitive and value.code.casefold() == code.casefold()

    def element_tokens(self, element: tuple[str, str]) -> Iterator[IndexToken]:
        system, code = element
        yield self._token(None, code)
        yield self._token(system, code)

    def lookups(self, criteria: Sequence[Sequence[Code]]) -> Iterator[Lookup]:
        for values in criteria:
            # A whole system has no token: every record of a tenant would be written to the same partition.
            tokens = [self._token(value.system, value.code) for value in values if value.code is not None]
            if len(tokens) == len(values):
                any_system = any(value.system is None for value in values)
                yield Lookup(Selectivity.VALUE if any_system else Selectivity.SYSTEM_AND_VALUE, _each_once(tokens))

    def _token(self, system: str | None, code: str) -> IndexToken:
        folded = code.casefold()
        return (self.index, folded) if system is None else (f"system-{self.index}", f"{system}|{folded}")


@dataclass(frozen=True)
class DateComparison:
    """A date of a search and how dates of records compare with it."""

    prefix: Prefix
    span: Span


class DateParameter(Parameter):
    """Matches dates and times. Values are `DateComparison`s; elements are texts. An index has the year of each date."""

    type = ParameterType.DATE
    syntax = f"A date, or a time with its zone, after one of {', '.join(PREFIXES)} or none."

    def parse(self, parts: list[str]) -> DateComparison:
        text = "|".join(parts)
        prefix, date = (text[:2], text[2:]) if text[:1].isalpha() else (Prefix.EQ.value, text)
        if prefix in {"ne", "sa", "eb", "ap"}:
            raise Malformed(f"{self.name} supports only the prefixes {', '.join(PREFIXES)}.")
        parsed = span(date)
        if prefix not in PREFIXES or parsed is None:
            raise Malformed(
                f"{self.name} must be a date that exists, such as 1970, 1970-05 or 1970-05-02, or a time with its "
                "zone, such as 1970-05-02T10:00:00Z; in a URL the sign + is written %2B."
            )
        return DateComparison(Prefix(prefix), parsed)

    def matches(self, value: DateComparison, element: str) -> bool:
        found = span(element)
        return found is not None and date_matches(value.prefix, value.span, found)

    def element_tokens(self, element: str) -> Iterator[IndexToken]:
        yield self.index, element[:4]

    def lookups(self, criteria: Sequence[Sequence[DateComparison]]) -> Iterator[Lookup]:
        # An indexed date lies within one year: if it reaches into a range, so does its year.
        low, high = bounds(criteria)
        if low is not None and high is not None:
            first, last = year_of(low), year_of(high - 1)
            if last - first < LARGEST_YEARS:
                years = tuple((self.index, f"{year:04d}") for year in range(first, last + 1))
                yield Lookup(Selectivity.YEAR, years)


class IdParameter(Parameter):
    """Matches ids of resources. Values and elements are ids."""

    type = ParameterType.TOKEN

    def parse(self, parts: list[str]) -> str:
        id = "|".join(parts)
        # Ids become parts of keys, so nothing else may pass.
        if not is_id(id):
            raise Malformed(f"{self.name} has a value that is not an id.")
        return id

    def matches(self, value: str, element: str) -> bool:
        return value == element

    def element_tokens(self, element: str) -> Iterator[IndexToken]:
        yield self.index, element

    def lookups(self, criteria: Sequence[Sequence[str]]) -> Iterator[Lookup]:
        for ids in criteria:
            yield Lookup(Selectivity.VALUE, _each_once((self.index, id) for id in ids))


class PatientParameter(IdParameter):
    """Matches references to patients: `Patient/<id>` or `<id>`."""

    type = ParameterType.REFERENCE
    syntax = "`Patient/<id>` or `<id>`."

    def parse(self, parts: list[str]) -> str:
        return super().parse(["|".join(parts).removeprefix(f"{PATIENT}/")])


def _each_once(tokens: Iterable[IndexToken]) -> tuple[IndexToken, ...]:
    return tuple(dict.fromkeys(tokens))


def fold(text: str) -> str:
    """Return the text as searches compare it (https://hl7.org/fhir/R4/search.html#string).

    It has no case, accents and superfluous white space: `  Zoë  ÅNGSTRÖM ` becomes `zoe angstrom`.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(bare.casefold().split())


def bounds(criteria: Sequence[Sequence[DateComparison]]) -> Bounds:
    """Return the range into which every date that meets all criteria extends."""
    ranges = [reduce(_union, (reach(value.prefix, value.span) for value in values)) for values in criteria]
    return (
        max((low for low, _ in ranges if low is not None), default=None),
        min((high for _, high in ranges if high is not None), default=None),
    )


def _union(one: Bounds, other: Bounds) -> Bounds:
    low = None if one[0] is None or other[0] is None else min(one[0], other[0])
    return low, None if one[1] is None or other[1] is None else max(one[1], other[1])


def _objects(value: JsonValue) -> Iterator[Resource]:
    yield from (entry for entry in (value if isinstance(value, list) else ()) if isinstance(entry, dict))


def _texts(value: JsonValue) -> Iterator[str]:
    yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))


def _element(name: str) -> Callable[[Resource], Iterator[str]]:
    return lambda resource: _texts(resource.get(name))


def _last_updated(resource: Resource) -> Iterator[str]:
    meta = resource.get("meta")
    yield from _texts(meta.get("lastUpdated")) if isinstance(meta, dict) else ()


def _names(*parts: str) -> Callable[[Resource], Iterator[str]]:
    def read(resource: Resource) -> Iterator[str]:
        for name in _objects(resource.get("name")):
            for part in parts:
                yield from _texts(name.get(part))

    return read


def _coded(element: str, system: str) -> Callable[[Resource], Iterator[tuple[str, str]]]:
    return lambda resource: ((system, code) for code in _texts(resource.get(element)))


def _with_system(entries: Iterable[Resource], name: str) -> Iterator[tuple[str, str]]:
    for entry in entries:
        value, system = entry.get(name), entry.get("system")
        if isinstance(value, str):
            yield (system if isinstance(system, str) else ""), value


def _identifiers(resource: Resource) -> Iterator[tuple[str, str]]:
    return _with_system(_objects(resource.get("identifier")), "value")


def _type(resource: Resource) -> Iterator[tuple[str, str]]:
    concept = resource.get("type")
    return _with_system(_objects(concept.get("coding")) if isinstance(concept, dict) else (), "code")


def subject(resource: Resource) -> Iterator[str]:
    """Yield the id of the patient that a resource is about."""
    reference = resource.get("subject")
    for target in _texts(reference.get("reference")) if isinstance(reference, dict) else ():
        if target.startswith(f"{PATIENT}/"):
            yield target.removeprefix(f"{PATIENT}/")


def _accessed_patient(event: AuditEvent) -> Iterator[str]:
    if event.record.startswith(f"{PATIENT}/"):
        yield event.record.removeprefix(f"{PATIENT}/")


_CODE: Final = (
    "`code`, `system|code`, `|code` for one without a system, or `system|` for all of a system; case does not "
    "matter in codes."
)
_GENDER: Final = "http://hl7.org/fhir/administrative-gender"
_STATUS: Final = "http://hl7.org/fhir/document-reference-status"
_OUTCOME: Final = "http://hl7.org/fhir/audit-event-outcome"
_STATUS_CODES: Final = "current, superseded or entered-in-error."
_ACCESSED: Final = "The patient whose record, or whose document, was accessed."

_ID: Final = IdParameter(
    "_id", "The resource's id, which is case-sensitive.", "Resource-id", read=lambda resource: [str(resource["id"])]
)
_UPDATED: Final = DateParameter(
    "_lastUpdated", "The time of the last change.", "Resource-lastUpdated", read=_last_updated
)

PARAMETERS: Final[Mapping[str, tuple[Parameter, ...]]] = {
    PATIENT: (
        _ID,
        _UPDATED,
        TokenParameter(
            "identifier", f"An identifier. {_CODE}", "Patient-identifier", read=_identifiers, index="identifier"
        ),
        StringParameter("family", "A family name.", "individual-family", read=_names("family"), index="name"),
        StringParameter("given", "A given name.", "individual-given", read=_names("given"), index="name"),
        StringParameter(
            "name",
            "A family name, given name, prefix, suffix or whole name.",
            "Patient-name",
            read=_names("family", "given", "prefix", "suffix", "text"),
            index="name",
        ),
        DateParameter(
            "birthdate", "The date of birth.", "individual-birthdate", read=_element("birthDate"), index="birth-year"
        ),
        TokenParameter(
            "gender", "male, female, other or unknown.", "individual-gender", read=_coded("gender", _GENDER)
        ),
    ),
    DOCUMENT: (
        _ID,
        _UPDATED,
        PatientParameter(
            "patient", "The patient the document is about.", "clinical-patient", read=subject, index="patient"
        ),
        DateParameter(
            "date", "The time at which the reference was created.", "DocumentReference-date", read=_element("date")
        ),
        TokenParameter("status", _STATUS_CODES, "DocumentReference-status", read=_coded("status", _STATUS)),
        TokenParameter("type", f"The kind of document. {_CODE}", "clinical-type", read=_type),
    ),
    AUDIT_EVENT: (
        PatientParameter("patient", _ACCESSED, "AuditEvent-patient", read=_accessed_patient),
        DateParameter("date", "The time of the access.", "AuditEvent-date", read=lambda event: [instant(event.at)]),
        # FHIR's parameter of this name is a reference; agents here are subjects of tokens, not resources.
        TokenParameter(
            "agent",
            "The subject of the token that the client sent.",
            None,
            read=lambda event: [("", event.subject)],
            case_sensitive=True,
        ),
        TokenParameter(
            "outcome",
            "0 success, 4 refused, 8 failed.",
            "AuditEvent-outcome",
            read=lambda event: [(_OUTCOME, OUTCOMES[event.outcome])],
        ),
    ),
}


@dataclass(frozen=True)
class Control:
    """A parameter that controls the response. `values` are all values that it takes, if they are few."""

    name: str
    documentation: str
    values: tuple[str, ...] = ()


_SORT: Final = Control("_sort", "By the last change, or with `-` the newest first.", SORTS)
_PAGE_CONTROLS: Final = (
    Control("_summary", "`count` for the total alone; `false` is the default.", ("false", "count")),
    Control(
        "_total",
        "With `accurate` each page has the total, or the search is refused if that would cost too much; otherwise a "
        "page has it when it is known.",
        ("none", "estimate", "accurate"),
    ),
    # Not FHIR's, but what the client library fhirpy counts with.
    Control("_totalMethod", "`count` is the same as `_total=accurate`.", ("count",)),
    Control("_cursor", "Continues after a page: part of its link `next`, valid for an hour."),
    Control("_format", "Takes precedence over the header Accept."),
    Control("_pretty", "`true` for line breaks in the response.", ("true", "false")),
)
_COUNT: Final = Control(
    "_count",
    f"Entries on a page: {DEFAULT_COUNT} by default, {LARGEST_COUNT} at most. A page may have fewer. "
    "With 0 the response is the total alone.",
)
CONTROLS: Final[Mapping[str, tuple[Control, ...]]] = {
    PATIENT: (_COUNT, _SORT, *_PAGE_CONTROLS),
    DOCUMENT: (_COUNT, _SORT, *_PAGE_CONTROLS),
    AUDIT_EVENT: (_COUNT, *_PAGE_CONTROLS),
}


class Tokenizer:
    """Derives index tokens, and blinds them before they become keys. Both methods raise StorageFault."""

    def __init__(self, *, secrets: Secrets) -> None:
        self._secrets = secrets

    def tokens(self, tenant: str, resource: Resource) -> frozenset[Token]:
        """Return the tokens that a resource is indexed by."""
        type = str(resource["resourceType"])
        clear = {token for parameter in PARAMETERS[type] for token in parameter.tokens(resource)}
        return frozenset(self.token(tenant, type, index, value) for index, value in clear)

    def token(self, tenant: str, type: str, index: str, value: str) -> Token:
        """Return the token of one value in an index."""
        return Token(index, self._secrets.blind(tenant, type, index, value))
