"""The audit trail: its events, searches, and the roles that cannot change it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.attempts import Attempt, attempts
from support.platform import MARKS, REGIONS, Deployed, create_patient, eventually, letter, patient, reference, upload_of

EAST, WEST = REGIONS
Apis = dict[str, httpx.Client]
Resource = dict[str, Any]
# Interaction, action, outcome and status of an event.
Seen = tuple[str, str, str, int]
REFUSED, OKAY = "4", "0"
WORKERS = ("confirmation", "reconciliation")


@pytest.fixture
def tenant() -> str:
    """Return a tenant with an empty trail."""
    return f"clinic-{uuid4().hex[:12]}"


def search(client: httpx.Client, **parameters: object) -> list[Resource]:
    """Return the events of all pages."""
    found: list[Resource] = []
    answer = client.get("/fhir/AuditEvent", params=parameters)  # type: ignore[arg-type] # a JSON value or a fake
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [entry["resource"] for entry in page.get("entry", ())]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return found
        assert following[0].startswith(f"{client.base_url}fhir/AuditEvent?")
        answer = client.get(following[0])


def seen(event: Mapping[str, Any]) -> Seen:
    status = int(event["outcomeDesc"].removeprefix("HTTP "))
    return event["subtype"][0]["code"], event["action"], event["outcome"], status


def detail_of(event: Mapping[str, Any], detail: str) -> str | None:
    """Return a detail of the event's first entity."""
    return next((held["valueString"] for held in event["entity"][0]["detail"] if held["type"] == detail), None)


def create(client: httpx.Client) -> tuple[str, dict[str, str]]:
    """Create a patient. Returns its id, and the header that names its version."""
    made = create_patient(client)
    return str(made.json()["id"]), {"If-Match": made.headers["etag"]}


@pytest.mark.requirement("R1.3", "C6")
def test_every_access_to_a_patient_is_audited(deployed: Deployed, region: str, tenant: str) -> None:
    expected: list[Seen] = []
    with deployed.api(region, deployed.token(tenant=tenant)) as client:
        made, first = create(client)
        path, unknown = f"/fhir/Patient/{made}", f"{made[:-4]}0000"
        changed = patient(id=made, gender="female")
        add = json.dumps([{"op": "add", "path": "/active", "value": True}])
        patching = {"Content-Type": "application/json-patch+json"}

        def expect(status: int, answer: httpx.Response, *events: Seen) -> httpx.Response:
            assert answer.status_code == status, answer.text
            expected.extend(events)
            return answer

        expected.append(("create", "C", OKAY, 201))
        expect(200, client.get(path), ("read", "R", OKAY, 200))
        version = first["If-Match"][3:-1]
        expect(200, client.get(f"{path}/_history/{version}"), ("vread", "R", OKAY, 200))
        expect(200, client.get(f"{path}/_history"), ("history-instance", "R", OKAY, 200))
        expect(200, client.get("/fhir/Patient", params={"family": MARKS[0]}), ("search-type", "E", OKAY, 200))
        expect(200, client.get("/fhir/Patient", params={"_id": made}), ("search-type", "E", OKAY, 200))
        expect(200, client.post("/fhir/Patient/_search", data={"name": MARKS[1]}), ("search-type", "E", OKAY, 200))
        second = expect(200, client.put(path, json=changed, headers=first), ("update", "U", OKAY, 200))
        now = {"If-Match": second.headers["etag"]}
        expect(412, client.put(path, json=changed, headers=first), ("update", "U", REFUSED, 412))
        expect(412, client.patch(path, content=add, headers=first | patching), ("patch", "U", REFUSED, 412))
        expect(200, client.patch(path, content=add, headers=now | patching), ("patch", "U", OKAY, 200))
        expect(412, client.delete(path, headers=first), ("delete", "D", REFUSED, 412))
        # A read is audited before its result is known. A second event records that nothing was found.
        missing = ("vread", "R", OKAY, 200), ("vread", "R", REFUSED, 404)
        expect(404, client.get(f"{path}/_history/{version[:-11]}9-{region}"), *missing)

        content = letter()
        announced = client.post("/fhir/DocumentReference", json=reference(made, content))
        expect(201, announced, ("create", "C", OKAY, 201))
        document = f"/fhir/DocumentReference/{announced.json()['id']}"
        expect(200, client.get(document), ("read", "R", OKAY, 200))
        expect(200, client.get("/fhir/DocumentReference", params={"patient": made}), ("search-type", "E", OKAY, 200))
        no_parts = ("operation", "U", OKAY, 200), ("operation", "U", REFUSED, 422)
        expect(422, client.post(f"{document}/$complete"), *no_parts)
        address, headers = upload_of(announced.json())
        with deployed.http() as objects:
            assert objects.put(address, content=content, headers=headers).status_code == 200
        # The platform updates the document when both regions have the bytes. Reads of another client wait for this.
        expected.append(("update", "U", OKAY, 200))
        with deployed.api(region, deployed.token(tenant=tenant, subject="other-client")) as other:
            eventually(lambda: other.get(document).json()["docStatus"] == "final")

        expect(204, client.delete(path), ("delete", "D", OKAY, 204))
        expect(410, client.get(path), ("read", "R", OKAY, 200), ("read", "R", REFUSED, 410))
        expect(404, client.get(f"/fhir/Patient/{unknown}"))
        deployed.settle()

        trail = search(client, patient=made)
        found = [event for event in trail if event["agent"][0]["altId"] != "other-client"]
        assert Counter(map(seen, found)) == Counter(expected)
        assert trail == sorted(trail, key=lambda event: str(event["recorded"]), reverse=True)
        by_platform = [event for event in found if event["agent"][0]["altId"] == "system:document-confirmation"]
        assert [seen(event)[0] for event in by_platform] == ["update"]
        for event in trail:
            assert event["source"]["site"] == region
            assert not [mark for mark in MARKS if mark in json.dumps(event)]
        (gone,) = [event for event in found if seen(event) == ("read", "R", REFUSED, 410)]
        assert detail_of(gone, "amends") in {event["id"] for event in found}
        about = {event["entity"][-1]["what"]["reference"].partition("/_history")[0] for event in found}
        assert about == {f"Patient/{made}", document.removeprefix("/fhir/")}

        nowhere = [seen(event) for event in search(client, patient=unknown)]
        assert Counter(nowhere) == Counter([("read", "R", OKAY, 200), ("read", "R", REFUSED, 404)])


