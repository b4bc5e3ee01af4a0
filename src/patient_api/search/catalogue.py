"""Every parameter a search may have: parsing, CapabilityStatement and OpenAPI document are made from this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from patient_api.fhir.dates import Prefix
from patient_api.records.model import DOCUMENT, PATIENT

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
    """`definition` is FHIR's own SearchParameter, None where ours differs from it; no modifier is supported.

    `prefixes` are those a value may begin with; `system` is implied where a token is a mere code; `identifies` says
    that values are ids of resources.
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
    """A parameter that says what to answer with, not what to look for; `values` are all it takes, if they are few."""

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


def _code(name: str, documentation: str, definition: str, system: str) -> Parameter:
    return Parameter(name, ParameterType.TOKEN, documentation, _defined(definition), system=system)


_ID: Final = Parameter(
    "_id", ParameterType.TOKEN, "The resource's id, which is case-sensitive.", _defined("Resource-id"), identifies=True
)
_UPDATED: Final = _date("_lastUpdated", "When the resource was last changed.", "Resource-lastUpdated")
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
        _code("gender", "male, female, other or unknown.", "individual-gender", GENDER),
    ),
    DOCUMENT: (
        _ID,
        _UPDATED,
        _patient("The patient the document is about.", "clinical-patient"),
        _date("date", "When the reference was made.", "DocumentReference-date"),
        _code("status", "current, superseded or entered-in-error.", "DocumentReference-status", DOCUMENT_STATUS),
        Parameter("type", ParameterType.TOKEN, f"The kind of document. {_CODED}", _defined("clinical-type")),
    ),
    AUDIT: (
        _patient("The patient whose record, or whose document, was accessed.", "AuditEvent-patient"),
        _date("date", "When the access took place.", "AuditEvent-date"),
        # FHIR's parameter of this name is a reference; our agents are subjects of tokens, not resources.
        Parameter("agent", ParameterType.TOKEN, "Who accessed it: the subject of their token.", None),
        _code("outcome", "0 success, 4 refused, 8 failed.", "AuditEvent-outcome", OUTCOME),
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
