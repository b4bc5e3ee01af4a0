"""The profile of Patient."""

import pytest

from patient_api.fhir.codec import Number
from patient_api.fhir.profile import validate
from unit.patient_api.fhir.examples import REMOVED, changed, example, problem_in

UNKNOWN = "http://example.org/modifier"
MODIFIER = [{"url": UNKNOWN, "valueBoolean": True}]

INVALID = [
    # codes
    ("gender", "Female", "Patient.gender", "must be one of: male, female, other, unknown"),
    ("name/0/use", "legal", "Patient.name[0].use", "must be one of"),
    ("identifier/0/use", "home", "Patient.identifier[0].use", "must be one of"),
    ("telecom/0/system", "telegraph", "Patient.telecom[0].system", "must be one of"),
    ("telecom/0/use", "usual", "Patient.telecom[0].use", "must be one of"),
    ("address/0/use", "mobile", "Patient.address[0].use", "must be one of"),
    ("address/0/type", "virtual", "Patient.address[0].type", "must be one of"),
    ("link/0/type", "see also", "Patient.link[0].type", "must be one of"),
    ("text/status", "final", "Patient.text.status", "must be one of"),
    ("contact/0/gender", "m", "Patient.contact[0].gender", "must be one of"),
    ("resourceType", "patient", None, "must be one of: Patient, DocumentReference"),
    # dates, times and other primitives
    ("birthDate", "2023-02-30", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "2021-02-29", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "1900-02-29", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "2023-13", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "0000", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "2023-1-1", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "2023-01-01\n", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "2023-01-01T00:00:00Z", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", "٢٠٢٣-01-01", "Patient.birthDate", "must be a date that exists"),
    ("birthDate", 2023, "Patient.birthDate", "must be a date that exists"),
    ("birthDate", None, "Patient.birthDate", "must be a date that exists"),
    ("deceasedDateTime", "2023-02-29T12:00:00Z", "Patient.deceased", "that exists"),
    ("deceasedDateTime", "2023-02-28T12:00:00", "Patient.deceased", "a time zone"),
    ("deceasedDateTime", "2023-02-28T12:00Z", "Patient.deceased", "a time zone"),
    ("deceasedDateTime", "2023-02-28T24:00:00Z", "Patient.deceased", "that exists"),
    ("deceasedDateTime", "2023-02-28T12:00:00+14:01", "Patient.deceased", "a time zone"),
    ("deceasedDateTime", "2023-02-28T12:00:61Z", "Patient.deceased", "that exists"),
    ("meta/lastUpdated", "2023-02-29T12:00:00Z", "Patient.meta.lastUpdated", "must be an instant that exists"),
    ("meta/lastUpdated", "2023-02-28", "Patient.meta.lastUpdated", "must be an instant that exists"),
    ("id", "a b", "Patient.id", "must be an id"),
    ("id", "a" * 65, "Patient.id", "must be an id"),
    ("active", "true", "Patient.active", "must be true or false"),
    ("active", 1, "Patient.active", "must be true or false"),
    ("multipleBirthInteger", 1.5, "Patient.multipleBirth", "must be a whole number"),
    ("multipleBirthInteger", 2**31, "Patient.multipleBirth", "must be a whole number of 32 bits"),
    ("multipleBirthInteger", True, "Patient.multipleBirth", "must be a whole number"),
    ("telecom/0/rank", 0, "Patient.telecom[0].rank", "must be a whole number from 1"),
    ("photo/0/size", -1, "Patient.photo[0].size", "must be a whole number from 0"),
    ("photo/0/data", "R0lGOD", "Patient.photo[0].data", "must be base64"),
    ("photo/0/data", "AA==AA==", "Patient.photo[0].data", "must be base64"),
    ("photo/0/data", "====", "Patient.photo[0].data", "must be base64"),
    ("photo/0/data", " ", "Patient.photo[0].data", "must be base64"),
    ("photo/0/url", "http://a b", "Patient.photo[0].url", "must be a URL"),
    ("identifier/0/system", "", "Patient.identifier[0].system", "must be a URI"),
    ("language", " en", "Patient.language", "must be a code"),
    ("name/0/family", "", "Patient.name[0].family", "must be a string that is not empty"),
    ("name/0/family", "a\u0007", "Patient.name[0].family", "no control characters"),
    ("name/0/prefix/0", None, "Patient.name[0].prefix[0]", "must be a string"),
    ("meta/profile/0", "a b", "Patient.meta.profile[0]", "must be a canonical URL"),
    ("text/div", "<div>no namespace</div>", "Patient.text.div", "must be one div of XHTML"),
    # cardinalities
    ("name", [], "Patient.name", "must not be empty"),
    ("name", {"family": "x"}, "Patient.name", "must be a list"),
    ("name/0", {}, "Patient.name[0]", "must not be empty"),
    ("name/0", {"id": "x"}, "Patient.name[0]", "must have more than an id"),
    ("name/0", "x", "Patient.name[0]", "must be an object"),
    ("name/0", None, "Patient.name[0]", "must be an object"),
    ("gender", ["male"], "Patient.gender", "must be one of"),
    ("maritalStatus", [{"text": "x"}], "Patient.maritalStatus", "must be an object"),
    ("communication/0/language", REMOVED, "Patient.communication[0].language", "is required"),
    ("link/0/other", REMOVED, "Patient.link[0].other", "is required"),
    ("link/0/type", REMOVED, "Patient.link[0].type", "is required"),
    ("text/status", REMOVED, "Patient.text.status", "is required"),
    ("text/div", REMOVED, "Patient.text.div", "is required"),
    ("extension/0/url", REMOVED, "Patient.extension[0].url", "is required"),
    # choices
    ("deceasedBoolean", True, "Patient.deceased", "must be of one type only"),
    ("_deceasedBoolean", {"id": "x"}, "Patient.deceased", "must have a value or an extension"),
    ("multipleBirthBoolean", True, "Patient.multipleBirth", "must be of one type only"),
    ("extension/0/extension/1/valueCode", "x", "Patient.extension[0].extension[1].value", "must be of one type only"),
    ("extension/0/valueCode", "x", "Patient.extension[0]", "must have either a value or extensions"),
    ("extension/0/extension/1/valueString", REMOVED, "Patient.extension[0].extension[1]", "must have either a value"),
    ("extension/0/extension/1/valueString", 5, "Patient.extension[0].extension[1].value", "must be a string"),
    # primitives and their extensions
    ("_gender", {}, "Patient.gender", "must not be empty"),
    ("_deceasedDateTime", {"extension": []}, "Patient.deceased.extension", "must not be empty"),
    ("_birthDate/extension/0/valueDateTime", "x", "Patient.birthDate.extension[0].value", "must be a date"),
    ("name/0/_family", {"value": "x"}, "Patient.name[0].family", "has an element that the profile does not define"),
    ("name/0/_given", [None], "Patient.name[0].given", "must be as long"),
    ("name/0/_given/1", None, "Patient.name[0].given[1]", "must be a string"),
    ("name/0/_given/1", {"id": "x"}, "Patient.name[0].given[1]", "must have a value or an extension"),
    ("name/0/_given", {"id": "x"}, "Patient.name[0].given[1]", "must be a string"),
    ("name/0/given", REMOVED, "Patient.name[0].given[0]", "must be an object"),
    ("_id", {"id": "x"}, "Patient", "has an element that the profile does not define"),
    # unknown elements
    ("nickname", "x", "Patient", "has an element that the profile does not define"),
    ("name/0/nickname", "x", "Patient.name[0]", "has an element that the profile does not define"),
    ("contact/0/name/nickname", "x", "Patient.contact[0].name", "has an element that the profile does not define"),
    ("implicitRules", "http://example.org/rules", "Patient.implicitRules", "is not accepted"),
    ("modifierExtension", MODIFIER, "Patient.modifierExtension[0].url", f"must not ignore: {UNKNOWN}"),
    (
        "contact/0/modifierExtension",
        MODIFIER,
        "Patient.contact[0].modifierExtension[0].url",
        f"must not ignore: {UNKNOWN}",
    ),
    (
        "communication/0/modifierExtension",
        MODIFIER,
        "Patient.communication[0].modifierExtension[0].url",
        f"must not ignore: {UNKNOWN}",
    ),
    ("link/0/modifierExtension", MODIFIER, "Patient.link[0].modifierExtension[0].url", f"must not ignore: {UNKNOWN}"),
    # references
    ("managingOrganization/reference", "Patient/1", "Patient.managingOrganization.reference", "an Organization"),
    ("generalPractitioner/0/reference", "Device/1", "Patient.generalPractitioner[0].reference", "a Practitioner"),
    ("link/0/other/reference", "Group/1", "Patient.link[0].other.reference", "a RelatedPerson"),
    ("identifier/0/assigner/reference", "#local", "Patient.identifier[0].assigner.reference", "must have a cont"),
    ("identifier/0/assigner/reference", "Organization/../x", "Patient.identifier[0].assigner.reference", "a URL, a t"),
    # constraints
    ("telecom/0/system", REMOVED, "Patient.telecom[0].system", "is required with value"),
    ("photo/0/contentType", REMOVED, "Patient.photo[0].contentType", "is required with data"),
    ("contact/0", {"gender": "male"}, "Patient.contact[0]", "must have a name, a telecom, an address or an organ"),
    ("name/0/period", {"start": "2001-02", "end": "2001-01"}, "Patient.name[0].period", "must not end before"),
    ("name/0/period", {"start": "2001-02-03", "end": "2000"}, "Patient.name[0].period", "must not end before"),
    (
        "name/0/period",
        {"start": "2001-02-03T10:00:00.25Z", "end": "2001-02-03T12:00:00.2+02:00"},
        "Patient.name[0].period",
        "must not end before",
    ),
]

VALID = [
    ("birthDate", "2024-02-29"),
    ("birthDate", "2000-02-29"),
    ("birthDate", "0001"),
    ("deceasedDateTime", "2016-12-31T23:59:60Z"),
    ("deceasedDateTime", "2024-02-29T00:00:00.123456789-12:00"),
    ("_deceasedDateTime", {"id": "x"}),
    ("_gender", {"extension": [{"url": "http://example.org/x", "valueString": "x"}]}),
    ("name/0/family", "\u674e Ó Example \u00a0"),
    ("name/0/given", ["Ada", "Byron"]),
    ("name/0/_prefix", [{"id": "x"}]),
    ("name/0/period", {"start": "2001-02-03", "end": "2001-02"}),
    ("name/0/period", {"start": "2001-02-03T10:00:00.1Z", "end": "2001-02-03T10:00:00.10Z"}),
    ("name/0/period", {"start": "2001-02-03", "end": "2001-02-02T23:00:00-05:00"}),
    ("name/0/period", {"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:60.9-12:00"}),
    ("multipleBirthInteger", -(2**31)),
    ("multipleBirthInteger", REMOVED),
    ("photo/0/data", "R0lG\r\nODlh AQABAAAAACw="),
    ("contact/0", {"organization": {"display": "x"}}),
    ("managingOrganization", {"identifier": {"system": "http://example.org", "value": "1"}}),
    ("extension/1", {"url": "x", "valueTiming": {"repeat": {"frequency": 1, "period": 1.50, "dayOfWeek": ["mon"]}}}),
    ("extension/1", {"url": "x", "valueQuantity": {"value": 1.50, "system": "http://unitsofmeasure.org", "code": "g"}}),
    ("extension/1", {"url": "x", "_valueString": {"extension": [{"url": "y", "valueBoolean": True}]}}),
    ("extension/1", {"url": "x", "valueAttachment": {"data": "AA==", "contentType": "text/plain"}}),
]


def test_patient_with_every_element_is_valid() -> None:
    validate(example("Patient"))
    validate({"resourceType": "Patient"})


@pytest.mark.parametrize(("pointer", "value", "expression", "problem"), INVALID)
def test_invalid_element_is_reported_by_its_path(
    pointer: str, value: object, expression: str | None, problem: str
) -> None:
    found, diagnostics = problem_in(changed("Patient", pointer, value))
    assert found == expression
    assert problem in diagnostics


@pytest.mark.parametrize(("pointer", "value"), VALID)
def test_valid_element_is_accepted(pointer: str, value: object) -> None:
    validate(changed("Patient", pointer, value))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": ""},
        {"a": []},
        {"a": {}},
        {"a": None},
        {"a": [None, {}]},
        {"a b": 1},
        [],
        1,
    ],
)
def test_stored_only_data_type_with_empty_parts_is_rejected(value: object) -> None:
    found, _ = problem_in(changed("Patient", "extension/0", {"url": "x", "valueTiming": value}))
    assert found == "Patient.extension[0].value"


@pytest.mark.parametrize("text", ["1.0", "1e0", "-0", "1E400", "0.5"])
def test_integer_in_another_notation_is_rejected(text: str) -> None:
    resource = example("Patient")
    resource["multipleBirthInteger"] = Number(text)
    assert problem_in(resource)[0] == "Patient.multipleBirth"
