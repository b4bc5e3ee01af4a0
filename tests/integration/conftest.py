"""One deployment of all three stacks, by the real Terraform and provider, for all integration tests."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from free_ports import free_port
from integration.platform_run import REGIONS, Deployed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What measures time comes when the unit tests are over, then what looks at the traffic of all others; what ends
    the deployment comes last."""
    late = ("measures_time", "looks_at_all_traffic", "ends_the_deployment")
    items.sort(key=lambda item: [item.get_closest_marker(name) is not None for name in reversed(late)])


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Where the platform is deployed to; whatever is left of it in the end is destroyed."""
    run = Deployed(home=tmp_path_factory.mktemp("integration") / "home", port=free_port())
    yield run
    run.hdr("down")
    run.emulator.stop()


@pytest.fixture(scope="session")
def interruption(environment: Deployed) -> subprocess.CompletedProcess[str]:
    """A first `hdr up` that somebody stops with Ctrl-C while Terraform creates resources."""
    return environment.interrupted("up", when_told="aws_kms_key.data_key created")


@pytest.fixture(scope="session")
def deployed(environment: Deployed, interruption: subprocess.CompletedProcess[str]) -> Deployed:
    """The platform, deployed by the `hdr up` that went on after the interruption."""
    finished = environment.hdr("up")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return environment


@pytest.fixture(scope="session")
def apis(deployed: Deployed) -> Iterator[dict[str, httpx.Client]]:
    """A client with every right of one tenant, for each region."""
    token = deployed.token()
    clients = {region: deployed.api(region, token) for region in REGIONS}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(params=REGIONS)
def region(request: pytest.FixtureRequest) -> str:
    """Each region in turn."""
    return str(request.param)


@pytest.fixture
def other_region(region: str) -> str:
    return REGIONS[1 - REGIONS.index(region)]
