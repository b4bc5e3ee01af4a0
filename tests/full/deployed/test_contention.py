"""Clients of a drill append to the same records in both regions during a partition, and their history is checked."""

import ssl
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from healthcare_dr.ops.drill.conflict_resolver import ConflictResolver, unmerged
from healthcare_dr.ops.drill.consistency import check_history
from healthcare_dr.ops.drill.journal import Operation
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.load.resolver import DnsResolver
from healthcare_dr.ops.drill.record_versions import VersionReader
from healthcare_dr.ops.drill.report.anomalies import explained
from support.platform import REGIONS, Deployed, eventually, patient

EAST, WEST = REGIONS
TENANT = "contention"
POOL = 4


@pytest.fixture
def trust(deployed: Deployed) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(deployed.emulator.certificate))


@pytest.fixture
def client(trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as made:
        yield made


def endpoints(deployed: Deployed) -> dict[str, Endpoint]:
    doors = deployed.emulator.edge_addresses()
    return {
        region: Endpoint(
            region=region,
            host=f"{deployed.api_id(region)}.execute-api.{region}.amazonaws.com",
            address=address,
            port=port,
        )
        for region, (address, port) in doors.items()
    }


def updates_of(ledger: Ledger, region: str) -> int:
    """Return how many updates a region has acknowledged."""
    return sum(write.kind == "update" and write.region == region for write in ledger.writes())


@pytest.mark.requirement("C3", "R1.1")
@pytest.mark.trap(1, 2, 3)
def test_updates_during_a_partition_are_kept_and_their_conflicts_merged(
    deployed: Deployed, client: httpx.Client, trust: ssl.SSLContext
) -> None:
    token, ends = deployed.token(tenant=TENANT), endpoints(deployed)
    ledger = Ledger(endpoints=ends, buckets={}, token=token, client=client, clock=time.monotonic)
    with deployed.api(EAST, token) as api:
        for number in range(POOL):
            made = api.post("/fhir/Patient", json=patient())
            ledger.acknowledge(number=-1 - number, kind="patient", id=made.raise_for_status().json()["id"], region=EAST)
    deployed.settle()
    load = LoadGenerator(
        name=deployed.names.api_domain,
        make_resolver=lambda: DnsResolver(server=deployed.emulator.dns(), port=ends[EAST].port),
        token=token,
        trust=trust,
        clock=lambda: time.monotonic() + 60,  # new records count as replicated
        ledger=ledger,
        drill_id=str(uuid4()),
        rate=12,
        clients=30,  # enough for both regions
        write_percent=0,
        document_percent=0,
        update_percent=80,
        retries=2,
        timeout_seconds=10,
    )
    deployed.emulator.set_replication(tables=False)
    try:
        load.start()
        # Each record has to be updated several times, in both regions.
        eventually(lambda: all(updates_of(ledger, region) >= 4 * POOL for region in REGIONS))
    finally:
        deployed.emulator.set_replication(tables=True)
        load.stop()
    deployed.settle()

    updates = [write for write in ledger.writes() if write.kind == "update"]
    assert {write.region for write in updates} == set(REGIONS), "only one region acknowledged updates"
    for region in REGIONS:
        found = ledger.missing(region, at=time.monotonic(), fault_at=time.monotonic())
        assert (found.numbers, found.looked_for > POOL) == ((), True)

    tables = {region: deployed.client("dynamodb", region) for region in REGIONS}
    resolver = ConflictResolver(
        ledger=ledger,
        endpoint=ends[WEST],
        token=token,
        client=client,
        tables=tables,
        table=deployed.names.records_table,
        tenant=TENANT,
        updated=lambda: {write.id for write in updates},
        clock=time.monotonic,
        sleep=time.sleep,
    )
    resolved = resolver.run()
    assert resolved.found > 0
    assert (resolved.merged, resolved.left) == (resolved.found, ())
    reader = VersionReader(
        endpoints=ends, token=token, client=client, clock=time.monotonic, sleep=time.sleep, patience_seconds=10
    )
    ids = {write.id for write in updates}
    operations, lineages = load.history().operations(), reader.lineages(ids)
    for id in ids:
        east, west = (lineages[region][id] for region in REGIONS)
        assert east is not None
        assert east == west
        assert unmerged(east.follows) == ()
    history = check_history(operations, lineages)
    assert history.anomalies == (), list(explained(history.anomalies))
    assert history.appends >= 8 * POOL
    assert history.session_reads > 0
    damage_is_found(deployed, reader, operations, ids)


def damage_is_found(
    deployed: Deployed, reader: VersionReader, operations: tuple[Operation, ...], ids: set[str]
) -> None:
    """Remove an acknowledged version from the table of one region, check the history, and put the version back."""
    write = next(each for each in reversed(operations) if each.kind == "append" and each.done and each.record in ids)
    table, name = deployed.client("dynamodb", WEST), deployed.names.records_table
    key = {"pk": {"S": f"{TENANT}#Patient#{write.record}"}, "sk": {"S": f"v#{write.version}"}}
    item = table.get_item(TableName=name, Key=key, ConsistentRead=True)["Item"]
    deployed.emulator.set_replication(tables=False)
    try:
        table.delete_item(TableName=name, Key=key)
        found = check_history(operations, reader.lineages({write.record}))
    finally:
        table.put_item(TableName=name, Item=item)
        deployed.emulator.set_replication(tables=True)
    (lost,) = [each for each in found.anomalies if each.name == "lost version"]
    assert (lost.region, lost.record) == (WEST, write.record)
    assert lost.operations == (write,)
