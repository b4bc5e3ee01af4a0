"""Each response of each route that accesses records: its decision is in exactly one audit event.

A read is recorded before its result is known. When another event amends it, that one has the decision. A request that
is rejected for its form alone has accessed nothing, and has no event. The contract lists the statuses of each route;
each of them is produced, and also a failure of the table.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from patient_api.contract.headers import FORM
from patient_api.contract.keys import AUDIT_EVENT, PATIENT
from patient_api.contract.routes import ROUTES, Route
from unit.patient_api.fakes.api import UNKNOWN, Platform, Reply, id_of, patient
from unit.patient_api.fakes.aws import AUDIT, PEER, RECORDS, REGION, START_MS, client_error
from unit.patient_api.fakes.documents import announcement
from unit.patient_api.fakes.s3 import FakeS3, Time

AUDITED = [route for route in ROUTES if route.right]
NEVER = f'W/"{START_MS - 1000}-0000-{REGION}"'
"""A version that this region has never written."""
LATER = f'W/"{START_MS + 1_000_000}-0000-{PEER}"'
NAMES = [{"family": f"{number:02d}fictitious"} for number in range(60)]
"""More names than a transaction has room for."""
LARGE = " " * (256 * 1024 + 1)
"""More characters than a body may have."""


class World:
    """The API of one region with a patient and a document."""

    def __init__(self) -> None:
        self.buckets = {region: FakeS3(region, Time()) for region in (REGION, PEER)}
        self.platform = Platform(buckets={region: bucket.restricted() for region, bucket in self.buckets.items()})
        self.path, self.etag = self.platform.made(identifier=[{"system": "urn:mrn", "value": "1"}])
        self.id = id_of(self.path)
        size = 65 * 2**20
        self.document = self.send("POST", "/fhir/DocumentReference", self.announcement(), {"idempotency-key": "d"})
        self.parts = self.send("POST", "/fhir/DocumentReference", self.announcement(size=size))
        self.platform.dynamodb.tables[AUDIT].clear()

    def delete(self) -> Reply:
        """Delete the patient. Its last version becomes `etag`."""
        reply = self.change("DELETE", self.path)
        self.etag = reply.headers.get("etag", self.etag)
        return reply

    def announcement(self, **elements: Any) -> dict[str, Any]:
        """Return a DocumentReference of the patient."""
        return announcement(b"x", patient=self.id, **elements)

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Return the response to a request."""
        path, _, query = path.partition("?")
        return self.platform.call(method, path, body, headers=headers, query=query)

    def change(self, method: str, path: str, headers: Mapping[str, str] | None = None, **elements: Any) -> Reply:
        """Update, patch or delete a patient."""
        named = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
        body = None if method == "DELETE" else elements if method == "PATCH" else patient(**elements)
        return self.send(method, path, body, {**named, **(headers or {})})

    def events(self) -> list[Mapping[str, str]]:
        """Return the events that no other event amends."""
        items = self.platform.audit()
        amended = {item.get("amends") for item in items}
        return [item for item in items if item["event"] not in amended]

    def conflict(self) -> None:
        """Let every transaction conflict with another one."""
        self.fail("transact_write_items", "TransactionConflictException")

    def fail(self, operation: str | None, code: str, *, table: str = RECORDS) -> None:
        """Let calls of a table fail, all of them or those of one operation."""

        def before(called: str, request: Mapping[str, Any]) -> None:
            if table in str(request) and operation in {None, called}:
                raise client_error(code)

        self.platform.dynamodb.before = before


Send = Callable[[World], Reply]
STALE = {"if-match": NEVER}
UNWRITTEN, COMING = {"minimum-version": NEVER}, {"minimum-version": LATER}
PATIENTS, DOCUMENTS = "/fhir/Patient", "/fhir/DocumentReference"
MATCH, NO_MATCH = f"{PATIENTS}?identifier=1", f"{PATIENTS}?identifier=2"
MATCHING: dict[str, Any] = {"identifier": [{"system": "urn:mrn", "value": "1"}]}
TEXT = {"content-type": "text/plain"}


