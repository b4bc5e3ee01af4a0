"""Contained resources and modifier extensions, which exports of medical records contain."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import patient_api.fhir.profile
from patient_api.fhir.profile import validate
from patient_api.fhir.profile.engine import Profile, ProfileError
from unit.patient_api.fakes.api import Platform, patient
from unit.patient_api.fhir.examples import changed, problem_in, resource_of

COMPILED = Path(patient_api.fhir.profile.__file__).parent / "compiled"
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'
HOSPITAL = {
    "resourceType": "Organization",
    "id": "hospital",
    "meta": {"profile": ["http://example.org/StructureDefinition/organization"]},
    "language": "en",
    "text": {"status": "generated", "div": DIV % "A hospital"},
    "extension": [{"url": "http://example.org/x", "valueDecimal": 1.5}],
    "identifier": [{"system": "urn:mrn", "value": "contained-1"}],
    "name": "Containedson",
    "partOf": {"reference": "#group"},
    "contact": [{"name": {"family": "Containedson", "given": ["A", None], "_given": [None, {"id": "x"}]}}],
}
GROUP = {"resourceType": "Organization", "id": "group", "name": "Group", "partOf": {"reference": "#"}}
MODIFIER = {"url": "http://example.org/negated", "valueBoolean": True}


def holding(*contained: object, **elements: Any) -> dict[str, Any]:
    return patient(contained=[*contained], managingOrganization={"reference": "#hospital"}, **elements)


def test_contained_resources_are_stored_unchanged(platform: Platform) -> None:
    made_ = platform.create(holding(HOSPITAL, GROUP))
    assert made_.json["contained"] == [HOSPITAL, GROUP]
    path = f"/fhir/Patient/{made_.json['id']}"
    read_ = platform.call("GET", path)
    assert read_.body == made_.body
    assert platform.call("PUT", path, {**read_.json, "gender": "other"}).json["contained"] == [HOSPITAL, GROUP]
    headers = {"content-type": "application/merge-patch+json"}
    changes = {"contained": None, "managingOrganization": None}
    assert "contained" not in platform.call("PATCH", path, changes, headers=headers).json


@pytest.mark.parametrize("query", ["identifier=contained-1", "identifier=urn:mrn%7C", "name=contained", "_id=hospital"])
def test_search_does_not_match_contained_resources(platform: Platform, query: str) -> None:
    made_ = platform.create(holding({**HOSPITAL, "resourceType": "Patient"}, GROUP))
    assert platform.call("GET", "/fhir/Patient", query=query).json["total"] == 0
    found = platform.call("GET", "/fhir/Patient", query="family=example").json["entry"]
    assert [entry["resource"]["id"] for entry in found] == [made_.json["id"]]


def test_contained_resource_without_reference_needs_no_id(platform: Platform) -> None:
    anonymous = [{"resourceType": "Organization", "name": name} for name in ("One", "Two")]
    assert platform.create(patient(contained=anonymous)).json["contained"] == anonymous


def test_document_may_contain_its_author() -> None:
    resource = changed("DocumentReference", "author", [{"reference": "#doctor"}])
    assert problem_in(resource)[0] == "DocumentReference.author[0].reference"
    resource["contained"] = [{"resourceType": "Practitioner", "id": "doctor", "name": [{"family": "Example"}]}]
    validate(resource)


@pytest.mark.parametrize(
    ("contained", "expression", "problem"),
    [
        ([], "Patient.contained", "must not be empty"),
        ({}, "Patient.contained", "must be a list"),
        ([None], "Patient.contained[0]", "must be a resource"),
        ([{}], "Patient.contained[0]", "must be a resource"),
        (["x"], "Patient.contained[0]", "must be a resource"),
        ([{"id": "hospital"}], "Patient.contained[0].resourceType", "is required"),
        ([{**HOSPITAL, "resourceType": "a b"}], "Patient.contained[0].resourceType", "must be a type"),
        ([{**HOSPITAL, "resourceType": 1}], "Patient.contained[0].resourceType", "must be a type"),
        ([{**HOSPITAL, "id": "a/b"}], "Patient.contained[0].id", "must be an id"),
        ([{**HOSPITAL, "name": ""}], "Patient.contained[0]", "must be a resource without anything empty"),
        ([{**HOSPITAL, "name": {"a": []}}], "Patient.contained[0]", "must be a resource without anything empty"),
        ([{**HOSPITAL, "<x>": "y"}], "Patient.contained[0]", "must be a resource without anything empty"),
        ([{**HOSPITAL, "contained": [GROUP]}], "Patient.contained[0].contained", "does not contain anything"),
        ([{**HOSPITAL, "implicitRules": "urn:x"}], "Patient.contained[0].implicitRules", "is not accepted"),
        ([{**HOSPITAL, "extension": [{}]}], "Patient.contained[0].extension[0]", "must not be empty"),
        (
            [{**HOSPITAL, "text": {"status": "generated", "div": DIV % "<script>x</script>"}}],
            "Patient.contained[0].text.div",
            "must be one div",
        ),
        ([HOSPITAL], "Patient.contained[0].partOf.reference", "must have a contained resource"),
        ([GROUP], "Patient.managingOrganization.reference", "must have a contained resource"),
        ([HOSPITAL, GROUP, {**HOSPITAL, "name": "Other"}], "Patient.contained[2].id", "the id of another"),
        (
            [HOSPITAL, GROUP, {"resourceType": "Practitioner", "id": "group"}],
            "Patient.contained[2].id",
            "the id of another",
        ),
    ],
)
def test_invalid_contained_resource_is_rejected(contained: object, expression: str, problem: str) -> None:
    found, diagnostics = problem_in(resource_of({**holding(), "contained": contained}))
    assert found == expression
    assert problem in diagnostics
    assert "Containedson" not in diagnostics


@pytest.mark.parametrize(
    ("elements", "place"),
    [
        ({"modifierExtension": [MODIFIER]}, "Patient"),
        ({"contact": [{"name": {"text": "x"}, "modifierExtension": [MODIFIER]}]}, "Patient.contact[0]"),
        ({"contained": [{**HOSPITAL, "modifierExtension": [MODIFIER]}, GROUP]}, "Patient.contained[0]"),
        (
            {"contained": [{**HOSPITAL, "contact": [{"modifierExtension": [MODIFIER]}]}, GROUP]},
            "Patient.contained[0].contact[0]",
        ),
        (
            {"extension": [{"url": "x", "valueTiming": {"modifierExtension": [MODIFIER]}}]},
            "Patient.extension[0].value",
        ),
        (
            {"extension": [{"url": "x", "valueTiming": {"repeat": [1, {"a": {"modifierExtension": [MODIFIER]}}]}}]},
            "Patient.extension[0].value.repeat[1].a",
        ),
    ],
)
def test_modifier_extension_is_rejected_with_its_url(platform: Platform, elements: dict[str, Any], place: str) -> None:
    reply = platform.call("POST", "/fhir/Patient", patient(**elements))
    (issue,) = reply.json["issue"]
    assert (reply.status, issue["expression"]) == (422, [f"{place}.modifierExtension[0].url"])
    assert MODIFIER["url"] in issue["diagnostics"]
    assert not platform.versions()


@pytest.mark.parametrize("url", ["a b", "x" * 256, "é", "\u202e", "a\tb"])
def test_invalid_url_of_modifier_extension_is_not_repeated(url: str) -> None:
    expression, diagnostics = problem_in(resource_of(patient(modifierExtension=[{**MODIFIER, "url": url}])))
    assert expression == "Patient.modifierExtension[0].url"
    assert url not in diagnostics


@pytest.mark.parametrize("value", [[], {}, "x", [None], [{}], [{"url": 1}], [{"valueBoolean": True}]])
def test_invalid_modifier_extension_is_rejected(value: object) -> None:
    for resource in (patient(modifierExtension=value), holding({**HOSPITAL, "x": {"modifierExtension": value}}, GROUP)):
        expression, _ = problem_in(resource_of(resource))
        assert str(expression).rpartition("modifierExtension")[2] in {"", "[0]", "[0].url"}


def test_listed_modifier_extension_is_accepted() -> None:
    table = json.loads((COMPILED / "patient.json").read_bytes())
    known = copy.deepcopy(table)
    known["types"]["ModifierExtension.url"]["codes"] = [MODIFIER["url"]]
    for resource in (
        patient(modifierExtension=[MODIFIER]),
        holding({**HOSPITAL, "contact": [{"modifierExtension": [MODIFIER]}]}, GROUP),
    ):
        Profile(known).check(resource_of(resource))
        with pytest.raises(ProfileError):
            Profile(table).check(resource_of(resource))
    with pytest.raises(ProfileError, match="must have either a value"):
        Profile(known).check(resource_of(patient(modifierExtension=[{"url": MODIFIER["url"]}])))


def test_patch_that_breaks_a_local_reference_returns_422(platform: Platform) -> None:
    path, _ = platform.made(contained=[{"resourceType": "Organization", "id": "a"}],
                   managingOrganization={"reference": "#a"})  # fmt: skip
    reply = platform.call("PATCH", path, {"contained": None}, headers={"content-type": "application/json"})
    assert (reply.status, reply.json["issue"][0]["expression"]) == (422, ["Patient.managingOrganization.reference"])
