from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.fhir.codec import JsonValue
from patient_api.search.parameters import PARAMETERS
from patient_api.search.plan import LAST_MILLIS, plan
from patient_api.search.query import parse_search
from unit.patient_api.fakes.search import SearchRegion

ADA: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "ada",
    "meta": {"lastUpdated": "2027-01-15T08:00:00.123Z"},
    "identifier": [{"system": "urn:mrn", "value": "A-1"}, {"value": "x|y"}, {"system": "urn:only"}],
    "name": [
        {"family": "Ångström-Müller", "given": ["Zoë", "María José", None]},
        {"text": "Dr. Z. Angstrom", "prefix": ["Dr."]},
    ],
    "birthDate": "1970-05",
    "gender": "female",
}
LETTER: dict[str, Any] = {
    "resourceType": "DocumentReference",
    "id": "letter",
    "meta": {"lastUpdated": "2027-01-15T08:00:00.123Z"},
    "status": "current",
    "subject": {"reference": "Patient/ada"},
    "date": "2027-01-15T10:00:00.5+02:00",
    "type": {"coding": [{"system": "http://loinc.org", "code": "34133-9"}, {"code": "own"}], "text": "Letter"},
}


def found(resource: dict[str, Any], *pairs: tuple[str, str]) -> bool:
    return parse_search(resource["resourceType"], pairs).matches(resource)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("_id", "ada", True),
        ("_id", "Ada", False),
        ("family", "angstrom", True),
        ("family", "ÅNG", True),
        ("family", "muller", False),
        ("family", "zoe", False),
        ("given", "zoe", True),
        ("given", "maria  jos", True),
        ("given", "jose", False),
        ("name", "dr. z", True),
        ("name", "maria", True),
        ("identifier", "urn:mrn|a-1", True),
        ("identifier", "URN:MRN|A-1", False),
        ("identifier", "A-1", True),
        ("identifier", "|A-1", False),
        ("identifier", r"|x\|y", True),
        ("identifier", "A", False),
        ("identifier", "urn:other|A-1,urn:mrn|A-1", True),
        ("gender", "female", True),
        ("gender", "http://hl7.org/fhir/administrative-gender|female", True),
        ("gender", "|female", False),
        ("gender", "male", False),
        ("birthdate", "1970", True),
        ("birthdate", "1970-05", True),
        ("birthdate", "1970-05-02", False),
        ("birthdate", "ge1970-05-02", True),
        ("birthdate", "gt1970-05-30", True),
        ("birthdate", "gt1970-05", False),
        ("birthdate", "lt1970-05-02", True),
        ("birthdate", "lt1970-05", False),
        ("birthdate", "le1970-04", False),
        ("birthdate", "1969,1970", True),
        ("_lastUpdated", "2027-01-15", True),
        ("_lastUpdated", "2027-01-15T08:00:00.123Z", True),
        ("_lastUpdated", "2027-01-15T10:00:00.123+02:00", True),
        ("_lastUpdated", "gt2027-01-15T08:00:00.123Z", False),
        ("_lastUpdated", "ge2027-01-15T08:00:00.124Z", False),
    ],
)
def test_patient_matches_criterion(name: str, value: str, expected: bool) -> None:
    assert found(ADA, (name, value)) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("patient", "Patient/ada", True),
        ("patient", "ad", False),
        ("status", "current", True),
        ("status", "superseded,entered-in-error", False),
        ("type", "http://loinc.org|34133-9", True),
        ("type", "34133-9", True),
        ("type", "|own", True),
        ("type", "|34133-9", False),
        ("type", "Letter", False),
        ("date", "2027-01-15T08:00Z", True),
        ("date", "2027-01-15T10:00:00+02:00", True),
        ("date", "lt2027-01-15T08:00:00Z", False),
        ("date", "lt2027-01-15T08:00:00.51Z", True),
    ],
)
def test_document_matches_criterion(name: str, value: str, expected: bool) -> None:
    assert found(LETTER, (name, value)) is expected


def test_resource_must_match_all_criteria() -> None:
    assert found(ADA, ("given", "zoe"), ("given", "maria"), ("birthdate", "ge1970"), ("birthdate", "lt1971"))
    assert not found(ADA, ("given", "zoe"), ("given", "anna"))


def test_resource_without_the_element_does_not_match() -> None:
    bare = {"resourceType": "Patient", "id": "ada", "_birthDate": {"extension": []}, "name": [{"_family": {}}]}
    for name, value in {"family": "a", "name": "a", "birthdate": "lt9999", "gender": "male", "identifier": "a"}.items():
        assert not found(bare, (name, value))


