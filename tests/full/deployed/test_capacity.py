"""The DynamoDB calls and capacity of each interaction, with the API on the deployed tables and counting clients.

One more call, or a cost that grows with the data, fails a test.
"""

import json
from collections.abc import Callable, Iterator
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from bench.functions import MeteredClients, create_tables, event_of

from patient_api.aws import S3
from patient_api.bootstrap import Services
from patient_api.clock import Stamp
from patient_api.contract.functions import CLOCK_BOUND_SECONDS, Environment
from patient_api.contract.keys import PATIENT
from patient_api.contract.routes import ROUTES
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from patient_api.store.model import Method, RecordKey, head_item, lineage_item, version_item, version_of
from support.platform import ALL_RIGHTS, MARKS, REGIONS, Deployed, letter, patient, reference

HERE, THERE = REGIONS
FHIR = "application/fhir+json"
Answer = dict[str, Any]


class DeployedClients(MeteredClients):
    """Clients of the deployed platform with the account's own rights. They record the requests to DynamoDB."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__(deployed.client("dynamodb", HERE), region=HERE)
        self.deployed = deployed

    def _client(self, service: str, *_: object) -> object:
        return self.deployed.client(service, HERE)

    def documents_of(self, *, region: str, role: str) -> S3:
        client: S3 = self.deployed.client("s3", region)
        return client


def new_tenant() -> str:
    return f"clinic-{uuid4().hex[:12]}"


class Caller:
    """Calls the API on these tables, with a tenant of its own."""

    def __init__(self, deployed: Deployed, *, records: str, audit: str) -> None:
        self.clients = DeployedClients(deployed)
        self.tenant = new_tenant()
        environment = Environment(
            region=HERE, peer_region=THERE, records_table=records, audit_table=audit,
            documents_bucket=deployed.bucket(HERE), peer_documents_bucket=deployed.bucket(THERE),
            key_arn=deployed.outputs()["PrimaryKeyArn"],
            peer_role_arn=deployed.outputs()["SecondaryDocumentsPeerRoleArn"],
            index_key=deployed.names.index_key_alias(), log_level="INFO",
            clock_bound=CLOCK_BOUND_SECONDS,
        )  # fmt: skip
        log = StructuredLog(service="patient-api", region=HERE, level=environment.log_level)
        self._services = Services(environment=environment, clients=self.clients, log=log)
        self._api = dispatcher(self._services)

    def close(self) -> None:
        self._services.close()

    def __call__(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request and return the response, which must have this status."""
        path, _, query = path.partition("?")
        claims = {"sub": "tester", "tenant": self.tenant, "scope": " ".join(ALL_RIGHTS)}
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        if body is not None:
            sent = {"content-type": FHIR, **sent}
        event = event_of(method, path, query=query, body=text, headers=sent, claims=claims)
        # A container that has served within the last minute knows DynamoDB's time.
        self._services.clock.check()
        self.clients.consumed.clear()
        answer: Answer = self._api(event, None)
        assert answer["statusCode"] == status, answer
        return answer

    @property
    def operations(self) -> list[str]:
        """Return the DynamoDB calls of the last request; concurrent calls are in no order."""
        return [name for name, _ in self.clients.consumed]

    @property
    def units(self) -> float:
        return sum(units for _, units in self.clients.consumed)

    def create(self, **elements: object) -> tuple[str, str]:
        """Create a patient; returns its path and entity tag."""
        made = self(201, "POST", "/fhir/Patient", patient(**elements))
        return f"/fhir/Patient/{json.loads(made['body'])['id']}", made["headers"]["etag"]

    def document(self) -> str:
        """Create a document; returns its path."""
        path, _ = self.create()
        made = self(201, "POST", "/fhir/DocumentReference", reference(path.rpartition("/")[2], letter()))
        return f"/fhir/DocumentReference/{json.loads(made['body'])['id']}"


FOUND = 20
TOGETHER_SECONDS = 10
QUERY, GET, BATCH, PUT, TRANSACTION = "Query", "GetItem", "BatchGetItem", "PutItem", "TransactWriteItems"
# Operations that read no record.
OPEN = {
    "getHealth", "getDrain", "getCapabilities", "getSmartConfiguration", "validatePatient", "validatePatientUpdate",
}  # fmt: skip


@pytest.fixture(scope="module")
def started(deployed: Deployed) -> Iterator[Caller]:
    """The API, after its first request has read the secret from KMS."""
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


PATCH = json.dumps([{"op": "add", "path": "/active", "value": True}])
PATCH_TYPE = "application/json-patch+json"


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


