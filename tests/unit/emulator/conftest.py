"""One embedded AWS with patches and one without, for all tests."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from bench.ports import free_port

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.fault_state import OPEN
from healthcare_dr.emulator.replication import Replication
from unit.emulator.aws import ECHO, REGIONS, Aws, eventually
from unit.emulator.edge import EdgeApis
from unit.emulator.replicas import settle


@pytest.fixture(scope="session")
def make_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Emulator]]:
    """Return a factory of handles with their own home and ports; their processes are stopped in the end."""
    with ExitStack() as stack:

        def make(home: Path | None = None, *, patched: bool = True) -> Emulator:
            home = home or tmp_path_factory.mktemp("emulator") / "home"
            emulator = Emulator(home=home, port=free_port(), patched=patched, ends_with=os.getpid())
            stack.callback(emulator.stop)
            return emulator

        yield make


@pytest.fixture(scope="session")
def patched(make_emulator: Callable[..., Emulator]) -> Aws:
    """The embedded AWS with patches, running."""
    emulator = make_emulator()
    emulator.start()
    return Aws(emulator)


@pytest.fixture(scope="session")
def emulator(patched: Aws) -> Emulator:
    """The handle of the embedded AWS with patches."""
    return patched.emulator


@pytest.fixture(scope="session")
def unpatched(make_emulator: Callable[..., Emulator]) -> Aws:
    """ministack without patches, running."""
    emulator = make_emulator(patched=False)
    emulator.start()
    return Aws(emulator)


@pytest.fixture
def fresh(make_emulator: Callable[..., Emulator]) -> Emulator:
    """The handle of an embedded AWS of its own, which does not run."""
    return make_emulator()


@pytest.fixture
def running(fresh: Emulator) -> Aws:
    """An embedded AWS of its own, running."""
    fresh.start()
    return Aws(fresh)


@pytest.fixture
def replicating(emulator: Emulator) -> Iterator[Emulator]:
    """The embedded AWS without replication lag."""
    emulator.set_replication(tables=True, documents=True, lag_seconds=0)
    yield emulator
    emulator.set_replication(tables=True, documents=True, lag_seconds=Replication().lag_seconds)
    settle(emulator)


@pytest.fixture(scope="session")
def edge_apis(patched: Aws) -> EdgeApis:
    functions = {region: patched.function(f"echo-{region}", ECHO, region=region) for region in REGIONS}
    return EdgeApis(patched.emulator, {region: patched.api(arn, {"$default": {}}) for region, arn in functions.items()})


@pytest.fixture
def edge(edge_apis: EdgeApis) -> Iterator[EdgeApis]:
    """The edge listeners of both regions, without faults before and after the test."""
    yield edge_apis
    for region in REGIONS:
        edge_apis.emulator.set_edge_fault(region, OPEN)
        for host in fault_state.read(edge_apis.emulator.home / "conditions.json").host_faults(region):
            edge_apis.emulator.set_edge_fault(region, OPEN, hosts=[host])
    assert all(eventually(partial(edge_apis.serves, region)) for region in REGIONS)
