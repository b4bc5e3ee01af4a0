"""The operation $validate reports the errors of a write, and writes nothing."""

import json
from typing import Any

import pytest

from unit.patient_api.fakes.api import UNKNOWN, Platform, Reply, patient

PATH = "/fhir/Patient/$validate"
OF_RECORD = f"/fhir/Patient/{UNKNOWN}/$validate"
PROFILE = "http://hl7.org/fhir/StructureDefinition/Patient"


def issues(reply: Reply) -> list[dict[str, Any]]:
    assert (reply.status, reply.json["resourceType"]) == (200, "OperationOutcome"), reply.body
    assert reply.headers["content-type"] == "application/fhir+json"
    found: list[dict[str, Any]] = reply.json["issue"]
    assert found
    return found


def valid(reply: Reply) -> bool:
    """Return whether the response is the one issue of a valid resource; else all issues must be errors."""
    severities = {issue["severity"] for issue in issues(reply)}
    assert severities in ({"information"}, {"error"})
    if severities == {"information"}:
        assert [issue["code"] for issue in issues(reply)] == ["informational"]
    return severities == {"information"}


def parameters(resource: object, **others: str) -> dict[str, Any]:
    kinds = {"mode": "valueCode", "profile": "valueCanonical"}
    given = [{"name": name, kinds[name]: value} for name, value in others.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": resource}, *given]}


WRONG = [
    patient(gender="x"),
    patient(birthDate="1970-02-30"),
    patient(shoe=42),
    patient(name=[{"family": "a"}, {"family": 1}]),
    patient(multipleBirthBoolean=True, multipleBirthInteger=2),
    patient(managingOrganization={"reference": "#gone"}),
    patient(modifierExtension=[{"url": "http://example.org/a", "valueBoolean": True}]),
    patient(identifier=[{"value": f"many-{number}"} for number in range(50)]),
    {"resourceType": "Observation"},
    {},
    {"name": []},
]


@pytest.mark.parametrize("resource", WRONG, ids=lambda resource: json.dumps(resource)[:80])
def test_errors_are_those_of_a_create(platform: Platform, resource: dict[str, Any]) -> None:
    refused = platform.call("POST", "/fhir/Patient", resource)
    assert refused.status == 422
    assert issues(platform.call("POST", PATH, resource)) == refused.json["issue"]
    assert issues(platform.call("POST", PATH, parameters(resource))) == refused.json["issue"]


def test_valid_resource_is_reported_as_valid(platform: Platform) -> None:
    assert valid(platform.call("POST", PATH, patient()))
    assert valid(platform.call("POST", PATH, patient(id="1", meta={"versionId": "1"})))
    assert valid(platform.call("POST", PATH, parameters(patient())))


def test_each_invalid_element_is_reported(platform: Platform) -> None:
    wrong = patient(gender="x", birthDate="yesterday", shoe=42, hat=1, active=True, photo=[])
    wrong["name"] = [{"family": "a"}, {"family": 1, "given": [2]}]
    found = issues(platform.call("POST", PATH, wrong))
    places = [place for issue in found for place in issue["expression"]]
    assert places == ["Patient.name[1].family", "Patient.gender", "Patient.birthDate", "Patient", "Patient.photo"]
    assert {issue["severity"] for issue in found} == {"error"}
    assert "yesterday" not in json.dumps(found)


@pytest.mark.parametrize(
    ("elements", "place"),
    [
        ({"contained": 5}, "Patient.contained"),
        ({"contained": [1]}, "Patient.contained[0]"),
        ({"multipleBirthBoolean": "x", "multipleBirthInteger": 2}, "Patient.multipleBirth"),
    ],
)
def test_elements_are_compared_only_if_each_is_valid(
    platform: Platform, elements: dict[str, object], place: str
) -> None:
    (issue,) = issues(platform.call("POST", PATH, patient(**elements)))
    assert issue["expression"] == [place]


def test_validation_is_neither_stored_nor_audited(platform: Platform) -> None:
    calls = [
        platform.call("POST", PATH, patient()),
        platform.call("POST", PATH, patient(gender="x")),
        platform.call("POST", OF_RECORD, patient(id=UNKNOWN)),
    ]
    assert [reply.status for reply in calls] == [200, 200, 200]
    assert platform.records == {}
    assert platform.dynamodb.calls == []
    assert platform.audit() == []


class TestUpdateOfARecord:
    def test_id_must_be_the_one_in_the_url(self, platform: Platform) -> None:
        assert valid(platform.call("POST", OF_RECORD, patient(id=UNKNOWN)))
        for resource in (patient(), patient(id="other"), patient(id=1)):
            (issue, *_) = issues(platform.call("POST", OF_RECORD, resource))
            refused = platform.call("PUT", f"/fhir/Patient/{UNKNOWN}", resource)
            assert ([issue], refused.status) == (refused.json["issue"], 400)

    def test_invalid_elements_are_reported_beside_the_id(self, platform: Platform) -> None:
        found = issues(platform.call("POST", OF_RECORD, patient(gender="x")))
        assert [issue["expression"] for issue in found] == [["Patient.id"], ["Patient.gender"]]

    def test_mode_create_accepts_any_id(self, platform: Platform) -> None:
        assert valid(platform.call("POST", OF_RECORD, patient(), query="mode=create"))
        assert not valid(platform.call("POST", OF_RECORD, parameters(patient(), mode="update")))

    def test_invalid_id_in_the_url_returns_404(self, platform: Platform) -> None:
        assert platform.call("POST", "/fhir/Patient/a_b/$validate", patient()).status == 404


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"mode": "create"}, 200),
        ({"mode": "update"}, 400),
        ({"mode": "delete"}, 400),
        ({"mode": "x"}, 400),
        ({"profile": PROFILE}, 200),
        ({"profile": f"{PROFILE}|4.0.1"}, 200),
        ({"profile": f"{PROFILE}|5.0.0"}, 400),
        ({"profile": "http://example.org/other", "mode": "create"}, 400),
    ],
)
def test_unsupported_mode_or_profile_returns_400(platform: Platform, options: dict[str, str], status: int) -> None:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    assert platform.call("POST", PATH, patient(), query=query).status == status
    assert platform.call("POST", PATH, parameters(patient(), **options)).status == status
    assert platform.call("POST", PATH, parameters(patient(), **options), query=query).status == 400


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"Patient"',
        '{"resourceType": "Patient", "resourceType": "Patient"}',
        {"resourceType": "Parameters"},
        {"resourceType": "Parameters", "parameter": {}},
        {"resourceType": "Parameters", "parameter": []},
        {"resourceType": "Parameters", "parameter": ["resource"]},
        {"resourceType": "Parameters", "parameter": [{"name": "resource"}]},
        {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": []}]},
        {"resourceType": "Parameters", "parameter": [{"name": "resource", "valueString": "x"}]},
        {"resourceType": "Parameters", "parameter": [{"name": 1, "resource": {}}]},
        {"resourceType": "Parameters", "parameter": [{"name": "mode", "valueCode": "create"}]},
        parameters(patient()) | {"parameter": [*parameters(patient())["parameter"] * 2]},
        parameters(patient()) | {"parameter": [*parameters({})["parameter"], {"name": "mode", "valueCode": 1}]},
        parameters(patient()) | {"parameter": [*parameters({})["parameter"], {"name": "mode", "valueUri": "create"}]},
        parameters(patient()) | {"parameter": [*parameters({})["parameter"], {"name": "x", "valueCode": "create"}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [PATH, OF_RECORD])
def test_body_without_resource_returns_400(platform: Platform, path: str, body: object) -> None:
    reply = platform.call("POST", path, body)
    assert reply.outcome == (400, "structure")


def test_capability_statement_names_the_operations(platform: Platform) -> None:
    resources = platform.call("GET", "/fhir/metadata").json["rest"][0]["resource"]
    operations = {
        one["type"]: [(each["name"], each["definition"]) for each in one.get("operation", ())] for one in resources
    }
    assert operations["Patient"] == [("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate")]
    assert operations["AuditEvent"] == []
    assert [name for name, _ in operations["DocumentReference"]] == ["complete"]
