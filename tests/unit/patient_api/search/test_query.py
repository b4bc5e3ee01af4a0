import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.contract.keys import AUDIT_EVENT, DOCUMENT, PATIENT
from patient_api.errors import Malformed
from patient_api.search.parameters import (
    CONTROLS,
    PARAMETERS,
    Code,
    DateComparison,
    IdParameter,
    ParameterType,
    fold,
)
from patient_api.search.query import parse_search

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
SECRET = "Zz9secret"


def escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5, unique=True))
def test_escaped_systems_and_codes_are_parsed_unchanged(codes: list[tuple[str, str]]) -> None:
    value = ",".join(f"{escaped(system)}|{escaped(code)}" for system, code in codes)
    (criterion,) = parse_search(PATIENT, [("identifier", value)]).criteria
    assert criterion.values == tuple(Code(system, code) for system, code in codes)


@given(TEXTS.filter(lambda text: bool(fold(text))))
def test_any_string_is_folded(text: str) -> None:
    (criterion,) = parse_search(PATIENT, [("family", escaped(text))]).criteria
    assert criterion.values == (fold(text),)


def test_token_values_have_an_optional_system() -> None:
    (criterion,) = parse_search(PATIENT, [("identifier", "urn:mrn|1,|2,3,a$b")]).criteria
    assert criterion.values == (Code("urn:mrn", "1"), Code("", "2"), Code(None, "3"), Code(None, "a$b"))


def test_commas_mean_or_and_repetition_means_and() -> None:
    search = parse_search(PATIENT, [("given", "Ada,Bea"), ("given", "Cora"), ("gender", "female")])
    assert [(one.parameter.name, len(one.values)) for one in search.criteria] == [
        ("given", 2),
        ("given", 1),
        ("gender", 1),
    ]


def test_reference_may_omit_its_type() -> None:
    search = parse_search(DOCUMENT, [("patient", "Patient/a-1,b.2")])
    assert search.criteria[0].values == ("a-1", "b.2")
    assert search.only("patient") is None
    assert parse_search(DOCUMENT, [("patient", "Patient/a-1"), ("patient", "a-1")]).only("patient") == "a-1"


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
        (AUDIT_EVENT, "_sort", "_lastUpdated"),
        (PATIENT, "_count", "-1"),
        (PATIENT, "_count", "²"),
        (PATIENT, "_include", "x"),
        (PATIENT, "_summary", "true"),
    ],
)
def test_malformed_parameter_is_rejected_without_its_value(kind: str, name: str, value: str) -> None:
    with pytest.raises(Malformed) as rejected:
        parse_search(kind, [(name, value)])
    assert SECRET not in rejected.value.diagnostics
    assert "1970-02-30" not in rejected.value.diagnostics


def test_repeated_control_is_rejected_and_count_is_limited() -> None:
    with pytest.raises(Malformed):
        parse_search(PATIENT, [("_count", "1"), ("_count", "2")])
    assert parse_search(PATIENT, [("_count", "5000000000000")]).count == 50
    assert parse_search(PATIENT, []).count == 20


def test_too_many_criteria_are_rejected() -> None:
    with pytest.raises(Malformed):
        parse_search(PATIENT, [("given", f"a{number}") for number in range(21)])


def test_fingerprint_depends_on_criteria_and_sort_only() -> None:
    given = [("given", "ada"), ("family", "b")]
    same = parse_search(PATIENT, [*reversed(given), ("_count", "3"), ("_cursor", "x"), ("_format", "json")])
    assert same.fingerprint == parse_search(PATIENT, given).fingerprint
    others = [[*given, ("_sort", "_lastUpdated")], given[:1], [("family", "ada"), ("given", "b")], [*given, given[0]]]
    assert len({parse_search(PATIENT, other).fingerprint for other in others} | {same.fingerprint}) == 5


def test_every_defined_parameter_and_control_is_parsed() -> None:
    examples: dict[ParameterType, tuple[str, type]] = {
        ParameterType.STRING: ("ada", str),
        ParameterType.TOKEN: ("a", Code),
        ParameterType.DATE: ("ge2020", DateComparison),
        ParameterType.REFERENCE: ("a", str),
    }
    for resource_type, parameters in PARAMETERS.items():
        for parameter in parameters:
            value, parsed = examples[parameter.type]
            (criterion,) = parse_search(resource_type, [(parameter.name, value)]).criteria
            assert isinstance(criterion.values[0], str if isinstance(parameter, IdParameter) else parsed)
        for control in CONTROLS[resource_type]:
            value = "json" if control.name == "_format" else "5"
            parse_search(resource_type, [(control.name, control.values[0] if control.values else value)])
