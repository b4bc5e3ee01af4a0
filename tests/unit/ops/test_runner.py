"""Run the real Terraform: plans, progress, errors, locks, interruptions."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.terraform import runner
from healthcare_dr.ops.terraform.events import Event, ResourceEvent
from healthcare_dr.ops.terraform.interrupts import Interrupted, Interrupts
from healthcare_dr.ops.terraform.runner import PLAN_FILE, Terraform, resource_events
from healthcare_dr.ops.terraform.state import read_state
from healthcare_dr.ops.terraform.workspace import Workspace
from unit.ops.fakes import RecordingProgress, Stack, failing, running, slow, stack_json, synthesizing

STACK = "healthcare-dr-primary"
OVERRIDE = {"terraform": {"backend": {"local": {"path": f"../state/{STACK}.tfstate"}}}}


Prepare = Callable[..., Workspace]


@pytest.fixture
def prepare(terraform: Terraform, root: Path, tmp_path: Path) -> Prepare:
    """Initializes a workspace with a stack."""

    def prepare(document: Stack, *, terraform: Terraform = terraform) -> Workspace:
        outdir = tmp_path / f"synth-{time.monotonic_ns()}"
        synthesizing({STACK: document})(outdir)
        workspace = Workspace(root=root, stack=STACK)
        workspace.prepare(outdir / "stacks" / STACK, OVERRIDE)
        terraform.init(workspace)
        return workspace

    return prepare


@pytest.fixture
def deploy(terraform: Terraform, prepare: Prepare) -> Prepare:
    """Prepares a workspace, plans and applies it."""

    def deploy(document: Stack) -> Workspace:
        workspace = prepare(document)
        terraform.plan(workspace)
        terraform.apply(workspace)
        return workspace

    return deploy


def resources(workspace: Workspace) -> int:
    file = workspace.local_state()
    return read_state(STACK, file.read_bytes() if file.exists() else None).resources


def interrupt_when(started: threading.Event, number: int = signal.SIGINT) -> threading.Thread:
    def send() -> None:
        assert started.wait(30)
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


SECRET = "https://events.example.com/KEY?a=1&b=2"


@pytest.mark.requirement("R7.2")
def test_secrets_are_in_the_state_only(terraform: Terraform, prepare: Prepare, root: Path) -> None:
    document = stack_json({"sent": {"input": "${var.secrets[0]}"}, "joined": {"input": '${join("|", var.secrets)}'}})
    document["variable"] = {"secrets": {"type": "list(string)", "sensitive": True}}
    given = {**terraform.environment, "TF_VAR_secrets": json.dumps([SECRET])}
    terraform = replace(terraform, environment=given, secrets=[SECRET])
    workspace = prepare(document, terraform=terraform)
    terraform.plan(workspace)
    shown = json.dumps(terraform.show_plan(workspace))
    assert "(secret)" in shown
    assert "KEY" not in shown
    terraform.apply(workspace)
    holding = [file for file in root.rglob("*") if file.is_file() and b"KEY" in file.read_bytes()]
    assert holding == [workspace.local_state()]
    assert workspace.local_state().stat().st_mode & 0o077 == 0
    assert workspace.local_state().parent.stat().st_mode & 0o077 == 0


@pytest.mark.requirement("R7.2")
def test_secret_in_an_error_is_replaced(terraform: Terraform, prepare: Prepare) -> None:
    condition = {"condition": '${terraform.workspace == "x"}', "error_message": f"Unreachable endpoint {SECRET}"}
    document = stack_json({"a": {"input": SECRET, "lifecycle": {"precondition": [condition]}}})
    terraform = replace(terraform, secrets=[SECRET])
    workspace = prepare(document, terraform=terraform)
    with pytest.raises(DeploymentError, match=r"Unreachable endpoint \(secret\)") as caught:
        terraform.plan(workspace)
    assert "KEY" not in str(caught.value)
    assert not [log for log in workspace.logs.iterdir() if "KEY" in log.read_text()]


def test_plan_is_saved_applied_and_then_empty(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"a": {"input": "x"}, "b": {}}, {"o": "v"}))
    plan = terraform.plan(workspace)
    assert (plan.add, plan.change, plan.remove, plan.pending) == (2, 0, 0, True)
    assert {change.address for change in plan.changes} == {"terraform_data.a", "terraform_data.b"}
    assert terraform.show_plan(workspace)["format_version"]
    seen: list[ResourceEvent] = []
    terraform.apply(workspace, listen=resource_events(seen.append))
    assert [event.phase for event in seen].count("complete") == 2
    again = terraform.plan(workspace)
    assert (again.pending, again.changes) == (False, ())
    assert read_state(STACK, workspace.local_state().read_bytes()).outputs == {"o": "v"}


def test_exactly_the_saved_plan_is_applied(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"a": {}}))
    terraform.plan(workspace)
    (workspace.folder / "cdk.tf.json").write_text('{"resource": {"terraform_data": {"a": {}, "sneaked_in": {}}}}')
    terraform.apply(workspace)
    assert resources(workspace) == 1


def test_plan_cannot_be_applied_twice(deploy: Prepare) -> None:
    assert not (deploy(stack_json({"a": {}})).folder / PLAN_FILE).exists()


def test_change_of_an_output_only_is_pending(terraform: Terraform, prepare: Prepare, deploy: Prepare) -> None:
    deploy(stack_json({"a": {}}, {"o": "1"}))
    changed = prepare(stack_json({"a": {}}, {"o": "2"}))
    plan = terraform.plan(changed)
    assert (plan.pending, plan.changes, [output.name for output in plan.outputs]) == (True, (), ["o"])


def test_failed_apply_prints_one_line_with_resource_and_log(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"good": {}, "bad": failing()}))
    terraform.plan(workspace)
    with pytest.raises(
        DeploymentError, match=r"^healthcare-dr-primary: terraform_data\.bad: local-exec.*exit status 3"
    ) as e:
        terraform.apply(workspace)
    assert "\n" not in str(e.value)
    log = Path(str(e.value).rpartition("(log: ")[2].rstrip(")"))
    assert '"type":"apply_errored"' in log.read_text(encoding="utf-8")


def test_invalid_configuration_prints_one_line(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"a": {}}))
    (workspace.folder / "cdk.tf.json").write_text('{"resource": {"terraform_data": {"a": {"inptu": 1}}}}')
    for run in (terraform.validate, terraform.plan):
        with pytest.raises(DeploymentError, match="inptu"):
            run(workspace)


def test_failed_init_prints_one_line(terraform: Terraform, prepare: Prepare) -> None:
    document = stack_json({"a": {}})
    document["terraform"]["required_version"] = "< 1.0"
    with pytest.raises(DeploymentError, match=r"Unsupported Terraform Core version") as e:
        prepare(document)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_apply_saves_its_state_and_can_be_continued(
    terraform: Terraform, prepare: Prepare, interrupts: Interrupts, progress: RecordingProgress, number: signal.Signals
) -> None:
    document = stack_json({"quick": {}, "slow": {**slow(600), "depends_on": ["terraform_data.quick"]}})
    workspace = prepare(document)
    terraform.plan(workspace)
    started = threading.Event()
    thread = interrupt_when(started, number)

    def listen(event: Event) -> None:
        if isinstance(event, ResourceEvent) and (event.address, event.phase) == ("terraform_data.slow", "start"):
            started.set()

    with interrupts.installed(), pytest.raises(Interrupted) as stopped:
        terraform.apply(workspace, listen=listen)
    thread.join()
    assert stopped.value.exit_code == 128 + number
    assert any("saves its state" in said for said in progress.said)
    assert "terraform_data" in workspace.local_state().read_text(encoding="utf-8")
    # Once interrupted, no further Terraform is started.
    logs = set(workspace.logs.iterdir())
    with pytest.raises(Interrupted):
        terraform.plan(workspace)
    assert set(workspace.logs.iterdir()) == logs

    document["resource"]["terraform_data"]["slow"].pop("provisioner")
    again = replace(terraform, interrupts=Interrupts(progress=progress))
    workspace = prepare(document, terraform=again)
    plan = again.plan(workspace)
    assert "terraform_data.quick" not in {change.address for change in plan.changes}
    again.apply(workspace)
    assert resources(workspace) == 2


def test_terraform_has_its_own_process_group(deploy: Prepare) -> None:
    workspace = deploy(stack_json({"group": running("ps -o pgid= -p $$ > group")}))
    group = int((workspace.folder / "group").read_text())
    assert group != os.getpgid(0)


def test_terraform_saves_its_state_after_hdr_was_killed(root: Path, prepare: Prepare, terraform: Terraform) -> None:
    """It writes to a file and not to a pipe."""
    workspace = prepare(stack_json({"a": slow(3)}))
    terraform.plan(workspace)
    script = (
        "import sys; from pathlib import Path\n"
        "from healthcare_dr.ops.terraform.interrupts import Interrupts\n"
        "from healthcare_dr.ops.terraform.runner import Terraform\n"
        "from healthcare_dr.ops.terraform.workspace import Workspace\n"
        "import os; from unit.ops.fakes import RecordingProgress\n"
        "terraform = Terraform(binary=Path(sys.argv[1]), environment=dict(os.environ), "
        "interrupts=Interrupts(progress=RecordingProgress()))\n"
        "terraform.apply(Workspace(root=Path(sys.argv[2]), stack=sys.argv[3]))\n"
    )
    environment = {**terraform.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", script, str(terraform.binary), str(root), STACK], env=environment)
    lock = workspace.local_state().parent / f".{STACK}.tfstate.lock.info"
    wait_for(lock.exists)
    child.kill()
    child.wait()
    wait_for(lambda: not lock.exists())
    assert resources(workspace) == 1


@pytest.mark.parametrize("ends", [True, False], ids=["interrupted", "killed"])
def test_terraform_that_hangs_is_ended(
    prepare: Prepare, tmp_path: Path, terraform: Terraform, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """A program that prints nothing ends when it is interrupted, or only when it is killed."""
    workspace = prepare(stack_json({"a": {}}))
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    silent = tmp_path / "terraform"
    silent.write_text(f"#!/bin/sh\n{'' if ends else 'trap : INT'}\nwhile :; do sleep 0.1; done\n")
    silent.chmod(0o755)
    with pytest.raises(DeploymentError, match=r"terraform plan printed nothing for 0 min and was ended") as caught:
        replace(terraform, binary=silent).plan(workspace)
    assert "\n" not in str(caught.value)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run_aside(terraform: Terraform, workspace: Workspace) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [terraform.binary, "apply", "-auto-approve", "-input=false"],
        cwd=workspace.folder,
        env=dict(terraform.environment),
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
    wait_for((workspace.local_state().parent / f".{STACK}.tfstate.lock.info").exists)
    return process


def test_held_lock_prints_one_line_with_holder_and_release(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"a": slow(60)}))
    holder = run_aside(terraform, workspace)
    try:
        with pytest.raises(DeploymentError, match=r"the state is locked by \S+ since .*force-unlock [0-9a-f-]+`"):
            terraform.plan(workspace)
    finally:
        holder.send_signal(signal.SIGINT)
        holder.wait()


def test_lock_of_a_killed_run_does_not_block_the_next(terraform: Terraform, prepare: Prepare) -> None:
    workspace = prepare(stack_json({"a": slow(60)}))
    holder = run_aside(terraform, workspace)
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (workspace.local_state().parent / f".{STACK}.tfstate.lock.info").exists()
    assert terraform.plan(workspace).pending


@pytest.mark.parametrize("answer", ["echo no", "kill -9 $$", "echo '{}'", "echo '{\"valid\": false}'"])
def test_validate_without_a_report_prints_one_line(
    terraform: Terraform, prepare: Prepare, tmp_path: Path, answer: str
) -> None:
    workspace = prepare(stack_json({"a": {}}))
    broken = tmp_path / "terraform"
    broken.write_text(f"#!/bin/sh\n{answer}\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(DeploymentError, match=r"exited with (3|-9).*\(log: ") as e:
        replace(terraform, binary=broken).validate(workspace)
    assert "\n" not in str(e.value)
