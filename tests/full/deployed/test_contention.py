"""Clients of a drill update the same records in both regions during a partition."""

import ssl
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from healthcare_dr.ops.drill.conflict_resolver import FOLLOWS, ConflictResolver, unmerged
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.load.resolver import DnsResolver
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
    assert len({(write.id, write.version) for write in updates}) == len(updates)
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
        clock=time.monotonic,
        sleep=time.sleep,
    )
    resolved = resolver.run()
    assert resolved.found > 0
    assert (resolved.merged, resolved.left) == (resolved.found, ())
    for id in {write.id for write in updates}:
        east, west = (lineage(end, client, token, id) for end in ends.values())
        assert east == west
        assert unmerged(east) == ()


def lineage(end: Endpoint, client: httpx.Client, token: str, id: str) -> dict[str, list[str]]:
    """Return the versions that each version of a record follows, from a region's history."""
    found: dict[str, list[str]] = {}
    query = "_count=50"
    while query:
        page = end.request(client, f"/fhir/Patient/{id}/_history?{query}", token=token).raise_for_status().json()
        for entry in page["entry"]:
            named = [each["valueId"] for each in entry.get("extension", ()) if each["url"] == FOLLOWS]
            found[entry["response"]["etag"][3:-1]] = named
        query = {link["relation"]: link["url"] for link in page["link"]}.get("next", "").partition("?")[2]
    return found
