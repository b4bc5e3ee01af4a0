"""The operation $validate says what a write would refuse, and writes nothing."""

import json
from typing import Any

import pytest

from unit.patient_api.changes import UNKNOWN
from unit.patient_api.fakes import RECORDS
from unit.patient_api.whole_api import Platform, Reply, claims, outcome, patient

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
    """Whether the answer is the one issue that says so; otherwise each of them is an error."""
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
def test_it_says_what_a_create_would(platform: Platform, resource: dict[str, Any]) -> None:
    refused = platform.call("POST", "/fhir/Patient", resource)
    assert refused.status == 422
    assert issues(platform.call("POST", PATH, resource)) == refused.json["issue"]
    assert issues(platform.call("POST", PATH, parameters(resource))) == refused.json["issue"]


def test_what_a_create_would_take_is_valid(platform: Platform) -> None:
    assert valid(platform.call("POST", PATH, patient()))
    assert valid(platform.call("POST", PATH, patient(id="1", meta={"versionId": "1"})))
    assert valid(platform.call("POST", PATH, parameters(patient())))


def test_it_says_what_is_wrong_with_each_element(platform: Platform) -> None:
    wrong = patient(gender="x", birthDate="yesterday", shoe=42, hat=1, active=True, photo=[])
    wrong["name"] = [{"family": "a"}, {"family": 1, "given": [2]}]
    found = issues(platform.call("POST", PATH, wrong))
    places = [issue["expression"] for issue in found]
    assert places == [
        ["Patient.name[1].family"],
        ["Patient.gender"],
        ["Patient.birthDate"],
        ["Patient"],
        ["Patient.photo"],
    ]
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
def test_elements_are_compared_when_each_is_right(platform: Platform, elements: dict[str, object], place: str) -> None:
    (issue,) = issues(platform.call("POST", PATH, patient(**elements)))
    assert issue["expression"] == [place]


def test_nothing_is_read_written_or_on_record(platform: Platform) -> None:
    calls = [
        platform.call("POST", PATH, patient()),
        platform.call("POST", PATH, patient(gender="x")),
        platform.call("POST", OF_RECORD, patient(id=UNKNOWN)),
    ]
    assert [reply.status for reply in calls] == [200, 200, 200]
    assert platform.dynamodb.tables[RECORDS] == {}
    assert platform.dynamodb.calls == []
    assert platform.audit() == []


class TestUpdateOfARecord:
    def test_the_id_has_to_be_that_of_the_url(self, platform: Platform) -> None:
        assert valid(platform.call("POST", OF_RECORD, patient(id=UNKNOWN)))
        for resource in (patient(), patient(id="other")):
            (said,) = issues(platform.call("POST", OF_RECORD, resource))
            refused = platform.call("PUT", f"/fhir/Patient/{UNKNOWN}", resource)
            assert ([said], refused.status) == (refused.json["issue"], 400)

    def test_with_what_else_is_wrong(self, platform: Platform) -> None:
        found = issues(platform.call("POST", OF_RECORD, patient(gender="x")))
        assert [issue["expression"] for issue in found] == [["Patient.id"], ["Patient.gender"]]

    def test_as_one_that_is_created(self, platform: Platform) -> None:
        assert valid(platform.call("POST", OF_RECORD, patient(), query="mode=create"))
        assert not valid(platform.call("POST", OF_RECORD, parameters(patient(), mode="update")))

    def test_what_is_no_id(self, platform: Platform) -> None:
        assert platform.call("POST", "/fhir/Patient/a_b/$validate", patient()).status == 404


@pytest.mark.parametrize(
    ("asked", "status"),
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
def test_another_check_is_refused_not_left_out(platform: Platform, asked: dict[str, str], status: int) -> None:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    assert platform.call("POST", PATH, patient(), query=query).status == status
    assert platform.call("POST", PATH, parameters(patient(), **asked)).status == status
    assert platform.call("POST", PATH, parameters(patient(), **asked), query=query).status == 400


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
def test_a_body_without_a_resource_is_refused(platform: Platform, path: str, body: object) -> None:
    reply = platform.call("POST", path, body)
    assert (reply.status, outcome(reply.json)) == (400, "structure")


@pytest.mark.requirement("C6")
@pytest.mark.parametrize(("path", "right", "others"), [(PATH, "c", "ruds"), (OF_RECORD, "u", "crds")])
def test_rights(platform: Platform, path: str, right: str, others: str) -> None:
    resource = patient(id=UNKNOWN)
    assert valid(platform.call("POST", path, resource, authorizer=claims(scope=f"system/Patient.{right}")))
    reply = platform.call("POST", path, resource, authorizer=claims(scope=f"system/Patient.{others}"))
    assert (reply.status, outcome(reply.json)) == (403, "forbidden")
    (kept,) = platform.audit()
    assert (kept["action"], kept["interaction"], kept["outcome"], kept["status"]) == (
        "E",
        "operation",
        "refused",
        "403",
    )


def test_the_statement_names_the_operation_of_fhir(platform: Platform) -> None:
    resources = platform.call("GET", "/fhir/metadata").json["rest"][0]["resource"]
    operations = {
        one["type"]: [(each["name"], each["definition"]) for each in one.get("operation", ())] for one in resources
    }
    assert operations["Patient"] == [("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate")]
    assert operations["AuditEvent"] == []
    assert [name for name, _ in operations["DocumentReference"]] == ["complete"]