def create_with_key(call: Caller, times: int) -> None:
    key = str(uuid4())
    for _ in range(times):
        call(201, "POST", "/fhir/Patient", patient(), idempotency_key=key)


def new_number() -> tuple[dict[str, str], str]:
    """Return a new identifier, and the criterion that matches it."""
    number = {"system": "urn:healthcare-dr:fictitious", "value": f"{MARKS[2]}-{uuid4()}"}
    return number, f"identifier={number['system']}|{number['value']}"


def conditional_create(call: Caller, status: int) -> None:
    number, criterion = new_number()
    if status == 200:
        call.create(identifier=[number])
    call(status, "POST", "/fhir/Patient", patient(identifier=[number]), if_none_exist=criterion)


def read_version(call: Caller) -> None:
    path, etag = call.create()
    call(200, "GET", f"{path}/_history/{etag[3:-1]}")


def update(call: Caller) -> None:
    path, etag = call.create()
    call(200, "PUT", path, patient(id=id_of(path)), if_match=etag)


def patch(call: Caller) -> None:
    path, etag = call.create()
    call(200, "PATCH", path, PATCH, if_match=etag, content_type=PATCH_TYPE)


def numbered(call: Caller) -> tuple[str, dict[str, str]]:
    """Create a patient. Returns an address with a criterion that only this patient meets, and the identifier."""
    number, criterion = new_number()
    call.create(identifier=[number])
    return f"/fhir/Patient?{criterion}", number


def update_by_criteria(call: Caller) -> None:
    path, number = numbered(call)
    call(200, "PUT", path, patient(identifier=[number], gender="female"))


def search_by_name(call: Caller) -> None:
    for _ in range(FOUND):
        call.create()
    response = call(200, "GET", f"/fhir/Patient?name={MARKS[0]}&_count={FOUND}")
    assert len(json.loads(response["body"])["entry"]) == FOUND


def search_by_form(call: Caller) -> None:
    call.create()
    form = f"family={MARKS[0]}&_count=1"
    call(200, "POST", "/fhir/Patient/_search", form, content_type="application/x-www-form-urlencoded")


def list_patients(call: Caller) -> None:
    call.create()
    call(200, "GET", "/fhir/Patient?_sort=-_lastUpdated&_count=1")


def search_documents(call: Caller) -> None:
    patient_id = id_of(call.create()[0])
    call(201, "POST", "/fhir/DocumentReference", reference(patient_id, letter()))
    call(200, "GET", f"/fhir/DocumentReference?patient={patient_id}")


# The operation of the last request, the interaction, and the DynamoDB calls of its last request.
INTERACTIONS: list[tuple[str, str, Callable[[Caller], object], list[str]]] = [
    ("createPatient", "create", lambda call: call.create(), [TRANSACTION]),
    ("createPatient", "create-with-key", lambda call: create_with_key(call, 1), [QUERY, TRANSACTION]),
    ("createPatient", "repeat-create", lambda call: create_with_key(call, 2), [QUERY, PUT]),
    ("createPatient", "create-if-none-exist", lambda call: conditional_create(call, 201), [QUERY, GET, TRANSACTION]),
    ("createPatient", "create-although-one-exists", lambda call: conditional_create(call, 200), [QUERY, BATCH, PUT]),
    ("readPatient", "read", lambda call: call(200, "GET", call.create()[0]), [QUERY, PUT]),
    ("readPatient", "read-unknown", lambda call: call(404, "GET", f"/fhir/Patient/{uuid4()}"), [QUERY, PUT, PUT]),
    ("readPatientVersion", "read-version", read_version, [GET, PUT]),
    (
        "getPatientHistory",
        "history",
        lambda call: call(200, "GET", f"{call.create()[0]}/_history"),
        [QUERY, QUERY, PUT],
    ),
    ("updatePatient", "update", update, [TRANSACTION]),
    ("patchPatient", "patch", patch, [QUERY, TRANSACTION]),
    ("deletePatient", "delete", lambda call: call(204, "DELETE", call.create()[0]), [QUERY, TRANSACTION]),
    ("updatePatientThatMatches", "update-by-criteria", update_by_criteria, [QUERY, BATCH, TRANSACTION]),
    (
        "patchPatientThatMatches",
        "patch-by-criteria",
        lambda call: call(200, "PATCH", numbered(call)[0], PATCH, content_type=PATCH_TYPE),
        [QUERY, BATCH, TRANSACTION],
    ),
    (
        "deletePatientThatMatches",
        "delete-by-criteria",
        lambda call: call(204, "DELETE", numbered(call)[0]),
        [QUERY, BATCH, TRANSACTION],
    ),
    ("searchPatients", "search-by-name", search_by_name, [QUERY, BATCH, TRANSACTION]),
    ("searchPatientsByForm", "search-by-form", search_by_form, [QUERY, BATCH, PUT]),
    (
        "searchPatients",
        "search-by-id",
        lambda call: call(200, "GET", f"/fhir/Patient?_id={id_of(call.create()[0])}"),
        [BATCH, PUT],
    ),
    ("searchPatients", "list", list_patients, [*[QUERY] * 8, BATCH, PUT]),
    ("createDocument", "create-document", lambda call: call.document(), [QUERY, TRANSACTION]),
    ("readDocument", "read-document", lambda call: call(200, "GET", call.document()), [QUERY, PUT]),
    (
        "completeDocument",
        "complete-document-without-parts",
        lambda call: call(422, "POST", f"{call.document()}/$complete"),
        [QUERY, PUT, PUT],
    ),
    ("searchDocuments", "search-documents", search_documents, [QUERY, BATCH, PUT]),
    (
        "searchAuditEvents",
        "search-audit-events",
        lambda call: call(200, "GET", f"/fhir/AuditEvent?patient={id_of(call.create()[0])}"),
        [QUERY, PUT],
    ),
]


