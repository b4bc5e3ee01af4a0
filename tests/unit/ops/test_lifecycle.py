"""`hdr up` and `hdr down` with a real Terraform and a fake embedded AWS, and the demo."""

import json
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError, EmulatorError
from healthcare_dr.naming import GLOBAL, STACKS
from healthcare_dr.ops.deploy import Changes, Deployment
from healthcare_dr.ops.lifecycle import PATIENT, Demo, Lifecycle, demonstrate
from healthcare_dr.ops.lock import claimed
from healthcare_dr.ops.targets.embedded import EmbeddedTarget
from healthcare_dr.ops.terraform.workspace import state_file
from healthcare_dr.ops.token import DEMO_TENANT
from unit.http_server import Request, Response
from unit.ops.conftest import Deploying, Serving
from unit.ops.fakes import FakeEmulator, LocalTarget, RecordingProgress, failing, three_stacks


class Api:
    """An API in two regions. A record is replicated after `lag` requests."""

    def __init__(self, *, lag: int = 2, created: int = 201, altered: bool = False, bearer: str = "t") -> None:
        self.lag, self.created, self.altered, self.bearer = lag, created, altered, bearer

    def __call__(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {self.bearer}"
        record = PATIENT | {"id": "p1", "meta": {"versionId": "v1"}}
        if request.method == "POST":
            assert json.loads(request.body) == PATIENT
            return Response(self.created, json.dumps(record).encode())
        assert request.path == "/fhir/Patient/p1"
        if self.lag:
            self.lag -= 1
            return Response(404, b"{}")
        altered = {"name": [{"family": "Other"}]} if self.altered else {}
        return Response(200, json.dumps(record | altered).encode())


@pytest.fixture
def emulator(tmp_path: Path) -> FakeEmulator:
    return FakeEmulator(home=tmp_path / "emulator")


@pytest.fixture
def lifecycle(
    emulator: FakeEmulator,
    target: LocalTarget,
    root: Path,
    deploying: Deploying,
    progress: RecordingProgress,
    tls: Serving,
) -> Lifecycle:
    served = tls(Api(lag=0, bearer="a.signed.token"))
    target.urls = {"one": served.url, "two": served.url}
    target.authority = served.authority
    return Lifecycle(
        emulator=emulator.handle,
        target=target,
        root=root,
        regions=("us-east-1", "us-west-2"),
        audience="healthcare-dr",
        deployment=lambda: deploying(three_stacks()),
        progress=progress,
    )


def test_up_starts_deploys_and_runs_the_demo(
    lifecycle: Lifecycle, emulator: FakeEmulator, progress: RecordingProgress
) -> None:
    done = lifecycle.up()
    assert emulator.up
    assert done.changes == Changes(add=3)
    assert (done.demo.written_in, done.demo.read_in) == ("us-east-1", "us-west-2")
    assert emulator.tokens[0]["tenant"] == DEMO_TENANT
    again = lifecycle.up()
    assert again.changes == Changes()
    assert progress.said.count("Starting the embedded AWS") == 1


def test_up_prepares_the_deployment_while_the_embedded_aws_starts(lifecycle: Lifecycle, emulator: FakeEmulator) -> None:
    prepared = threading.Event()

    def wait() -> None:
        assert prepared.wait(30)

    def deployment() -> Deployment:
        prepared.set()
        return lifecycle.deployment()

    emulator.on_start = wait
    assert replace(lifecycle, deployment=deployment).up().changes == Changes(add=3)
    assert emulator.up


def raise_emulator_error() -> None:
    raise EmulatorError("port 1 cannot be used")


def test_used_ports_are_refused_before_the_synthesis(
    lifecycle: Lifecycle, emulator: FakeEmulator, progress: RecordingProgress
) -> None:
    emulator.on_check_ports = raise_emulator_error
    with pytest.raises(EmulatorError, match="port 1"):
        lifecycle.up()
    assert progress.said == []


@pytest.mark.parametrize("command", ["up", "down"])
def test_emulator_on_other_ports_is_refused(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, command: str
) -> None:
    lifecycle.up()
    emulator.on_start = raise_emulator_error
    with pytest.raises(EmulatorError, match="port 1"):
        lifecycle.up() if command == "up" else lifecycle.down(keep=False)
    with pytest.raises(EmulatorError, match="port 1"):
        EmbeddedTarget(emulator=emulator.handle, root=root, user_environment={}).preflight()
    assert state_file(root, GLOBAL).exists()


def test_commands_of_other_environments_are_refused_while_the_emulator_starts(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path
) -> None:
    refused: list[str] = []

    def start() -> None:
        other = replace(lifecycle, root=root.parent / "other")
        for command in (other.up, partial(other.down, keep=False), partial(other.down, keep=True)):
            with pytest.raises(DeploymentError, match=r"another hdr command \(process \d+\)") as refusal:
                command()
            refused.append(str(refusal.value))

    emulator.on_start = start
    lifecycle.up()
    assert len(refused) == 3
    assert (emulator.up, emulator.erased) == (True, 0)


def test_environment_is_deployed_during_a_drill_of_another(lifecycle: Lifecycle, root: Path) -> None:
    lifecycle.up()
    with claimed(root.parent, root.parent / "other"):
        assert lifecycle.up().changes == Changes()


def test_down_keeps_the_emulator_for_a_command_of_another_environment(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress
) -> None:
    lifecycle.up()
    with claimed(root.parent / "other"):
        with pytest.raises(DeploymentError, match=r"another hdr command .*/other: "):
            lifecycle.down(keep=True)
        assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert progress.said[-1].startswith("The embedded AWS runs on: another hdr command (process ")


def test_state_of_another_environment_is_kept(lifecycle: Lifecycle, emulator: FakeEmulator, root: Path) -> None:
    lifecycle.up()
    emulator.up, emulator.lost = False, True
    with (
        claimed(root.parent / "other"),
        pytest.raises(DeploymentError, match=r"another hdr command .*/other: "),
    ):
        lifecycle.up()
    assert emulator.erased == 0
    assert state_file(root, GLOBAL).exists()


def test_failed_demo_fails_up_but_keeps_the_deployment(lifecycle: Lifecycle, target: LocalTarget) -> None:
    target.urls = {}
    with pytest.raises(DeploymentError, match="the API does not respond"):
        lifecycle.up()
    assert state_file(lifecycle.root, GLOBAL).exists()


def test_down_destroys_stops_and_erases(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress
) -> None:
    lifecycle.up()
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (False, 1)
    assert not (root / "state").exists()
    assert lifecycle.down(keep=False) == Changes()
    assert "Nothing is deployed" in progress.said


def test_down_with_keep_only_stops(lifecycle: Lifecycle, emulator: FakeEmulator, root: Path) -> None:
    lifecycle.up()
    assert lifecycle.down(keep=True) == Changes()
    assert (emulator.up, emulator.erased) == (False, 0)
    assert all(state_file(root, stack).exists() for stack in STACKS)
    assert lifecycle.up().changes == Changes()


def test_down_starts_a_stopped_emulator_to_destroy_its_resources(
    lifecycle: Lifecycle, emulator: FakeEmulator, progress: RecordingProgress
) -> None:
    lifecycle.up()
    emulator.stop()
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert any("to destroy what is deployed" in said for said in progress.said)


@pytest.mark.parametrize("command", ["up", "down"])
def test_lost_emulator_is_reported_and_redeployed(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress, command: str
) -> None:
    lifecycle.up()
    emulator.up, emulator.lost = False, True
    if command == "up":
        assert lifecycle.up().changes == Changes(add=3)
    else:
        assert lifecycle.down(keep=False) == Changes()
        assert not (root / "state").exists()
    assert any("are lost: starting again" in said for said in progress.said)


def other_state(root: Path, content: str | None = None) -> Path:
    """Write a state of another environment, by default with the resources of this one."""
    file = state_file(root.parent / "other", GLOBAL)
    file.parent.mkdir(parents=True)
    file.write_text(state_file(root, GLOBAL).read_text() if content is None else content)
    return file


def test_down_leaves_the_other_environments_running(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress
) -> None:
    lifecycle.up()
    other = other_state(root)
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert other.exists()
    assert progress.said[-1] == "The embedded AWS runs on: other environments are deployed to it: other"
    lifecycle.down(keep=True)
    assert (emulator.up, emulator.erased) == (False, 0)


def test_a_damaged_state_does_not_stop_down(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress
) -> None:
    state_file(root, GLOBAL).parent.mkdir(parents=True)
    state_file(root, GLOBAL).write_text("{")
    assert lifecycle.down(keep=False) == Changes()
    assert emulator.erased == 1
    assert any("is damaged" in said for said in progress.said)


def test_a_damaged_state_stops_down_beside_another_environment(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path
) -> None:
    """Without the state, the next deployment would fail because its resources exist."""
    lifecycle.up()
    other_state(root)
    state_file(root, GLOBAL).write_text("{")
    with pytest.raises(DeploymentError, match="is damaged"):
        lifecycle.down(keep=False)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert state_file(root, GLOBAL).exists()


@pytest.mark.parametrize("content", ["{", '{"version": 5}'])
def test_down_does_not_erase_another_environment_whose_state_it_cannot_read(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress, content: str
) -> None:
    """A newer Terraform may have written it."""
    lifecycle.up()
    other = other_state(root, content)
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert other.read_text() == content
    assert progress.said[-1] == "The embedded AWS runs on: other environments are deployed to it: other"


def test_up_continues_where_it_failed(lifecycle: Lifecycle, deploying: Deploying) -> None:
    broken = three_stacks()
    broken[GLOBAL]["resource"]["terraform_data"]["table"] |= failing()
    with pytest.raises(DeploymentError, match=r"terraform_data\.table"):
        replace(lifecycle, deployment=lambda: deploying(broken)).up()
    assert lifecycle.up().changes.add == 1


def run_demo(tls: Serving, api: Api) -> Demo:
    served = tls(api)
    return demonstrate(
        write_to=("us-east-1", served.url),
        read_from=("us-west-2", served.url),
        token="t",
        ca_bundle=served.authority,
        pause=lambda _: None,
    )


def test_demo_reads_in_the_other_region_what_it_wrote(tls: Serving) -> None:
    demo = run_demo(tls, Api())
    assert (demo.patient_id, demo.version, demo.written_in, demo.read_in) == ("p1", "v1", "us-east-1", "us-west-2")
    assert demo.seen_after_seconds >= 0


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (Api(created=403), r"the API of us-east-1 responded with 403 instead of 201 to POST"),
        (Api(altered=True), "is not the one written"),
        (Api(lag=10**6), r"us-west-2 responded with 404 instead of 200"),
    ],
)
def test_demo_fails(tls: Serving, monkeypatch: pytest.MonkeyPatch, api: Api, message: str) -> None:
    monkeypatch.setattr("healthcare_dr.ops.lifecycle.PATIENCE_SECONDS", 0.3)
    with pytest.raises(DeploymentError, match=message):
        run_demo(tls, api)
