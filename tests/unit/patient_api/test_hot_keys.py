"""The load of single partition keys at the limit of the API's own requests, and its table in docs/capacity.md.

A partition key of DynamoDB serves 1,000 write units and 3,000 read units a second, whatever its table serves
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html). One request of each
kind is sent, and what it consumes is added up by key. Keys among which items are spread share it evenly.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.settings import Settings
from patient_api.contract.audit import SHARDS, Action, AuditEvent, Outcome
from patient_api.contract.keys import UPDATE_SHARDS
from unit.patient_api.fakes.api import UNKNOWN, Platform, claims, id_of, patient
from unit.patient_api.fakes.aws import INDEX_KEYS, PEER, REGION, START_MS, FakeDynamoDB, Item, key_of, size_of
from unit.patient_api.fakes.documents import announcement
from unit.patient_api.fakes.s3 import FakeS3, Time

WRITES, READS = 1_000, 3_000
"""What one partition key serves, in units a second."""
RATE: int = Settings.model_fields["throttle_rate"].default
PAGE = 9
"""Entries of a page, as in docs/capacity.md."""
LARGEST_READ = 101
"""Events that a search of the trail reads from a key, once there are as many."""
CAPACITY = Path(__file__).parents[3] / "docs" / "capacity.md"
_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Forms of keys, with the table or index, as docs/capacity.md names them, and the number of keys that share the load.
FORMS = (
    (r"[^#]+#\d{4}-\d\d-\d\dT\d\d#\d\d", "audit", "`<tenant>#<hour>#<shard>`", SHARDS),
    (rf"[^#]+#Patient/{_ID}", "`by-record`", "`<tenant>#Patient/<id>`", 1),
    (rf"[^#]+#(Patient|DocumentReference)#{_ID}", "records", "`<tenant>#<type>#<id>`", 1),
    (r"[^#]+#[A-Za-z]+\?[^#]+#[0-9a-f]+", "records", "`<tenant>#<type>?<parameter>#<blind>`", 1),
    (r"[^#]+#(Patient|DocumentReference)#\d+#\S+", "`by-update`", "`<tenant>#<type>#<shard>#<region>`", UPDATE_SHARDS),
    (r"\$platform#[a-z]+#\S+", "`by-update`", "`$platform#<list>#<region>`", 1),
)
# Keys that serve fewer requests of a kind than the API admits. docs/capacity.md gives the reasons.
STATED = {
    ("`<tenant>#<hour>#<shard>`", "read"),
    ("`<tenant>#Patient/<id>`", "read"),
    ("`<tenant>#Patient/<id>`", "write"),
    ("`<tenant>#<type>#<id>`", "write"),
    ("`<tenant>#<type>?<parameter>#<blind>`", "write"),
}


@dataclass
class Units:
    """Read and write units."""

    read: float = 0
    write: float = 0


class MeteredDynamoDB(FakeDynamoDB):
    """Counts the units that each partition key of each table and index consumes.

    Rounds as DynamoDB does: to 1 KB per item written, which counts twice in a transaction, and to 4 KB per request
    read, of which half is charged for a read that is eventually consistent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.units: dict[str, Units] = defaultdict(Units)
        self._factor = 1

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._factor = 1
        return super().put_item(**request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self._factor = 2
        return super().transact_write_items(**request)

    def get_item(self, **request: Any) -> dict[str, Any]:
        response = super().get_item(**request)
        self._read(request["Key"]["pk"]["S"], [response.get("Item", {})])
        return response

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        response = super().batch_get_item(**request)
        for items in response["Responses"].values():
            for item in items:
                self._read(item["pk"]["S"], [item])
        return response

    def query(self, **request: Any) -> dict[str, Any]:
        response = super().query(**request)
        (partition, *_) = request["KeyConditionExpression"].split(" AND ")
        value = request["ExpressionAttributeValues"][partition.rpartition(" ")[2]]["S"]
        self._read(value, response["Items"], consistent=request.get("ConsistentRead", False))
        return response

    def _read(self, key: str, items: list[Item], *, consistent: bool = True) -> None:
        units = max(1, math.ceil(sum(map(size_of, items)) / 4096))
        self.units[key].read += units if consistent else units / 2

    def _put(self, table: str, item: Item) -> None:
        before = self.tables[table].get(key_of(item), {})
        self.units[item["pk"]["S"]].write += self._factor * math.ceil(size_of(item) / 1024)
        for partition, order in list(INDEX_KEYS.values())[1:]:
            places = [(one[partition]["S"], one[order]["S"]) if partition in one else None for one in (before, item)]
            if places[0] != places[1]:
                for place in filter(None, places):
                    self.units[place[0]].write += math.ceil(size_of(item) / 1024) if partition == "record" else 1
        super()._put(table, item)


class Requests:
    """Sends requests for the records of one tenant, each for another patient."""

    def __init__(self) -> None:
        self.dynamodb = MeteredDynamoDB()
        buckets = {region: FakeS3(region, Time()).restricted() for region in (REGION, PEER)}
        self.platform = Platform(dynamodb=self.dynamodb, buckets=buckets)
        self._patients = iter([self.platform.made(name=[{"family": "Fictitious"}]) for _ in range(20)])
        for number in range(LARGEST_READ * SHARDS):
            self._add_event(number)
        self.path, self.etag = next(self._patients)
        self.documents = [self.announce() for _ in range(PAGE)]
        self.owner = self.path

    def units(self, send: "Send") -> dict[str, Units]:
        """Return what a request consumes, by key."""
        self.dynamodb.units.clear()
        send(self)
        self.path, self.etag = next(self._patients)
        return dict(self.dynamodb.units)

    def announce(self) -> str:
        """Create a document of the patient, and return its path."""
        body = announcement(b"x", patient=id_of(self.path))
        reply = self.platform.call("POST", "/fhir/DocumentReference", body)
        assert reply.status == 201, reply.body
        return reply.location

    def get(self, path: str, query: str = "", status: int = 200, **parts: Any) -> None:
        """Send a GET."""
        reply = self.platform.call("GET", path, query=query, **parts)
        assert reply.status == status, reply.body

    def _add_event(self, number: int) -> None:
        event = AuditEvent(
            id=f"00000000-0000-4000-8000-{number:012d}",
            at=datetime.fromtimestamp(START_MS / 1000, UTC),
            tenant="north-clinic",
            subject="00000000-0000-4000-8000-000000000000",
            action=Action.READ,
            interaction="read",
            record=f"Patient/{UNKNOWN}",
            outcome=Outcome.SUCCESS,
            status=200,
            region=REGION,
            source_ip="203.0.113.9",
            request_id="abcdefghijklmno=",
        )
        self.platform.services._trail.put(event)


Send = Callable[[Requests], object]
KINDS: dict[str, Send] = {
    "read": lambda to: to.get(to.path),
    "read without the right": lambda to: to.get(to.path, status=403, authorizer=claims(scope="")),
    "read without a token": lambda to: to.get(to.path, status=401, authorizer={}),
    "read of an unknown id": lambda to: to.get(f"/fhir/Patient/{UNKNOWN}", status=404),
    "history": lambda to: to.get(f"{to.path}/_history"),
    "create": lambda to: to.platform.create(patient(name=[{"family": "Fictitious"}])),
    "update": lambda to: to.platform.put(to.path, to.etag, name=[{"family": "Fictitious"}]),
    "create of a document": lambda to: to.announce(),
    "read of a document": lambda to: to.get(to.documents[0]),
    "search by name, a page": lambda to: to.get("/fhir/Patient", f"family=fictitious&_count={PAGE}"),
    "search without results": lambda to: to.get("/fhir/Patient", "family=Unmatched"),
    "list by `_lastUpdated`, a page": lambda to: to.get("/fhir/Patient", f"_sort=-_lastUpdated&_count={PAGE}"),
    "documents of a patient, a page": lambda to: to.get("/fhir/DocumentReference", f"patient={id_of(to.owner)}"),
    "audit trail of a patient": lambda to: to.get("/fhir/AuditEvent", f"patient={UNKNOWN}&_count={PAGE}"),
    "audit trail of an hour": lambda to: to.get("/fhir/AuditEvent", f"date=ge2027-01-15T08:00Z&_count={PAGE}"),
    # The last one, because pages of searches skip deleted records.
    "delete": lambda to: to.platform.call("DELETE", to.path),
}


@dataclass(frozen=True)
class Peak:
    """The most that one request consumes of one key. `served` is how many of these a key serves a second."""

    units: float
    kind: str
    limit: int

    @property
    def served(self) -> int:
        return math.floor(self.limit / self.units) if self.units else RATE

    def text(self) -> str:
        return f"{self.units:.3g} | {self.kind} | {self.served:,}" if self.units else "— | — | —"


@pytest.fixture(scope="module")
def peaks() -> dict[tuple[str, str, str], Peak]:
    """Return the peaks by table or index, form of the key, and direction."""
    requests = Requests()
    found: dict[tuple[str, str, str], Peak] = {}
    for kind, send in KINDS.items():
        for key, units in requests.units(send).items():
            place, name, keys = next(form[1:] for form in FORMS if re.fullmatch(form[0], key))
            for direction, limit in (("write", WRITES), ("read", READS)):
                spread = sum(
                    getattr(one, direction)
                    for other, one in requests.dynamodb.units.items()
                    if re.fullmatch(next(form[0] for form in FORMS if form[2] == name), other)
                )
                amount = spread / keys if keys > 1 else getattr(units, direction)
                best = found.get((place, name, direction), Peak(0, "", limit))
                if amount > best.units:
                    best = Peak(amount, kind, limit)
                found[place, name, direction] = best
    requests.platform.close()
    return found


@pytest.mark.requirement("R1.3")
@pytest.mark.trap(9)
def test_no_key_is_hot_at_the_limit_of_the_api_unless_it_is_stated(peaks: dict[tuple[str, str, str], Peak]) -> None:
    hot = {(name, direction) for (_, name, direction), peak in peaks.items() if peak.served < RATE}
    assert hot == STATED


def test_documentation_has_the_peak_of_each_key(peaks: dict[tuple[str, str, str], Peak]) -> None:
    rows = [
        f"| {place} | {name} | {peaks[place, name, 'write'].text()} | {peaks[place, name, 'read'].text()} |"
        for _, place, name, _ in FORMS
    ]
    text = CAPACITY.read_text(encoding="utf-8")
    assert [row for row in rows if row not in text] == []
