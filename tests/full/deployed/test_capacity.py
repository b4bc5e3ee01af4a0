"""The DynamoDB calls and capacity of each interaction, with the API on the deployed tables and counting clients.

One more call, or a cost that grows with the data, fails a test.
"""

import json
from collections.abc import Callable, Iterator
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.contract.routes import ROUTES
from patient_api.store.model import Method, RecordKey, head_item, version_item, version_of
from support.direct_calls import HERE, Caller, new_tenant
from support.platform import MARKS, Deployed, letter, patient, reference

FOUND = 20
TOGETHER_SECONDS = 10
QUERY, GET, BATCH, PUT, TRANSACTION = "Query", "GetItem", "BatchGetItem", "PutItem", "TransactWriteItems"
# They look at no record.
OPEN = {
    "getHealth", "getDrain", "getCapabilities", "getSmartConfiguration", "validatePatient", "validatePatientUpdate",
}  # fmt: skip


@pytest.fixture(scope="module")
def started(deployed: Deployed) -> Iterator[Caller]:
    """The API with what its first call of all has to get from KMS."""
    made = Caller(deployed, records=deployed.names.records_table, audit=deployed.names.audit_table)
    made.create()
    yield made
    made.close()
    deployed.settle()


@pytest.fixture
def caller(started: Caller) -> Caller:
    """Return a caller without records."""
    started.tenant = new_tenant()
    return started


def creating(call: Caller) -> None:
    call.create()


def creating_with_a_key(call: Caller) -> None:
    call(201, "POST", "/fhir/Patient", patient(), idempotency_key=str(uuid4()))


def repeating_a_creation(call: Caller) -> None:
    key = str(uuid4())
    for _ in range(2):
        call(201, "POST", "/fhir/Patient", patient(), idempotency_key=key)


def creating_unless_there_is_one(call: Caller) -> None:
    number = {"system": "urn:healthcare-dr:fictitious", "value": f"{MARKS[2]}-{uuid4()}"}
    criteria = f"identifier={number['system']}|{number['value']}"
    call(201, "POST", "/fhir/Patient", patient(identifier=[number]), if_none_exist=criteria)


def creating_though_there_is_one(call: Caller) -> None:
    number = {"system": "urn:healthcare-dr:fictitious", "value": f"{MARKS[2]}-{uuid4()}"}
    criteria = f"identifier={number['system']}|{number['value']}"
    call.create(identifier=[number])
    call(200, "POST", "/fhir/Patient", patient(identifier=[number]), if_none_exist=criteria)


def reading(call: Caller) -> None:
    call(200, "GET", call.create()[0])


def reading_what_is_not_there(call: Caller) -> None:
    call(404, "GET", f"/fhir/Patient/{uuid4()}")


def reading_a_version(call: Caller) -> None:
    path, etag = call.create()
    call(200, "GET", f"{path}/_history/{etag[3:-1]}")


def reading_all_versions(call: Caller) -> None:
    call(200, "GET", f"{call.create()[0]}/_history")


def updating(call: Caller) -> None:
    path, etag = call.create()
    call(200, "PUT", path, patient(id=path.rpartition("/")[2]), if_match=etag)


def patching(call: Caller) -> None:
    path, etag = call.create()
    change = json.dumps([{"op": "add", "path": "/active", "value": True}])
    call(200, "PATCH", path, change, if_match=etag, content_type="application/json-patch+json")


def deleting(call: Caller) -> None:
    call(204, "DELETE", call.create()[0])


def numbered(call: Caller) -> tuple[str, dict[str, str]]:
    """The address of a new record by a criterion that it alone meets, and its identifier."""
    number = {"system": "urn:healthcare-dr:fictitious", "value": f"{MARKS[2]}-{uuid4()}"}
    call.create(identifier=[number])
    return f"/fhir/Patient?identifier={number['system']}|{number['value']}", number


def updating_by_criteria(call: Caller) -> None:
    path, number = numbered(call)
    call(200, "PUT", path, patient(identifier=[number], gender="female"))


