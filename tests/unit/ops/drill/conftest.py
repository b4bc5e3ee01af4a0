"""Two HTTPS servers as regions, and clients of them."""

import gc
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import trustme
import uvicorn
from bench.ports import free_port

from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from unit.ops.drill.fakes import ADDRESSES, EAST, HOSTS, NAME, WEST, FakeResolver, Region, load_generator, until


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
            # This loop stops without waiting for idle clients.
            loop="healthcare_dr.emulator.http_server:Loop",
        )  # fmt: skip
        config.load()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME, *HOSTS.values(), *ADDRESSES.values()).configure_cert(context)
        context.sni_callback = lambda _, name, __, names=app.names: names.add(name)
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


@pytest.fixture
def generator(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> Iterator[Callable[..., LoadGenerator]]:
    """Yield a function that makes a load generator; by default, DNS answers with the primary region."""

    def make(resolver: FakeResolver | None = None, **other: Any) -> LoadGenerator:
        return load_generator(resolver or FakeResolver(regions, EAST, 60), trust, ledger, **other)

    yield make
    # Stopping the load cancels requests. The socket of an attempt to connect that succeeds as it is cancelled is closed
    # by the garbage collector, with a warning in whichever test that is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
