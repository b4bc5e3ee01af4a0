"""Two regions for the clients of a drill."""

import ssl
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import trustme
import uvicorn
from bench.ports import free_port

from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from unit.ops.drill.regions import ADDRESSES, EAST, HOSTS, NAME, WEST, Region, until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def regions(authority: trustme.CA) -> Iterator[dict[str, Region]]:
    made, running = {EAST: Region(EAST), WEST: Region(WEST)}, []
    for region, app in made.items():
        app.port = free_port()
        config = uvicorn.Config(
            app, ADDRESSES[region], app.port, log_level="critical", lifespan="off", timeout_graceful_shutdown=1,
            # It ends without waiting for clients that say nothing.
            loop="healthcare_dr.emulator.http_server:Loop",
        )  # fmt: skip
        config.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME, *HOSTS.values(), *ADDRESSES.values()).configure_cert(context)
        context.sni_callback = lambda _, asked, __, names=app.names: names.add(asked)
        config.ssl = context
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
    until(lambda: all(server.started for server, _ in running))
    yield made
    for app in made.values():
        app.hang = False
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture
def ledger(regions: dict[str, Region], trust: ssl.SSLContext) -> Iterator[Ledger]:
    ends = {
        region: Endpoint(region=region, host=HOSTS[region], address=ADDRESSES[region], port=app.port)
        for region, app in regions.items()
    }
    with httpx.Client(verify=trust, trust_env=False) as client:
        yield Ledger(endpoints=ends, buckets={}, token="t", client=client, clock=time.monotonic)