def patching_by_criteria(call: Caller) -> None:
    change = json.dumps([{"op": "add", "path": "/active", "value": True}])
    call(200, "PATCH", numbered(call)[0], change, content_type="application/json-patch+json")


def deleting_by_criteria(call: Caller) -> None:
    call(204, "DELETE", numbered(call)[0])


def searching_by_name(call: Caller) -> None:
    for _ in range(FOUND):
        call.create()
    answer = call(200, "GET", f"/fhir/Patient?name={MARKS[0]}&_count={FOUND}")
    assert len(json.loads(answer["body"])["entry"]) == FOUND


def searching_by_a_form(call: Caller) -> None:
    call.create()
    call(200, "POST", "/fhir/Patient/_search", f"family={MARKS[0]}&_count=1",
         content_type="application/x-www-form-urlencoded")  # fmt: skip


def searching_by_id(call: Caller) -> None:
    path, _ = call.create()
    call(200, "GET", f"/fhir/Patient?_id={path.rpartition('/')[2]}")


def listing(call: Caller) -> None:
    call.create()
    call(200, "GET", "/fhir/Patient?_sort=-_lastUpdated&_count=1")


def announcing(call: Caller) -> None:
    call.document()


def reading_a_document(call: Caller) -> None:
    call(200, "GET", call.document())


def completing_what_has_no_parts(call: Caller) -> None:
    call(422, "POST", f"{call.document()}/$complete")


def searching_documents(call: Caller) -> None:
    path, _ = call.create()
    identifier = path.rpartition("/")[2]
    call(201, "POST", "/fhir/DocumentReference", reference(identifier, letter()))
    call(200, "GET", f"/fhir/DocumentReference?patient={identifier}")


def searching_the_trail(call: Caller) -> None:
    path, _ = call.create()
    call(200, "GET", f"/fhir/AuditEvent?patient={path.rpartition('/')[2]}")


# What is called, and what it asks of DynamoDB: no more, and nothing else.
INTERACTIONS: list[tuple[str, Callable[[Caller], None], list[str]]] = [
    ("createPatient", creating, [TRANSACTION]),
    ("createPatient", creating_with_a_key, [QUERY, TRANSACTION]),
    ("createPatient", repeating_a_creation, [QUERY, PUT]),
    ("createPatient", creating_unless_there_is_one, [QUERY, TRANSACTION]),
    ("createPatient", creating_though_there_is_one, [QUERY, BATCH, PUT]),
    ("readPatient", reading, [QUERY, PUT]),
    ("readPatient", reading_what_is_not_there, [QUERY, PUT, PUT]),
    ("readPatientVersion", reading_a_version, [GET, PUT]),
    ("getPatientHistory", reading_all_versions, [QUERY, QUERY, PUT]),
    ("updatePatient", updating, [TRANSACTION]),
    ("patchPatient", patching, [QUERY, TRANSACTION]),
    ("deletePatient", deleting, [QUERY, TRANSACTION]),
    ("updatePatientThatMatches", updating_by_criteria, [QUERY, BATCH, TRANSACTION]),
    ("patchPatientThatMatches", patching_by_criteria, [QUERY, BATCH, TRANSACTION]),
    ("deletePatientThatMatches", deleting_by_criteria, [QUERY, BATCH, TRANSACTION]),
    ("searchPatients", searching_by_name, [QUERY, BATCH, TRANSACTION]),
    ("searchPatientsByForm", searching_by_a_form, [QUERY, BATCH, PUT]),
    ("searchPatients", searching_by_id, [BATCH, PUT]),
    ("searchPatients", listing, [*[QUERY] * 8, BATCH, PUT]),
    ("createDocument", announcing, [QUERY, TRANSACTION]),
    ("readDocument", reading_a_document, [QUERY, PUT]),
    ("completeDocument", completing_what_has_no_parts, [QUERY, GET, PUT, PUT]),
    ("searchDocuments", searching_documents, [QUERY, BATCH, PUT]),
    ("searchAuditEvents", searching_the_trail, [QUERY, PUT]),
]