def again(send: Send, *before: Send) -> Send:
    """Return the last of several requests. Events of the others do not count."""

    def run(to: World) -> Reply:
        for one in before:
            assert one(to).status < 300
        to.platform.dynamodb.tables[AUDIT].clear()
        return send(to)

    return run


def conflicting(send: Send) -> Send:
    """Return a request whose transactions conflict with others."""

    def run(to: World) -> Reply:
        to.conflict()
        return send(to)

    return run


def deleted(to: World) -> Reply:
    return to.delete()


def second(to: World) -> Reply:
    return to.change("POST", PATIENTS, **MATCHING)


def uploaded(to: World) -> Reply:
    to.buckets[REGION].place(f"documents/north-clinic/{id_of(to.parts.location)}", b"x")
    return ended(to)


def ended(to: World) -> Reply:
    to.buckets[REGION].uploads.clear()
    return to.parts


def vread(to: World, version: str, headers: Mapping[str, str] | None = None) -> Reply:
    return to.send("GET", f"{to.path}/_history/{version[3:-1]}", headers=headers)


CASES: Mapping[tuple[str, int], tuple[Send, ...]] = {
    ("createPatient", 200): (lambda to: to.change("POST", PATIENTS, {"if-none-exist": "identifier=1"}),),
    ("createPatient", 201): (second,),
    ("createPatient", 409): (conflicting(second),),
    ("createPatient", 412): (again(lambda to: to.change("POST", PATIENTS, {"if-none-exist": "identifier=1"}), second),),
    ("createPatient", 422): (
        lambda to: to.change("POST", PATIENTS, name=NAMES),
        again(
            lambda to: to.change("POST", PATIENTS, {"idempotency-key": "k"}, gender="other"),
            lambda to: to.change("POST", PATIENTS, {"idempotency-key": "k"}),
        ),
    ),
    ("updatePatientThatMatches", 200): (lambda to: to.change("PUT", MATCH),),
    ("updatePatientThatMatches", 201): (lambda to: to.change("PUT", NO_MATCH),),
    ("updatePatientThatMatches", 405): (lambda to: to.change("PUT", NO_MATCH, id="unknown"),),
    ("updatePatientThatMatches", 409): (conflicting(lambda to: to.change("PUT", MATCH)),),
    ("updatePatientThatMatches", 412): (
        lambda to: to.change("PUT", MATCH, STALE),
        lambda to: to.change("PUT", NO_MATCH, STALE),
        again(lambda to: to.change("PUT", MATCH), second),
    ),
    ("updatePatientThatMatches", 422): (lambda to: to.change("PUT", MATCH, name=NAMES),),
    ("patchPatientThatMatches", 200): (lambda to: to.change("PATCH", MATCH, gender="other"),),
    ("patchPatientThatMatches", 404): (lambda to: to.change("PATCH", NO_MATCH, gender="other"),),
    ("patchPatientThatMatches", 409): (conflicting(lambda to: to.change("PATCH", MATCH, gender="other")),),
    ("patchPatientThatMatches", 412): (lambda to: to.change("PATCH", MATCH, STALE, gender="other"),),
    ("patchPatientThatMatches", 422): (
        lambda to: to.change("PATCH", MATCH, gender="unheard-of"),
        lambda to: to.change("PATCH", MATCH, name=NAMES),
    ),
    ("deletePatientThatMatches", 204): (lambda to: to.change("DELETE", MATCH),),
    ("deletePatientThatMatches", 404): (lambda to: to.change("DELETE", NO_MATCH),),
    ("deletePatientThatMatches", 409): (conflicting(lambda to: to.change("DELETE", MATCH)),),
    ("deletePatientThatMatches", 412): (lambda to: to.change("DELETE", MATCH, STALE),),
    ("searchPatients", 200): (
        lambda to: to.send("GET", PATIENTS),
        lambda to: to.send("GET", NO_MATCH),
        lambda to: to.send("GET", f"{MATCH}&_summary=count"),
        lambda to: to.send("GET", f"{PATIENTS}?_id={UNKNOWN}"),
    ),
    ("searchPatientsByForm", 200): (
        lambda to: to.send("POST", f"{PATIENTS}/_search", "identifier=1", {"content-type": FORM}),
    ),
    ("readPatient", 200): (lambda to: to.send("GET", to.path), lambda to: to.send("HEAD", to.path)),
    ("readPatient", 304): (lambda to: to.send("GET", to.path, headers={"if-none-match": to.etag}),),
    ("readPatient", 404): (
        lambda to: to.send("GET", f"{PATIENTS}/{UNKNOWN}"),
        lambda to: to.send("GET", f"{PATIENTS}/_"),
    ),
    ("readPatient", 410): (again(lambda to: to.send("GET", to.path), deleted),),
    ("readPatient", 412): (lambda to: to.send("GET", to.path, headers=STALE),),
    ("readPatient", 503): (lambda to: to.send("GET", to.path, headers=COMING),),
    ("updatePatient", 200): (lambda to: to.change("PUT", to.path, {"if-match": to.etag}, id=to.id),),
    ("updatePatient", 404): (lambda to: to.change("PUT", f"{PATIENTS}/_", {"if-match": to.etag}, id="_"),),
    ("updatePatient", 405): (lambda to: to.change("PUT", f"{PATIENTS}/{UNKNOWN}", STALE, id=UNKNOWN),),
    ("updatePatient", 409): (conflicting(lambda to: to.change("PUT", to.path, {"if-match": to.etag}, id=to.id)),),
    ("updatePatient", 412): (
        lambda to: to.change("PUT", to.path, STALE, id=to.id),
        lambda to: to.change("PUT", to.path, {"if-match": "*", "if-none-match": to.etag}, id=to.id),
    ),
    ("updatePatient", 422): (
        lambda to: to.change("PUT", to.path, {"if-match": to.etag, "merges": NEVER}, id=to.id),
        lambda to: to.change("PUT", to.path, {"if-match": to.etag}, id=to.id, name=NAMES),
    ),
    ("updatePatient", 428): (lambda to: to.change("PUT", to.path, id=to.id),),
    ("updatePatient", 503): (lambda to: to.change("PUT", to.path, {"if-match": LATER}, id=to.id),),
    ("patchPatient", 503): (lambda to: to.change("PATCH", to.path, COMING, gender="other"),),
    ("deletePatient", 503): (lambda to: to.change("DELETE", to.path, {"merges": LATER}),),
    ("updatePatientThatMatches", 503): (lambda to: to.change("PUT", NO_MATCH, {"if-match": LATER}),),
    ("readPatientVersion", 503): (lambda to: vread(to, LATER),),
    ("patchPatient", 200): (lambda to: to.change("PATCH", to.path, gender="other"),),
    ("patchPatient", 404): (lambda to: to.change("PATCH", f"{PATIENTS}/{UNKNOWN}", gender="other"),),
    ("patchPatient", 409): (conflicting(lambda to: to.change("PATCH", to.path, gender="other")),),
    ("patchPatient", 410): (again(lambda to: to.change("PATCH", to.path, gender="other"), deleted),),
    ("patchPatient", 412): (lambda to: to.change("PATCH", to.path, STALE, gender="other"),),
    ("patchPatient", 413): (lambda to: to.change("PATCH", to.path, photo=[{"title": "x" * 262_050}]),),
    ("patchPatient", 422): (
        lambda to: to.change("PATCH", to.path, gender="unheard-of"),
        lambda to: to.change("PATCH", to.path, name=NAMES),
    ),
    ("deletePatient", 204): (deleted, again(deleted, deleted)),
    ("deletePatient", 404): (lambda to: to.change("DELETE", f"{PATIENTS}/{UNKNOWN}"),),
    ("deletePatient", 409): (conflicting(deleted),),
    ("deletePatient", 412): (lambda to: to.change("DELETE", to.path, STALE),),
    ("deletePatient", 422): (lambda to: to.change("DELETE", to.path, {"merges": NEVER}),),
    ("validatePatientUpdate", 404): (lambda to: to.change("POST", f"{PATIENTS}/_/$validate"),),
    ("getPatientHistory", 200): (lambda to: to.send("GET", f"{to.path}/_history"),),
    ("getPatientHistory", 404): (lambda to: to.send("GET", f"{PATIENTS}/{UNKNOWN}/_history"),),
    ("getPatientHistory", 412): (lambda to: to.send("GET", f"{to.path}/_history", headers=UNWRITTEN),),
    ("getPatientHistory", 503): (lambda to: to.send("GET", f"{to.path}/_history", headers=COMING),),
    ("readPatientVersion", 200): (lambda to: vread(to, to.etag),),
    ("readPatientVersion", 304): (lambda to: vread(to, to.etag, {"if-none-match": to.etag}),),
    ("readPatientVersion", 404): (lambda to: vread(to, NEVER), lambda to: vread(to, 'W/"no-version"')),
    ("readPatientVersion", 410): (again(lambda to: vread(to, to.etag), deleted),),
    ("readPatientVersion", 412): (lambda to: vread(to, to.etag, STALE),),
    ("createDocument", 201): (
        lambda to: to.send("POST", DOCUMENTS, to.announcement()),
        lambda to: to.send("POST", DOCUMENTS, to.announcement(), {"idempotency-key": "d"}),
    ),
    ("createDocument", 409): (conflicting(lambda to: to.send("POST", DOCUMENTS, to.announcement())),),
    ("createDocument", 412): (lambda to: to.send("POST", DOCUMENTS, to.announcement(), UNWRITTEN),),
    ("createDocument", 503): (lambda to: to.send("POST", DOCUMENTS, to.announcement(), COMING),),
    ("createDocument", 422): (
        lambda to: to.send("POST", DOCUMENTS, announcement(b"x", patient=UNKNOWN)),
        again(lambda to: to.send("POST", DOCUMENTS, to.announcement()), deleted),
        lambda to: to.send("POST", DOCUMENTS, to.announcement(description="other"), {"idempotency-key": "d"}),
    ),
    ("searchDocuments", 200): (
        lambda to: to.send("GET", f"{DOCUMENTS}?_id={id_of(to.document.location)}"),
        lambda to: to.send("GET", f"{DOCUMENTS}?patient={UNKNOWN}"),
    ),
    ("readDocument", 200): (lambda to: to.send("GET", to.document.location),),
    ("readDocument", 404): (
        lambda to: to.send("GET", f"{DOCUMENTS}/{UNKNOWN}"),
        lambda to: to.send("GET", f"{DOCUMENTS}/_"),
    ),
    ("readDocument", 412): (lambda to: to.send("GET", to.document.location, headers=STALE),),
    ("readDocument", 503): (lambda to: to.send("GET", to.document.location, headers=COMING),),
    ("completeDocument", 200): (again(lambda to: to.send("POST", f"{to.parts.location}/$complete"), uploaded),),
    ("completeDocument", 404): (lambda to: to.send("POST", f"{DOCUMENTS}/{UNKNOWN}/$complete"),),
    ("completeDocument", 409): (again(lambda to: to.send("POST", f"{to.parts.location}/$complete"), ended),),
    ("completeDocument", 412): (lambda to: to.send("POST", f"{to.parts.location}/$complete", headers=UNWRITTEN),),
    ("completeDocument", 503): (lambda to: to.send("POST", f"{to.parts.location}/$complete", headers=COMING),),
    ("completeDocument", 422): (lambda to: to.send("POST", f"{to.document.location}/$complete"),),
    ("searchAuditEvents", 200): (
        lambda to: to.send("GET", "/fhir/AuditEvent"),
        lambda to: to.send("GET", f"/fhir/AuditEvent?patient={to.id}"),
    ),
    ("searchAuditEvents", 400): (lambda to: to.send("GET", "/fhir/AuditEvent?date=ge2020"),),
}


