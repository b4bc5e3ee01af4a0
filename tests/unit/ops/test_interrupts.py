"""Forward signals to Terraform."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthcare_dr.ops.terraform.interrupts import PATIENCE_SECONDS, QUIET_SECONDS, SIGNALS, Interrupted, Interrupts
from unit.ops.fakes import RecordingProgress

STUBBORN = 'trap "echo interrupted >> interrupted" INT; echo > ready; while :; do sleep 0.05; done'


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that counts its interruptions, and does not end."""
    child = subprocess.Popen(["/bin/sh", "-c", STUBBORN], cwd=tmp_path, process_group=0)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    yield child
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def interrupted(folder: Path, times: int) -> bool:
    deadline = time.monotonic() + 10
    file = folder / "interrupted"
    while (len(file.read_text().split()) if file.exists() else 0) < times:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_third_signal_kills_the_child(
    stubborn: "subprocess.Popen[bytes]", tmp_path: Path, progress: RecordingProgress, interrupts: Interrupts
) -> None:
    with interrupts.installed(), interrupts.watching(stubborn) as watch:
        watch.tick()
        os.kill(os.getpid(), signal.SIGINT)
        watch.tick()
        watch.tick()
        assert interrupted(tmp_path, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted(tmp_path, 2)
        assert stubborn.poll() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stubborn.wait(timeout=10) == -signal.SIGKILL
        with pytest.raises(Interrupted) as stopped:
            interrupts.check()
    assert stopped.value.exit_code == 130
    assert len(progress.said) == 1


@pytest.mark.parametrize(
    ("starts", "pause"), [(int(PATIENCE_SECONDS) - 1, QUIET_SECONDS), (int(PATIENCE_SECONDS), 0)], ids=["quiet", "late"]
)
def test_child_that_starts_resources_is_interrupted_when_it_is_quiet_or_after_a_time_limit(
    stubborn: "subprocess.Popen[bytes]",
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
    starts: int,
    pause: float,
) -> None:
    """A lost response of a creation leaves a resource in no state."""
    now = [100.0]
    monkeypatch.setattr("healthcare_dr.ops.terraform.interrupts.time.monotonic", lambda: now[0])
    with interrupts.installed(), interrupts.watching(stubborn) as watch:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(starts):
            watch.began()
            watch.tick()
            now[0] += 1
        assert not (tmp_path / "interrupted").exists()
        now[0] += pause
        watch.tick()
        monkeypatch.undo()
        assert interrupted(tmp_path, 1)
        watch.kill()
        stubborn.wait(timeout=10)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_without_a_child_ends_the_command(interrupts: Interrupts, number: signal.Signals) -> None:
    with interrupts.installed(), pytest.raises(Interrupted) as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


def test_interruption_is_no_exception_of_the_program() -> None:
    assert not issubclass(Interrupted, Exception)


def test_former_handlers_are_restored(interrupts: Interrupts) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interrupts.installed():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
