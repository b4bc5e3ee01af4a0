"""The figures of `ops/capacity` and docs/capacity.md against the embedded DynamoDB, and the increase of its tables."""

import re
from collections import Counter
from typing import Any, cast

import pytest
from bench import capacity, functions
from bench.running import CHECKOUT

from healthcare_dr.naming import Names
from healthcare_dr.ops.capacity import UNITS, Place, Units, consumed, named, needed
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.warm_throughput import Proposal, WarmThroughput, approve_increase, warm_throughput
from patient_api.audit.trail import AuditTrail
from patient_api.contract.functions import VARIABLES
from patient_api.search.parameters import Tokenizer
from patient_api.secrets import Secrets
from unit.emulator.aws import EAST, REGIONS, Aws
from unit.ops.fakes import RecordingProgress

TABLES = {"records_table": "figures-records", "audit_table": "figures-audit"}
KINDS = {"figures-records": "records", "figures-audit": "audit"}
CALLS = {
    "read": "read",
    "update": "update",
    "search by name": "search by name, a page",
    "list by last update": "list by `_lastUpdated`, a page",
}
"""The names of docs/capacity.md, by those of the benchmark."""


class Clients(functions.MeteredClients):
    """Clients that record what each table and index consumes."""

    def __init__(self, aws: Aws) -> None:
        super().__init__(aws("dynamodb"), region=EAST)
        self.aws = aws
        self.reads: Counter[Place] = Counter()
        self.writes: Counter[Place] = Counter()
        self.client.meta.events.register_last("provide-client-params.dynamodb", _by_index)

    def _client(self, service: str, *_: object) -> object:
        return self.aws(service)

    def _note(self, model: Any, parsed: dict[str, Any], **_: object) -> None:
        units = self.writes if model.name in functions.WRITES else self.reads
        found = parsed.get("ConsumedCapacity", [])
        for one in found if isinstance(found, list) else [found]:
            table = Place(KINDS[one["TableName"]])
            units[table] += one["CapacityUnits"]
            for index, part in one.get("GlobalSecondaryIndexes", {}).items():
                units[table] -= part["CapacityUnits"]
                units[Place(table.table, index)] += part["CapacityUnits"]


def _by_index(params: dict[str, Any], **_: object) -> None:
    if "ReturnConsumedCapacity" in params:
        params["ReturnConsumedCapacity"] = "INDEXES"


def test_each_call_consumes_the_stated_units_of_each_table_and_index(patched: Aws) -> None:
    clients, stored = Clients(patched), capacity.Stored()
    functions.create_resources(patched.emulator)
    functions.create_tables(clients.client, records=TABLES["records_table"], audit=TABLES["audit_table"])
    tokenizer = Tokenizer(secrets=Secrets(clients=clients, key=functions.INDEX_KEY))
    trail = AuditTrail(client=clients.dynamodb(), table="")
    capacity._load(clients.client, TABLES["records_table"], capacity._records(stored, tokenizer))
    capacity._load(clients.client, TABLES["audit_table"], capacity._events(stored, trail))
    tables = {VARIABLES[name]: table for name, table in TABLES.items()}
    api = functions.serve(functions.environment(patched.emulator) | tables, clients)
    found = {}
    for name, event in capacity._calls(stored).items():
        if name in CALLS:
            clients.reads.clear()
            clients.writes.clear()
            assert api(event, None)["statusCode"] == 200
            found[CALLS[name]] = {
                place: Units(read=clients.reads[place], write=clients.writes[place])
                for place in {**clients.reads, **clients.writes}
            }
    assert found == UNITS


def test_page_of_the_documentation_has_the_same_figures() -> None:
    page = (CHECKOUT / "docs" / "capacity.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| [\d to]+ \| ([\d.—]+ \| [\d.]+) \|", page, re.MULTILINE))
    stated = {call: f"{consumed(call).read or '—'} | {consumed(call).write}" for call in UNITS}
    assert {call: rows.get(call) for call in UNITS} == stated


class Emulated:
    """The embedded AWS as a target."""

    name = "embedded"

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def client(self, service: str, region: str) -> Any:
        return self._aws(service, region)


@pytest.mark.trap(33)
def test_throughput_of_both_regions_is_raised_once(patched: Aws, progress: RecordingProgress) -> None:
    names = Names("warmed")
    dynamodb = patched("dynamodb")
    functions.create_tables(dynamodb, records=names.records_table, audit=names.audit_table)
    for table in (names.records_table, names.audit_table):
        dynamodb.update_table(TableName=table, ReplicaUpdates=[{"Create": {"RegionName": REGIONS[1]}}])

    def ensure(rate: int) -> list[Proposal]:
        shown: list[Proposal] = []

        def approve(proposal: Proposal) -> bool:
            shown.append(proposal)
            return approve_increase(proposal)

        target = cast("Target", Emulated(patched))
        WarmThroughput(target=target, names=names, regions=REGIONS, rate=rate, progress=progress).ensure(approve)
        return shown

    def present(region: str) -> dict[Place, Units]:
        client = patched("dynamodb", region)
        tables = [client.describe_table(TableName=name)["Table"] for name in (names.records_table, names.audit_table)]
        return {place: units for table in tables for place, units in warm_throughput(table).items()}

    for rate in (1000, 1500):
        assert len(ensure(rate)) == 1
        assert present(EAST) == present(REGIONS[1])
        assert present(EAST) == {named(place, names): units for place, units in needed(rate).items()}
        assert ensure(rate) == []
    assert ensure(100) == [], "a lower rate lowers nothing"


@pytest.fixture
def progress() -> RecordingProgress:
    return RecordingProgress()