def body_of(route: Route) -> object:
    """Return an empty resource or form."""
    return "" if FORM in route.body else {"resourceType": route.type} if route.body else None


@pytest.fixture
def to() -> Iterator[World]:
    world = World()
    yield world
    world.platform.close()


def malformed(route: Route) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield requests that are rejected for their form alone."""
    yield 400, {"query": "unknown=1"}
    yield 406, {"headers": {"accept": "application/xml"}}
    if route.body:
        yield 413, {"body": LARGE}
        yield 415, {"headers": {"content-type": "text/plain"}}
    if 422 in route.statuses and route.type != PATIENT and route.interaction == "create":
        yield 422, {"body": {"resourceType": "DocumentReference"}}
    if 422 in route.statuses and route.type == PATIENT and route.interaction in {"create", "update"}:
        yield 422, {"body": {"resourceType": "Patient", "id": "1", "shoeSize": 38}}


def form_of(route: Route) -> dict[str, Any]:
    """Return the parts of a request whose form has no fault but the one that is under test."""
    content = FORM if FORM in route.body else "application/merge-patch+json" if route.method == "PATCH" else None
    return {"content-type": content} if content else {}


@pytest.mark.requirement("R1.3", "C6")
@pytest.mark.parametrize(
    ("key", "send"),
    [(key, send) for key, sends in CASES.items() for send in sends],
    ids=[f"{operation}-{status}-{n}" for (operation, status), sends in CASES.items() for n in range(len(sends))],
)
def test_decision_is_in_one_event(to: World, key: tuple[str, int], send: Send) -> None:
    operation, status = key
    reply = send(to)
    assert reply.status == status, reply.body
    (event,) = to.events()
    route = next(route for route in ROUTES if route.operation == operation)
    # A response without the unchanged resource grants the same access.
    assert int(event["status"]) == (200 if status == 304 else status)
    assert event["outcome"] == ("success" if status < 400 else "refused")
    expected = {route.interaction or "operation", "create" if status == 201 else None}
    assert event["interaction"] in expected


@pytest.mark.requirement("R1.3", "C6")
@pytest.mark.parametrize("route", [route for route in AUDITED if route.interaction], ids=lambda route: route.operation)
def test_failure_of_the_table_is_in_one_event(to: World, route: Route) -> None:
    if route.type == AUDIT_EVENT:
        to.fail("query", "InternalServerError", table=AUDIT)
    else:
        to.fail(None, "InternalServerError")
    send = next(sends[0] for (operation, _), sends in CASES.items() if operation == route.operation)
    reply = send(to)
    assert reply.status == 503, reply.body
    (event,) = to.events()
    assert (event["outcome"], event["status"]) == ("failure", "503")


@pytest.mark.parametrize("route", AUDITED, ids=lambda route: route.operation)
def test_request_that_is_rejected_for_its_form_has_no_event(to: World, route: Route) -> None:
    for status, fault in malformed(route):
        parts = {"body": body_of(route), **fault, "headers": {**form_of(route), **fault.get("headers", {})}}
        query = parts.pop("query", "identifier=1" if route.conditional and status != 406 else "")
        reply = to.platform.call(route.method, route.path.format(id="1", vid="1"), query=query, **parts)
        assert reply.status == status, (fault, reply.body)
        assert to.platform.audit() == []


@pytest.mark.parametrize("route", AUDITED, ids=lambda route: route.operation)
def test_each_status_of_the_contract_is_produced(route: Route) -> None:
    produced = {status for operation, status in CASES if operation == route.operation}
    rejected = {status for status, _ in malformed(route)}
    # Validation accesses no record.
    accepted = {200} if route.path.endswith("$validate") else set()
    assert set(route.statuses) <= produced | rejected | accepted
