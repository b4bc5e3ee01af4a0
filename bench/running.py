"""Child processes that never outlive the benchmark, and where they run."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.ports import free_port
from healthcare_dr.emulator import Emulator
from healthcare_dr.errors import HealthcareDrError

CHECKOUT = Path(__file__).resolve().parents[1]
ENDS_WITHIN_SECONDS = 120.0


class BenchError(HealthcareDrError):
    """A measurement could not be made."""


@dataclass(frozen=True)
class Finished:
    """A process that ended well. `seconds` counts from its start to its end."""

    seconds: float
    output: str


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
    codes: Collection[int] = (0,),
) -> Finished:
    """Run to the end. When the benchmark is interrupted, so is the child, with time to tidy up.

    Raises:
        BenchError: it ended with none of `codes`; with the end of what it wrote to stderr.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        env=dict(os.environ if environment is None else environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The terminal's Ctrl-C would hit the child a second time.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate()
    finally:
        if process.poll() is None:
            _end(process)
    seconds = time.perf_counter() - began
    if process.returncode not in codes:
        last = " / ".join((errors or output).strip().splitlines()[-3:])
        raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: {last}")
    return Finished(seconds, output)


def python(module: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a module of the benchmark in a fresh interpreter."""
    return run([sys.executable, "-m", f"bench.processes.{module}", *arguments], environment=environment)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hdr-bench-") as folder:
        yield Path(folder)


@contextmanager
def embedded_aws(home: Path) -> Iterator[Emulator]:
    """An embedded AWS of its own, stopped afterwards."""
    emulator = Emulator(home=home, port=free_port())
    try:
        emulator.start()
        yield emulator
    finally:
        emulator.stop()


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=ENDS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