def test_every_operation_has_an_interaction() -> None:
    assert {operation for operation, *_ in INTERACTIONS} == {route.operation for route in ROUTES} - OPEN


@pytest.mark.parametrize(
    ("interact", "expected"),
    [pytest.param(interact, expected, id=name) for _, name, interact, expected in INTERACTIONS],
)
def test_interaction_sends_its_expected_requests(
    caller: Caller, interact: Callable[[Caller], object], expected: list[str]
) -> None:
    interact(caller)
    assert sorted(caller.operations) == sorted(expected)
    assert caller.units > 0


def test_record_and_audit_item_are_requested_concurrently(caller: Caller) -> None:
    path, _ = caller.create()
    meeting = Barrier(2)

    def meet(**_: object) -> None:
        meeting.wait(TOGETHER_SECONDS)

    events = caller.clients.client.meta.events
    for operation in (QUERY, PUT):
        events.register(f"before-call.dynamodb.{operation}", meet)
    try:
        caller(200, "GET", path)
    finally:
        for operation in (QUERY, PUT):
            events.unregister(f"before-call.dynamodb.{operation}", meet)


@pytest.fixture(scope="module")
def small(deployed: Deployed) -> Iterator[Caller]:
    """Return the API on new, empty tables."""
    dynamodb = deployed.client("dynamodb", HERE)
    tables = {kind: f"capacity-{kind}-it" for kind in ("records", "audit")}
    create_tables(dynamodb, **tables)
    made = Caller(deployed, **tables)
    yield made
    made.close()
    for table in tables.values():
        dynamodb.delete_table(TableName=table)


def units_of(call: Caller, path: str) -> float:
    call(200, "GET", path)
    assert sorted(call.operations) == [PUT, QUERY]
    return call.units


def fill(call: Caller, table: str, count: int) -> None:
    """Add records to the table without the API."""
    items = []
    for number in range(count):
        key = RecordKey(call.tenant, PATIENT, str(uuid4()))
        resource: Any = patient()
        version = version_of(resource, key=key, stamp=Stamp(1_700_000_000_000 + number, 0, HERE), method=Method.POST)
        items += [version_item(version), lineage_item(version), head_item(version, HERE)]
    for begin in range(0, len(items), 25):
        batch = [{"PutRequest": {"Item": item}} for item in items[begin : begin + 25]]
        assert not call.clients.client.batch_write_item(RequestItems={table: batch})["UnprocessedItems"]


def test_read_costs_the_same_with_more_records(small: Caller) -> None:
    paths = [small.create()[0] for _ in range(10)]
    among_ten = units_of(small, paths[0])
    fill(small, "capacity-records-it", 490)
    assert units_of(small, paths[0]) == among_ten > 0


def test_read_costs_the_same_with_more_versions(small: Caller) -> None:
    path, etag = small.create(gender="female")
    first = units_of(small, path)
    body = patient(id=path.rpartition("/")[2], gender="female")
    for _ in range(59):
        etag = small(200, "PUT", path, body, if_match=etag)["headers"]["etag"]
    assert units_of(small, path) == first > 0
    history = json.loads(small(200, "GET", f"{path}/_history?_count=50")["body"])
    assert len(history["entry"]) == 50