def test_every_interaction_is_counted() -> None:
    assert {operation for operation, _, _ in INTERACTIONS} == {route.operation for route in ROUTES} - OPEN


@pytest.mark.parametrize(
    ("does", "asked"),
    [(does, asked) for _, does, asked in INTERACTIONS],
    ids=[does.__name__ for _, does, _ in INTERACTIONS],
)
def test_interaction_consumes_its_expected_capacity(
    caller: Caller, does: Callable[[Caller], None], asked: list[str]
) -> None:
    does(caller)
    assert sorted(caller.asked) == sorted(asked)
    assert caller.units > 0


def test_a_record_is_read_while_its_audit_item_is_being_kept(caller: Caller) -> None:
    path, _ = caller.create()
    meeting = Barrier(2)

    def meet(**_: object) -> None:
        meeting.wait(TOGETHER_SECONDS)

    events = caller.clients.raw.meta.events
    for operation in (QUERY, PUT):
        events.register(f"before-call.dynamodb.{operation}", meet)
    try:
        caller(200, "GET", path)
    finally:
        for operation in (QUERY, PUT):
            events.unregister(f"before-call.dynamodb.{operation}", meet)


# How it grows


@pytest.fixture(scope="module")
def small(deployed: Deployed) -> Iterator[Caller]:
    """The API on empty tables like the deployed ones."""
    dynamodb = deployed.client("dynamodb", HERE)
    tables = {kind: f"capacity-{kind}-it" for kind in ("records", "audit")}
    for kind, like in (("records", deployed.names.records_table), ("audit", deployed.names.audit_table)):
        known = dynamodb.describe_table(TableName=like)["Table"]
        dynamodb.create_table(
            TableName=tables[kind],
            BillingMode="PAY_PER_REQUEST",
            KeySchema=known["KeySchema"],
            AttributeDefinitions=known["AttributeDefinitions"],
            GlobalSecondaryIndexes=[
                {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
                for index in known["GlobalSecondaryIndexes"]
            ],
        )
    made = Caller(deployed, **tables)
    yield made
    made.close()
    for table in tables.values():
        dynamodb.delete_table(TableName=table)


def units_of(call: Caller, path: str) -> float:
    call(200, "GET", path)
    assert sorted(call.asked) == [PUT, QUERY]
    return call.units


def fill(call: Caller, table: str, count: int) -> None:
    """Add records straight to the table."""
    items = []
    for number in range(count):
        key = RecordKey(call.tenant, PATIENT, str(uuid4()))
        resource: Any = patient()
        version = version_of(resource, key=key, stamp=Stamp(1_700_000_000_000 + number, 0, HERE), method=Method.POST)
        items += [version_item(version), head_item(version, HERE)]
    for begin in range(0, len(items), 25):
        batch = [{"PutRequest": {"Item": item}} for item in items[begin : begin + 25]]
        assert not call.clients.raw.batch_write_item(RequestItems={table: batch})["UnprocessedItems"]


def test_a_read_costs_the_same_however_many_records_there_are(small: Caller) -> None:
    paths = [small.create()[0] for _ in range(10)]
    among_ten = units_of(small, paths[0])
    fill(small, "capacity-records-it", 490)
    assert units_of(small, paths[0]) == among_ten > 0


def test_a_read_costs_the_same_however_many_versions_there_are(small: Caller) -> None:
    path, etag = small.create(gender="female")
    first = units_of(small, path)
    body = patient(id=path.rpartition("/")[2], gender="female")
    for _ in range(59):
        etag = small(200, "PUT", path, body, if_match=etag)["headers"]["etag"]
    assert units_of(small, path) == first > 0
    history = json.loads(small(200, "GET", f"{path}/_history?_count=50")["body"])
    assert len(history["entry"]) == 50
