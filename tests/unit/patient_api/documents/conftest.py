import ssl
from collections.abc import Iterator

import httpx
import pytest
from bench.ports import free_port

from healthcare_dr.emulator.emulator import Emulator
from support import run
from unit.patient_api.documents.aws import Embedded, prepare
from unit.patient_api.fakes.documents import Api, World


@pytest.fixture
def world() -> Iterator[World]:
    built = World()
    yield built
    built.close()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    home = tmp_path_factory.mktemp("documents") / "home"
    emulator = Emulator(home=home, port=free_port(), ends_with=run.pid())
    emulator.start()
    try:
        yield prepare(emulator)
    finally:
        emulator.stop()


@pytest.fixture
def embedded(prepared: Embedded, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """Return the embedded AWS, with its environment variables set in this process."""
    for name, value in prepared.emulator.environment().items():
        monkeypatch.setenv(name, value)
    return prepared


@pytest.fixture
def http(embedded: Embedded) -> Iterator[httpx.Client]:
    """Return a client that trusts the certificates of the embedded AWS."""
    trusted = ssl.create_default_context(cafile=embedded.emulator.environment()["AWS_CA_BUNDLE"])
    with httpx.Client(verify=trusted, timeout=30) as client:
        yield client


@pytest.fixture
def api(world: World) -> Api:
    world.add_patient()
    return Api(world)
