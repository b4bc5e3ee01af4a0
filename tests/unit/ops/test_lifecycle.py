"""`hdr up` and `hdr down`, with a real Terraform and an embedded AWS that is only a switch."""

import json
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError, EmulatorError
from healthcare_dr.naming import GLOBAL, STACKS
from healthcare_dr.ops.deploy import Changes, Deployment
from healthcare_dr.ops.lifecycle import PATIENT, Lifecycle
from healthcare_dr.ops.lock import claimed
from healthcare_dr.ops.targets.embedded import EmbeddedTarget
from healthcare_dr.ops.terraform.workspace import state_file
from healthcare_dr.ops.token import DEMO_TENANT
from unit.ops.conftest import Answer, Deploying, Serving
from unit.ops.fakes import FakeEmulator, LocalTarget, RecordingProgress, failing, three_stacks


def answer(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    record = PATIENT | {"id": "p1", "meta": {"versionId": "v1"}}
    return (201 if method == "POST" else 200), json.dumps(record).encode()


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
    served = tls(answer)
    target.urls = {"one": served.url, "two": served.url}
    target.authority = served.authority
    return Lifecycle(
        emulator=emulator,
        target=target,
        root=root,
        regions=("us-east-1", "us-west-2"),
        audience="healthcare-dr",
        deployment=lambda: deploying(three_stacks()),
        progress=progress,
    )


def test_up_starts_deploys_and_proves_it(
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


class SlowToStart(FakeEmulator):
    """Does not start before the deployment is prepared, or half a minute has passed."""

    prepared = threading.Event()

    def start(self) -> None:
        assert self.prepared.wait(30), "the embedded AWS was started before anything else was done"
        super().start()


def test_up_prepares_the_deployment_while_the_embedded_aws_starts(lifecycle: Lifecycle, emulator: FakeEmulator) -> None:
    slow = SlowToStart(home=emulator.home)

    def deployment() -> Deployment:
        slow.prepared.set()
        return lifecycle.deployment()

    assert replace(lifecycle, emulator=slow, deployment=deployment).up().changes == Changes(add=3)
    assert slow.up


class Unbound(FakeEmulator):
    """Cannot listen."""

    def check_ports(self) -> None:
        raise EmulatorError("port 1 on 127.0.0.1 cannot be used")


def test_ports_that_are_taken_are_refused_before_anything_is_synthesized(
    lifecycle: Lifecycle, emulator: FakeEmulator, progress: RecordingProgress
) -> None:
    with pytest.raises(EmulatorError, match="port 1 on"):
        replace(lifecycle, emulator=Unbound(home=emulator.home)).up()
    assert progress.said == []


class OnOtherPorts(FakeEmulator):
    """Runs, but not where this handle looks for it."""

    def start(self) -> None:
        raise EmulatorError("already runs on port 1")


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_emulator_on_other_ports_is_refused(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, command: str
) -> None:
    lifecycle.up()
    elsewhere = replace(lifecycle, emulator=OnOtherPorts(home=emulator.home, up=True))
    with pytest.raises(EmulatorError, match="already runs on port 1"):
        elsewhere.up() if command == "up" else elsewhere.down(keep=False)
    assert state_file(root, GLOBAL).exists()


def test_preflight_refuses_an_emulator_on_other_ports(emulator: FakeEmulator, root: Path) -> None:
    elsewhere = OnOtherPorts(home=emulator.home, up=True)
    with pytest.raises(EmulatorError, match="already runs on port 1"):
        EmbeddedTarget(emulator=elsewhere, root=root, user_environment={}).preflight()


def test_no_environment_touches_the_emulator_while_another_one_starts_it(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path
) -> None:
    refused: list[str] = []

    class Starting(FakeEmulator):
        def start(self) -> None:
            other = replace(lifecycle, emulator=self, root=root.parent / "other")
            for meanwhile in (other.up, partial(other.down, keep=False), partial(other.down, keep=True)):
                with pytest.raises(DeploymentError, match=r"another hdr command \(process \d+\)") as refusal:
                    meanwhile()
                refused.append(str(refusal.value))
            super().start()

    starting = Starting(home=emulator.home)
    replace(lifecycle, emulator=starting).up()
    assert len(refused) == 3
    assert (starting.up, starting.erased) == (True, 0)


def test_an_environment_is_deployed_while_another_one_drills(lifecycle: Lifecycle, root: Path) -> None:
    lifecycle.up()
    with claimed(root.parent, root.parent / "other"):
        assert lifecycle.up().changes == Changes()


def test_a_command_of_another_environment_keeps_its_emulator(
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
    with pytest.raises(DeploymentError, match="the API does not answer"):
        lifecycle.up()
    assert state_file(lifecycle.root, GLOBAL).exists()


def test_down_destroys_stops_and_forgets(
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


def test_down_leaves_the_other_environments_running(
    lifecycle: Lifecycle, emulator: FakeEmulator, root: Path, progress: RecordingProgress
) -> None:
    lifecycle.up()
    other = root.parent / "other"
    state_file(other, GLOBAL).parent.mkdir(parents=True)
    state_file(other, GLOBAL).write_bytes(state_file(root, GLOBAL).read_bytes())
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert state_file(other, GLOBAL).exists()
    assert progress.said[-1] == "The embedded AWS runs on: it holds other as well"
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
    """Nothing would lead to what it holds any more, and the next deployment would find that it exists."""
    lifecycle.up()
    other = state_file(root.parent / "other", GLOBAL)
    other.parent.mkdir(parents=True)
    other.write_bytes(state_file(root, GLOBAL).read_bytes())
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
    other = state_file(root.parent / "other", GLOBAL)
    other.parent.mkdir(parents=True)
    other.write_text(content)
    assert lifecycle.down(keep=False) == Changes(remove=3)
    assert (emulator.up, emulator.erased) == (True, 0)
    assert other.read_text() == content
    assert progress.said[-1] == "The embedded AWS runs on: it holds other as well"


def test_up_goes_on_where_it_failed(
    lifecycle: Lifecycle, deploying: Deploying, emulator: FakeEmulator, target: LocalTarget, progress: RecordingProgress
) -> None:
    broken = three_stacks()
    broken[GLOBAL]["resource"]["terraform_data"]["table"] |= failing()
    failed = Lifecycle(
        emulator=emulator,
        target=target,
        root=lifecycle.root,
        regions=lifecycle.regions,
        audience=lifecycle.audience,
        deployment=lambda: deploying(broken),
        progress=progress,
    )
    with pytest.raises(DeploymentError, match=r"terraform_data\.table"):
        failed.up()
    done = lifecycle.up()
    assert done.changes.add == 1