@pytest.mark.requirement("R1.3", "C6")
def test_forbidden_requests_are_audited(deployed: Deployed, region: str, tenant: str) -> None:
    creator = deployed.token(
        tenant=tenant, subject="creator", scopes=["system/Patient.c", "system/DocumentReference.r"]
    )
    with deployed.api(region, creator) as client:
        header = {"If-None-Exist": f"identifier=urn:healthcare-dr:fictitious|{MARKS[2]}"}
        assert client.post("/fhir/Patient", json=patient(), headers=header).status_code == 403
        assert client.post(f"/fhir/DocumentReference/{uuid4()}/$complete").status_code == 403
        assert client.get(f"/fhir/DocumentReference/{MARKS[0]}_").status_code == 404
    with deployed.api(region, deployed.token(tenant=tenant)) as auditor:
        found = search(auditor, agent="creator")
    assert Counter(map(seen, found)) == Counter(
        [("create", "C", REFUSED, 403), ("operation", "U", REFUSED, 403), ("read", "R", REFUSED, 404)]
    )
    assert not [mark for mark in MARKS if mark in json.dumps(found)]


@pytest.mark.requirement("R1.3")
def test_trail_is_searched_by_patient_date_agent_and_outcome(
    deployed: Deployed, region: str, other_region: str, tenant: str
) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    with deployed.api(region, deployed.token(tenant=tenant)) as client:
        made, match = create(client)
        other, _ = create(client)
        assert client.put(f"/fhir/Patient/{made}", json=patient(id=made), headers=match).status_code == 200
        assert client.put(f"/fhir/Patient/{made}", json=patient(id=made), headers=match).status_code == 412
    with deployed.api(region, deployed.token(tenant=tenant, subject="reader")) as reader:
        for _ in range(3):
            assert reader.get(f"/fhir/Patient/{made}").status_code == 200
    deployed.settle()
    # The other region finds the events.
    with deployed.api(other_region, deployed.token(tenant=tenant, subject="auditor")) as auditor:

        def found(**parameters: object) -> list[Seen]:
            events = search(auditor, **parameters)
            return [seen(event) for event in events if event["agent"][0]["altId"] != "auditor"]

        read, refused = ("read", "R", OKAY, 200), ("update", "U", REFUSED, 412)
        own = [read, read, read, refused, ("update", "U", OKAY, 200), ("create", "C", OKAY, 201)]
        assert found(patient=made) == own
        assert found(patient=f"Patient/{made}", _count=2) == own
        assert found(patient=other) == [("create", "C", OKAY, 201)]
        assert Counter(found()) == Counter([*own, ("create", "C", OKAY, 201)])
        assert found(agent="reader") == found(patient=made, agent="reader") == [read] * 3
        assert found(agent="unknown") == []
        assert found(outcome=REFUSED) == found(patient=made, outcome=REFUSED) == [refused]
        assert found(outcome="8") == []
        since = f"{began:%Y-%m-%dT%H:%M:%S}Z"
        assert found(patient=made, date=f"ge{since}") == own
        assert found(patient=made, date=f"lt{since}") == []
        assert Counter(found(date=f"ge{since}", outcome=OKAY)) == Counter([*own[:3], *own[4:], own[-1]])
        assert found(date=[f"lt{since}", f"ge{began - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}Z"]) == []