TOKENIZER = SearchRegion().tokenizer
WORDS = st.text(st.sampled_from("aAäßeé\u00b4 \u0131İZ"), min_size=1, max_size=6).filter(
    lambda word: bool(word.strip(" \u00b4"))
)
YEARS = st.integers(1965, 1980)
DATES = st.builds(
    lambda year, month, day, length: f"{year:04d}-{month:02d}-{day:02d}"[:length],
    YEARS,
    st.sampled_from([1, 6, 12]),
    st.sampled_from([1, 15, 28]),
    st.sampled_from([4, 7, 10]),
)
DATE_VALUES = st.lists(
    st.builds(lambda prefix, text: prefix + text, st.sampled_from(["", "eq", "ge", "le", "gt", "lt"]), DATES),
    min_size=1,
    max_size=2,
).map(",".join)
IDENTIFIERS = st.tuples(st.sampled_from(["urn:a", "urn:b"]) | st.none(), st.sampled_from(["1", "x", "X"]))
PATIENTS = st.builds(
    lambda family, given_name, born, identifier: {
        "resourceType": "Patient",
        "id": "p",
        "name": [{"family": family, "given": [given_name]}],
        "birthDate": born,
        "identifier": [{"value": identifier[1], **({"system": identifier[0]} if identifier[0] else {})}],
    },
    WORDS,
    WORDS,
    DATES,
    IDENTIFIERS,
)
CRITERIA = st.lists(
    st.tuples(st.sampled_from(["family", "given", "name"]), st.lists(WORDS, min_size=1, max_size=2).map(",".join))
    | st.tuples(st.just("birthdate"), DATE_VALUES)
    | st.tuples(st.just("identifier"), IDENTIFIERS.map(lambda pair: f"{pair[0]}|{pair[1]}" if pair[0] else pair[1]))
    | st.tuples(st.just("identifier"), st.sampled_from(["|1", "|x", "|X"])),
    min_size=1,
    max_size=3,
)


def test_criteria_cover_every_indexed_parameter() -> None:
    indexed = {parameter.name for parameter in PARAMETERS[PATIENT] if parameter.index}
    assert indexed == {"family", "given", "name", "birthdate", "identifier"}


@given(PATIENTS, CRITERIA)
def test_matching_patient_has_a_token_of_the_plan(patient: dict[str, Any], criteria: list[tuple[str, str]]) -> None:
    search = parse_search(PATIENT, criteria)
    chosen = plan(search)
    if chosen.tokens is not None and search.matches(patient):
        tokens_of_plan = {TOKENIZER.token("t", PATIENT, *token) for token in chosen.tokens}
        assert tokens_of_plan & TOKENIZER.tokens("t", patient)


@given(st.integers(0, 3_000), DATE_VALUES)
def test_matching_update_time_is_in_the_window_of_the_plan(day: int, value: str) -> None:
    stamp = Stamp(day * 86_400_000 + 123, 0, "us-east-1")
    resource: dict[str, JsonValue] = {"id": "p", "meta": {"lastUpdated": stamp.instant}}
    search = parse_search(PATIENT, [("_lastUpdated", value)])
    low, high = plan(search).window
    if search.matches(resource):
        assert low <= stamp.millis < high


@pytest.mark.parametrize(
    ("criteria", "tokens"),
    [
        ([("identifier", "urn:a|1"), ("family", "Example"), ("birthdate", "1970")], [("system-identifier", "urn:a|1")]),
        ([("identifier", "urn:a|1,2"), ("identifier", "urn:a|3")], [("system-identifier", "urn:a|3")]),
        ([("identifier", "X"), ("family", "Example")], [("identifier", "x")]),
        ([("given", "Al"), ("family", "Exämple")], [("name", "exam")]),
        ([("given", "Al"), ("birthdate", "1970")], [("name", "al")]),
        ([("given", "Al,B"), ("birthdate", "1970-05")], [("birth-year", "1970")]),
        (
            [("birthdate", "ge1970"), ("birthdate", "lt1972-03")],
            [("birth-year", f"{year}") for year in (1970, 1971, 1972)],
        ),
        ([("birthdate", "ge1975"), ("birthdate", "lt1970")], []),
    ],
)
def test_plan_uses_the_most_selective_tokens(criteria: list[tuple[str, str]], tokens: list[tuple[str, str]]) -> None:
    assert plan(parse_search(PATIENT, criteria)).tokens == tuple(tokens)


@pytest.mark.parametrize(
    "criteria",
    [
        [],
        [("gender", "male")],
        [("name", "a")],
        [("birthdate", "ge1970")],
        [("birthdate", "ge1960"), ("birthdate", "lt1971")],
    ],
)
def test_plan_without_tokens_reads_by_update_time(criteria: list[tuple[str, str]]) -> None:
    assert not plan(parse_search(PATIENT, criteria)).indexed
    assert plan(parse_search(PATIENT, criteria)).window == (0, LAST_MILLIS)


def test_plan_of_documents_uses_the_patient() -> None:
    assert plan(parse_search(DOCUMENT, [("patient", "a,b"), ("status", "current")])).tokens == (
        ("patient", "a"),
        ("patient", "b"),
    )
    assert not plan(parse_search(DOCUMENT, [("type", "x")])).indexed
