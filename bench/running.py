"""Run child processes that do not outlive the benchmark, in temporary folders."""

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
from typing import Any

import boto3

from bench.ports import free_port
from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.errors import HealthcareDrError

CHECKOUT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 120.0


class BenchError(HealthcareDrError):
    """A measurement failed."""


@dataclass(frozen=True)
class Finished:
    """A successful process: its duration in seconds, and its standard output."""

    seconds: float
    output: str


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
    codes: Collection[int] = (0,),
) -> Finished:
    """Run a command to its end. An interruption of the benchmark interrupts the command and waits for it.

    Raises:
        BenchError: the exit code is not one of `codes`; the text contains the end of stderr.
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
        # The terminal's Ctrl-C would interrupt the child a second time.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate()
    finally:
        if process.poll() is None:
            _stop(process)
    seconds = time.perf_counter() - began
    if process.returncode not in codes:
        last = " / ".join((errors or output).strip().splitlines()[-3:])
        raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: {last}")
    return Finished(seconds, output)


def python(module: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a module, such as `bench.warm`, in a new interpreter."""
    return run([sys.executable, "-m", module, *arguments], environment=environment)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hdr-bench-") as folder:
        yield Path(folder)


@contextmanager
def embedded_aws() -> Iterator[Emulator]:
    """Run an embedded AWS for the duration of the block."""
    with scratch_folder() as scratch:
        emulator = Emulator(home=scratch / "home", port=free_port())
        try:
            emulator.start()
            yield emulator
        finally:
            emulator.stop()


def aws_client(emulator: Emulator, service: str, region: str, **options: Any) -> Any:
    """Return a boto3 client of an embedded AWS with root credentials. `options` are those of boto3."""
    environment = emulator.environment()
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        verify=environment["AWS_CA_BUNDLE"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        **options,
    )


def _stop(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
