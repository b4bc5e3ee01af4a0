import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from patient_api.audit.resource import resource_of
from patient_api.contract.audit import Action, AuditEvent, Outcome

EVENT = AuditEvent(
    id="8f6f5c0e-1111-4222-8333-444455556666",
    at=datetime(2027, 1, 15, 8, 0, 0, 7000, UTC),
    tenant="north-clinic",
    subject="app-1",
    action=Action.UPDATE,
    interaction="update",
    record="Patient/ada",
    outcome=Outcome.SUCCESS,
    status=200,
    region="us-east-1",
    source_ip="203.0.113.9",
    request_id="request-1",
    version="1800000000000-0000-us-east-1",
)


def fhir(event: AuditEvent) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(resource_of(event))
    return content


def test_update_has_all_elements() -> None:
    resource = fhir(EVENT)
    assert resource["resourceType"] == "AuditEvent"
    assert resource["id"] == EVENT.id
    assert resource["type"]["code"] == "rest"
    assert resource["subtype"] == [{"system": "http://hl7.org/fhir/restful-interaction", "code": "update"}]
    assert (resource["action"], resource["outcome"], resource["outcomeDesc"]) == ("U", "0", "HTTP 200")
    assert resource["recorded"] == "2027-01-15T08:00:00.007Z"
    (agent,) = resource["agent"]
    assert agent["requestor"] is True
    assert agent["who"]["identifier"]["value"] == agent["altId"] == "app-1"
    assert agent["network"] == {"address": "203.0.113.9", "type": "2"}
    assert resource["source"]["site"] == "us-east-1"
    assert "us-east-1" in resource["source"]["observer"]["display"]
    (entity,) = resource["entity"]
    assert entity["what"]["reference"] == "Patient/ada/_history/1800000000000-0000-us-east-1"
    assert entity["role"]["code"] == "1"
    assert {"type": "request", "valueString": "request-1"} in entity["detail"]


def test_document_is_an_entity_beside_its_patient() -> None:
    patient, document = fhir(replace(EVENT, entity="DocumentReference/letter"))["entity"]
    assert patient["what"]["reference"] == "Patient/ada"
    assert document["what"]["reference"] == "DocumentReference/letter/_history/1800000000000-0000-us-east-1"
    assert document["role"]["code"] == "4"


def test_access_without_record_has_the_type_only() -> None:
    (entity,) = fhir(replace(EVENT, record="Patient", version=None))["entity"]
    assert "what" not in entity
    assert entity["type"] == {"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.SUCCESS, "0"), (Outcome.REFUSED, "4"), (Outcome.FAILURE, "8")])
def test_outcome_has_its_code(outcome: Outcome, code: str) -> None:
    assert fhir(replace(EVENT, outcome=outcome))["outcome"] == code


def test_amendment_names_the_amended_event() -> None:
    (entity,) = fhir(replace(EVENT, amends="first"))["entity"]
    assert {"type": "amends", "valueString": "first"} in entity["detail"]


def test_resource_has_no_empty_elements() -> None:
    bare = replace(EVENT, source_ip="", request_id="", version=None, record="Patient")
    assert "network" not in fhir(bare)["agent"][0]
    assert '""' not in resource_of(bare)
    assert "[]" not in resource_of(bare)