@pytest.mark.requirement("R1.3", "C6")
def test_search_of_the_trail_needs_its_scope_and_is_audited(deployed: Deployed, region: str, tenant: str) -> None:
    with deployed.api(region, deployed.token(tenant=tenant)) as client:
        made, _ = create(client)
    with deployed.api(region, deployed.token(tenant=tenant, scopes=["system/Patient.cruds"])) as client:
        assert client.get("/fhir/AuditEvent", params={"patient": made}).status_code == 403
    auditing = ["system/AuditEvent.s"]
    with deployed.api(region, deployed.token(tenant="clinic-b", scopes=auditing)) as other:
        assert search(other, patient=made) == []
    with deployed.api(region, deployed.token(tenant=tenant, subject="auditor", scopes=auditing)) as auditor:
        assert [seen(event)[0] for event in search(auditor, patient=made)] == ["create"]
        by_patient = [event for event in search(auditor, patient=made) if event["agent"][0]["altId"] == "auditor"]
        assert [seen(event) for event in by_patient] == [("search-type", "E", OKAY, 200)]
        assert by_patient[0]["entity"][0]["what"]["reference"] == f"Patient/{made}"
        assert search(auditor, agent="auditor", outcome=REFUSED) == []
        # The three searches before, without this one.
        assert [seen(event)[0] for event in search(auditor, agent="auditor")] == ["search-type"] * 3


@pytest.fixture(scope="module")
def as_worker(deployed: Deployed) -> Iterator[Attempt]:
    """Make a call to DynamoDB with the role of a worker in a region."""
    with attempts(deployed, WORKERS) as attempt:
        yield lambda region, worker, call, **arguments: attempt(region, worker, "dynamodb", call, **arguments)


@pytest.mark.requirement("R1.3", "C6")
@pytest.mark.parametrize("worker", WORKERS)
def test_no_worker_changes_deletes_or_scans(deployed: Deployed, region: str, worker: str, as_worker: Attempt) -> None:
    names, key = deployed.names, {"pk": {"S": "clinic-a#x"}, "sk": {"S": "x"}}
    assert as_worker(region, worker, "put_item", TableName=names.records_table, Item=key) == "allowed"
    for table in (names.records_table, names.audit_table):
        for call, more in (
            ("delete_item", {"Key": key}),
            ("update_item", {"Key": key, "UpdateExpression": "REMOVE outcome"}),
            ("scan", {}),
        ):
            assert "AccessDenied" in as_worker(region, worker, call, TableName=table, **more), f"{call} {table}"
    assert "AccessDenied" in as_worker(
        region, worker, "batch_write_item", RequestItems={names.audit_table: [{"DeleteRequest": {"Key": key}}]}
    )
    # Only the worker that changes documents writes audit events, and neither worker reads them.
    outcome = as_worker(region, worker, "put_item", TableName=names.audit_table, Item=key)
    assert (outcome == "allowed") is (worker == "confirmation"), outcome
    assert "AccessDenied" in as_worker(region, worker, "get_item", TableName=names.audit_table, Key=key)
