"""Signals, and what becomes of them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthcare_dr.ops.terraform.interrupts import PATIENCE_SECONDS, QUIET_SECONDS, SIGNALS, Interrupted, Interrupts
from unit.ops.fakes import RecordingProgress

STUBBORN = 'trap "echo asked >> asked" INT; echo > ready; while :; do sleep 0.05; done'


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that counts how often it is asked to stop, and does not."""
    child = subprocess.Popen(["/bin/sh", "-c", STUBBORN], cwd=tmp_path, process_group=0)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    yield child
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def asked(folder: Path, times: int) -> bool:
    deadline = time.monotonic() + 10
    file = folder / "asked"
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
        assert asked(tmp_path, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked(tmp_path, 2)
        assert stubborn.poll() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stubborn.wait(timeout=10) == -signal.SIGKILL
        with pytest.raises(Interrupted) as stopped:
            interrupts.check()
    assert stopped.value.exit_code == 130
    assert len(progress.said) == 1


def test_child_is_not_interrupted_while_it_starts_resources(
    stubborn: "subprocess.Popen[bytes]", tmp_path: Path, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is lost while a resource is created leaves one that no state knows."""
    now = [100.0]
    monkeypatch.setattr("healthcare_dr.ops.terraform.interrupts.time.monotonic", lambda: now[0])
    with interrupts.installed(), interrupts.watching(stubborn) as watch:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(int(PATIENCE_SECONDS) - 1):
            watch.began()
            watch.tick()
            now[0] += 1
        assert not (tmp_path / "asked").exists()
        now[0] += QUIET_SECONDS
        watch.tick()
        monkeypatch.undo()
        assert asked(tmp_path, 1)
        watch.end()
        stubborn.wait(timeout=10)


def test_the_operator_does_not_wait_for_ever(
    stubborn: "subprocess.Popen[bytes]", tmp_path: Path, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("healthcare_dr.ops.terraform.interrupts.time.monotonic", lambda: now[0])
    with interrupts.installed(), interrupts.watching(stubborn) as watch:
        os.kill(os.getpid(), signal.SIGINT)
        watch.tick()
        watch.began()
        now[0] += PATIENCE_SECONDS
        watch.began()
        watch.tick()
        monkeypatch.undo()
        assert asked(tmp_path, 1)
        watch.end()
        stubborn.wait(timeout=10)


@pytest.mark.parametrize("number", SIGNALS)
def test_without_a_child_the_command_ends_at_once(interrupts: Interrupts, number: signal.Signals) -> None:
    with interrupts.installed(), pytest.raises(Interrupted) as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


def test_no_broad_except_swallows_it() -> None:
    assert not issubclass(Interrupted, Exception)


def test_the_former_handlers_come_back(interrupts: Interrupts) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interrupts.installed():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
