"""Scheduling of a run over processes, and its end."""

import gc
import os
import signal
from collections.abc import Generator, Iterator

import httpx
import pytest
from xdist.remote import Producer

from support import run
from support.deployments import Deployments, Ready
from support.documents import Documents
from support.drills import SCALE
from support.platform import REGIONS, Deployed, create_patient
from support.scheduling import MOST_DEPLOYMENTS, OF_ONE_DEPLOYMENT, Scheduling, from_nothing, needs_a_deployment, order
from support.sentinels import write_heartbeat

# A parent that runs the tests in the background may have SIGINT ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

run.begin()
DEPLOYMENTS = pytest.StashKey[Deployments]()
SKIP_NOTHING = "HEALTHCARE_DR_TESTS_SKIP_NOTHING"
# Waiting for a deployment counts as part of the first test that needs one.
DEPLOYED_TIMEOUT_SECONDS = 1200


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude the collected tests from garbage collection, which would examine them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests into the order in which they run, and give those of a deployment the time that it takes."""
    items.sort(key=lambda item: order(item.nodeid))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    made = min(workers, MOST_DEPLOYMENTS)
    absent = [item for item in items if (own := OF_ONE_DEPLOYMENT.search(item.nodeid)) and int(own[1]) >= made]
    config.hook.pytest_deselected(items=absent)
    items[:] = [item for item in items if item not in absent]
    for item in items:
        if needs_a_deployment(item.nodeid) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(DEPLOYED_TIMEOUT_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to deploy, in a run without workers."""
    config, nodeids = session.config, [item.nodeid for item in session.items]
    with_workers = config.getoption("numprocesses", None) or hasattr(config, "workerinput")
    if not with_workers and not config.option.collectonly and any(map(needs_a_deployment, nodeids)):
        start_deployments(config, 1, from_nothing=from_nothing(nodeids))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Spread tests by what they need."""

    def start(count: int, anew: bool) -> Deployments:
        return start_deployments(config, count, from_nothing=anew)

    return Scheduling(config, log, start=start)


def start_deployments(config: pytest.Config, count: int, *, from_nothing: bool) -> Deployments:
    """Start the deployments of this run."""
    made = Deployments.of_this_run()
    config.stash[DEPLOYMENTS] = made
    made.start(count, from_nothing=from_nothing)
    return made


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Stop the deployments of this run."""
    made = session.config.stash.get(DEPLOYMENTS, None)
    if made is not None:
        made.end(keep_files=exitstatus not in (0, pytest.ExitCode.INTERRUPTED))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail skipped tests where no skip is permitted."""
    report = yield
    if SKIP_NOTHING in os.environ and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and {SKIP_NOTHING} is set: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the summaries that tests have recorded."""
    for report in terminalreporter.getreports("passed"):
        if isinstance(report, pytest.TestReport) and report.when == "call":
            for name, text in report.user_properties:
                if name == "summary":
                    terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def deployment() -> Ready:
    """The report on the deployment of this worker, as soon as it is complete."""
    return Deployments.of_this_run().wait_for(run.worker_index())


@pytest.fixture(scope="session")
def deployed(deployment: Ready) -> Deployed:
    """The deployed platform of this worker."""
    return deployment.platform()


@pytest.fixture(scope="module")
def beating(deployed: Deployed) -> Deployed:
    """The platform without conflicts, and with fresh heartbeats, which each region's sentinel writes every minute."""
    deployed.settle_conflicts()
    for region in REGIONS:
        write_heartbeat(deployed, region)
    deployed.settle()
    return deployed


@pytest.fixture(scope="session")
def apis(deployed: Deployed) -> Iterator[dict[str, httpx.Client]]:
    """A client with every right of one tenant, for each region."""
    token = deployed.token()
    clients = {region: deployed.api(region, token) for region in REGIONS}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def documents(deployed: Deployed, apis: dict[str, httpx.Client]) -> Iterator[Documents]:
    """The documents of a patient that both regions have."""
    made = create_patient(apis[REGIONS[0]])
    deployed.settle()
    with deployed.http() as objects:
        yield Documents(deployed=deployed, apis=apis, patient_id=str(made.json()["id"]), objects=objects)


@pytest.fixture
def fast(deployed: Deployed) -> Iterator[Deployed]:
    """The platform at ten times the speed of real time. All faults of the embedded AWS end with the test."""
    deployed.emulator.set_time_scale(SCALE)
    yield deployed
    deployed.restore()


@pytest.fixture(params=REGIONS)
def region(request: pytest.FixtureRequest) -> str:
    """Each region in turn."""
    return str(request.param)


@pytest.fixture
def other_region(region: str) -> str:
    """The region that is not `region`."""
    return REGIONS[1 - REGIONS.index(region)]
