import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.audit.resource import OUTCOMES
from patient_api.contract.audit import Outcome
from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.errors import Malformed
from patient_api.fhir.normalize import fold
from patient_api.http.criteria import Criteria
from patient_api.search.parameters import (
    AUDIT,
    CONTROLS,
    PARAMETERS,
    Code,
    Id,
    ParameterType,
    Text,
    When,
    criteria_in,
    search_in,
)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
SECRET = "Zz9secret"


def escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5, unique=True))
def test_escapes_let_every_system_and_code_through(codes: list[tuple[str, str]]) -> None:
    value = ",".join(f"{escaped(system)}|{escaped(code)}" for system, code in codes)
    (criterion,) = search_in(PATIENT, [("identifier", value)]).criteria
    assert criterion.values == tuple(Code(system, code) for system, code in codes)


@given(TEXTS.filter(lambda text: bool(fold(text))))
def test_strings_are_folded_whatever_they_hold(text: str) -> None:
    (criterion,) = search_in(PATIENT, [("family", escaped(text))]).criteria
    assert criterion.values == (Text(fold(text)),)


def test_tokens() -> None:
    (criterion,) = search_in(PATIENT, [("identifier", "urn:mrn|1,|2,3,a$b")]).criteria
    assert criterion.values == (Code("urn:mrn", "1"), Code("", "2"), Code(None, "3"), Code(None, "a$b"))


def test_commas_are_or_and_repetition_is_and() -> None:
    search = search_in(PATIENT, [("given", "Ada,Bea"), ("given", "Cora"), ("gender", "female")])
    assert [(one.name, len(one.values)) for one in search.criteria] == [("given", 2), ("given", 1), ("gender", 1)]


def test_references_with_or_without_their_type() -> None:
    search = search_in(DOCUMENT, [("patient", "Patient/a-1,b.2")])
    assert search.criteria[0].values == (Id("a-1"), Id("b.2"))
    assert search.only("patient") is None
    assert search_in(DOCUMENT, [("patient", "Patient/a-1"), ("patient", "a-1")]).only("patient") == "a-1"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (PATIENT, SECRET, "x"),
        (PATIENT, f"family:{SECRET}", "x"),
        (PATIENT, "family:exact", SECRET),
        (PATIENT, "name", ""),
        (PATIENT, "name", f"{SECRET},,b"),
        (PATIENT, "name", f"{SECRET}\\"),
        (PATIENT, "name", f"\\{SECRET}"),
        (PATIENT, "name", f"{SECRET}\0"),
        (PATIENT, "name", f"{SECRET}\ud800"),
        (PATIENT, "name", SECRET * 200),
        (PATIENT, "name", ",".join(SECRET + str(number) for number in range(21))),
        (PATIENT, "identifier", "|"),
        (PATIENT, "identifier", f"a|{SECRET}|b"),
        (PATIENT, "birthdate", SECRET),
        (PATIENT, "birthdate", "ne1970"),
        (PATIENT, "birthdate", "ap1970"),
        (PATIENT, "birthdate", "sa1970"),
        (PATIENT, "birthdate", "xx1970"),
        (PATIENT, "birthdate", "GE1970"),
        (PATIENT, "birthdate", "1970-02-30"),
        (PATIENT, "_lastUpdated", "2027-01-01T10:00:00"),
        (PATIENT, "_id", f"{SECRET}/x"),
        (PATIENT, "_id", f"{SECRET}#x"),
        (PATIENT, "patient", "x"),
        (DOCUMENT, "patient", f"Group/{SECRET}"),
        (DOCUMENT, "patient.name", SECRET),
        (PATIENT, "_sort", SECRET),
        (PATIENT, "_sort", "birthdate"),
        (AUDIT, "_sort", "_lastUpdated"),
        (PATIENT, "_count", "-1"),
        (PATIENT, "_count", "²"),
        (PATIENT, "_include", "x"),
        (PATIENT, "_summary", "true"),
    ],
)
def test_refusals_do_not_repeat_what_was_asked(kind: str, name: str, value: str) -> None:
    with pytest.raises(Malformed) as refused:
        search_in(kind, [(name, value)])
    assert SECRET not in refused.value.diagnostics
    assert "1970-02-30" not in refused.value.diagnostics


def test_a_control_counts_once_and_a_count_is_capped() -> None:
    with pytest.raises(Malformed):
        search_in(PATIENT, [("_count", "1"), ("_count", "2")])
    assert search_in(PATIENT, [("_count", "5000000000000")]).count == 50
    assert search_in(PATIENT, []).count == 20


def test_too_many_criteria() -> None:
    with pytest.raises(Malformed):
        search_in(PATIENT, [("given", f"a{number}") for number in range(21)])


def test_the_fingerprint_is_of_what_is_looked_for_only() -> None:
    asked = [("given", "ada"), ("family", "b")]
    same = search_in(PATIENT, [*reversed(asked), ("_count", "3"), ("_cursor", "x"), ("_format", "json")])
    assert same.fingerprint == search_in(PATIENT, asked).fingerprint
    others = [[*asked, ("_sort", "_lastUpdated")], asked[:1], [("family", "ada"), ("given", "b")], [*asked, asked[0]]]
    assert len({search_in(PATIENT, other).fingerprint for other in others} | {same.fingerprint}) == 5


@pytest.mark.parametrize(
    "criteria", ["", "?", "identifier", "_count=2", "identifier=1&_sort=_lastUpdated", "x=%ff", "?identifier=1"]
)
def test_if_none_exist_takes_criteria_and_nothing_else(criteria: str) -> None:
    with pytest.raises(Malformed):
        criteria_in(PATIENT, Criteria.of_header(criteria))


def test_if_none_exist_is_a_query() -> None:
    assert criteria_in(PATIENT, Criteria.of_header("identifier=urn%3Amrn%7C1")).criteria[0].values == (
        Code("urn:mrn", "1"),
    )


def test_the_catalogue_is_what_parsing_takes() -> None:
    values = {
        ParameterType.STRING: ("ada", Text),
        ParameterType.TOKEN: ("a", Code),
        ParameterType.DATE: ("ge2020", When),
        ParameterType.REFERENCE: ("a", Id),
    }
    for kind, parameters in PARAMETERS.items():
        for parameter in parameters:
            value, made = values[parameter.type]
            (criterion,) = search_in(kind, [(parameter.name, value)]).criteria
            assert isinstance(criterion.values[0], Id if parameter.identifies else made)
            assert bool(parameter.prefixes) == (parameter.type is ParameterType.DATE)
        for control in CONTROLS[kind]:
            value = "json" if control.name == "_format" else "5"
            search_in(kind, [(control.name, control.values[0] if control.values else value)])


def test_every_outcome_has_a_code_of_its_own() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert len(set(OUTCOMES.values())) == len(OUTCOMES)
