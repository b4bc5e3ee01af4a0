"""All processes of a test run end with it, also when it is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support import run
from support.platform import ROOT, eventually

# Starts an embedded AWS, as a test or a deployment does.
TEST = """
import time
from pathlib import Path

from bench.ports import free_port
from healthcare_dr.emulator.emulator import Emulator
from support import run


def test_that_never_ends(tmp_path_factory):
    home = Path({folder!r}) / "home"
    Emulator(home=home, port=free_port(), ends_with=run.pid()).start()
    Path({folder!r}, "started").touch()
    while True:
        time.sleep(1)
"""


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that contain the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(folder) in command:
                    found.append(command)
    return found


@contextmanager
def running(folder: Path, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a test that starts an embedded AWS, in its own session."""
    test = folder / "test_of_a_run.py"
    test.write_text(TEST.format(folder=str(folder)), encoding="utf-8")
    environment = run.environment()
    # The new run must not end with this one.
    for name in (run.RUN, run.ENDS_WITH):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "conftest", f"--rootdir={folder}", "-c", str(ROOT / "pyproject.toml")]
        + ["-n", str(workers)] * bool(workers)
        + [str(test)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            eventually((folder / "started").exists)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_run(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    with running(tmp_path, workers) as process:
        assert processes_of(tmp_path)
        process.send_signal(number)
        process.wait()
        eventually(lambda: not processes_of(tmp_path))
