"""Deploy the platform for a test run, once, in the background, and give each worker of the run a deployment of its own.

The first deployment starts from nothing, or from a saved state. When it is complete, its embedded AWS is stopped and
its home folder is copied: once into `.test-state/saved/<key>`, for later runs, and once for each further worker. The
key is a digest of everything that decides what a deployment consists of. A copy listens on other ports, and the
address of the token issuer contains a port, so `hdr up` runs on each copy and updates the few resources that name it.

`python -m support.deployments <folder> <count> [--from-nothing]` does this. `Deployments` starts it and reads its
reports. Everything of one run is under `.test-state/run-<pid>`.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.ports import free_port

from healthcare_dr.infra import Synthesis, synth
from healthcare_dr.naming import STACKS
from healthcare_dr.settings import load_settings
from support import run
from support.platform import HDR, ROOT, SUFFIX, Deployed

FOLDER: Final = ROOT / ".test-state"
SAVED: Final = FOLDER / "saved"
# A machine may be slow; a deployment that hangs must still end the run with an error.
PATIENCE_SECONDS: Final = 900.0
POLL_SECONDS: Final = 0.2
# Code that affects how the embedded AWS stores a deployment.
SOURCES: Final = ("src/healthcare_dr/emulator", "src/healthcare_dr/ops/terraform", "src/healthcare_dr/ops/targets")


class DeploymentFailedError(Exception):
    """The platform could not be deployed for the tests. The message contains the log."""


@dataclass(frozen=True)
class Ready:
    """A deployment that tests can use."""

    home: Path
    port: int
    from_nothing: bool
    """Whether it was deployed to an empty account in this run."""
    changes: Mapping[str, Any]
    """The changes that `hdr up --json` reported for a deployment from nothing; empty for a copy."""

    def platform(self) -> Deployed:
        """The deployed platform."""
        return Deployed(home=self.home, port=self.port)


class Deployments:
    """The deployments of one test run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of_this_run(cls) -> Self:
        """Return the deployments of this process's run."""
        return cls(FOLDER / f"run-{run.pid()}")

    def start(self, count: int, *, from_nothing: bool) -> None:
        """Start to deploy in the background."""
        _remove_left_over_runs()
        self.folder.mkdir(parents=True)
        with (self.folder / "deployments.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.deployments", str(self.folder), str(count)]
                + ["--from-nothing"] * from_nothing,
                cwd=ROOT,
                env=run.environment() | {"PYTHONPATH": str(ROOT / "tests")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self, index: int) -> bool:
        """Return whether deployment `index` can be used, or has failed."""
        return self._report(index).exists() or self._failure.exists()

    def wait_for(self, index: int) -> Ready:
        """Return deployment `index` as soon as it is complete.

        Raises:
            DeploymentFailedError: it failed, or is not complete after `PATIENCE_SECONDS`.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._report(index).exists():
            if self._failure.exists() or time.monotonic() > deadline:
                log = (self.folder / "deployments.log").read_text(encoding="utf-8", errors="replace")
                raise DeploymentFailedError(f"deployment {index} is not available:\n{log}")
            time.sleep(POLL_SECONDS)
        content = json.loads(self._report(index).read_text(encoding="utf-8"))
        return Ready(**content | {"home": Path(content["home"])})

    def end(self, *, keep_files: bool) -> None:
        """Stop everything that the run started, and delete its files unless they are kept for diagnosis."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=60)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for file in self.folder.glob("home-*/port"):
            Deployed(home=file.parent, port=int(file.read_text(encoding="utf-8"))).emulator.stop()
        if not keep_files:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _report(self, index: int) -> Path:
        return self.folder / f"ready-{index}.json"

    @property
    def _failure(self) -> Path:
        return self.folder / "failed"


class Deployer:
    """The background process: deploys, saves, copies."""

    def __init__(self, folder: Path, count: int, *, from_nothing: bool) -> None:
        self._folder = folder
        self._count = count
        self._from_nothing = from_nothing

    def run(self) -> None:
        """Make all deployments, and report each as soon as it is complete."""
        with ThreadPoolExecutor(1) as pool:
            key = pool.submit(self._key)
            saved = None if self._from_nothing else SAVED / key.result()
            if saved is None or not saved.is_dir():
                saved = self._deploy_and_save(key)
            else:
                self._use(self._copy(saved, 0), 0)
        for index in range(1, self._count):
            self._use(self._copy(saved, index), index)

    def _key(self) -> str:
        """Return the key of the current deployment, from a synthesis."""
        return digest_of(synth(load_settings(environment_suffix=SUFFIX), self._folder / "synthesized"))

    def _deploy_and_save(self, key: Future[str]) -> Path:
        """Make deployment 0 from nothing, and return the folder where its state is saved."""
        first = self._home(0)
        report = _up(first)
        first.emulator.stop()
        saved = SAVED / key.result()
        self._save(first, saved)
        first.emulator.start()
        self._report(first, 0, changes=json.loads(report)["changes"], from_nothing=True)
        return saved

    def _use(self, copied: Deployed, index: int) -> None:
        _up(copied)
        self._report(copied, index, changes={}, from_nothing=False)

    def _home(self, index: int) -> Deployed:
        home = self._folder / f"home-{index}"
        home.mkdir()
        port = free_port()
        (home / "port").write_text(str(port), encoding="utf-8")
        return Deployed(home=home, port=port)

    def _copy(self, saved: Path, index: int) -> Deployed:
        made = self._home(index)
        copy_home(saved, made.home)
        return made

    def _save(self, stopped: Deployed, target: Path) -> None:
        """Save the home of a stopped embedded AWS, and delete all other saved ones."""
        staging = SAVED / f"staging-{os.getpid()}"
        SAVED.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_home(stopped.home, staging)
        for old in SAVED.iterdir():
            if old != staging:
                shutil.rmtree(old, ignore_errors=True)
        staging.rename(target)

    def _report(self, made: Deployed, index: int, **what: Any) -> None:
        content = json.dumps({"home": str(made.home), "port": made.port, **what})
        staging = self._folder / f"ready-{index}.tmp"
        staging.write_text(content, encoding="utf-8")
        staging.rename(self._folder / f"ready-{index}.json")


def copy_home(source: Path, target: Path) -> None:
    """Copy the home of a stopped embedded AWS. Programs are linked, because they never change."""

    def copy(file: str, copied: str) -> None:
        if ".terraform/providers" in file or f"{source}/tools/" in file:
            os.link(file, copied)
        else:
            shutil.copy2(file, copied)

    shutil.copytree(
        source, target, symlinks=True, copy_function=copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("port")
    )


def digest_of(synthesis: Synthesis) -> str:
    """Return the key of a saved state: a digest of the synthesized bytes, the embedded AWS and the requirements."""
    digest = hashlib.sha256(f"{SUFFIX}\0{sys.version}\0".encode())
    folders = [synthesis.folder(stack) for stack in STACKS] + [ROOT / source for source in SOURCES]
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    digest.update((ROOT / "requirements" / "runtime.txt").read_bytes())
    return digest.hexdigest()[:32]


def _up(platform: Deployed) -> str:
    """Run `hdr up` and return its report. SIGTERM to this process interrupts it."""
    with (
        subprocess.Popen(
            [HDR, "up", "--json"], cwd=ROOT, env=platform.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
        _forwarding(signal.SIGTERM, process),
    ):
        output, _ = process.communicate()
    report = output.decode(errors="replace")
    if process.returncode:
        raise DeploymentFailedError(report)
    # Progress is printed before the report.
    return report[report.index("{\n") :]


@contextmanager
def _forwarding(number: int, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward a signal to a child process."""

    def forward(*_: object) -> None:
        process.send_signal(number)

    before = signal.signal(number, forward)
    try:
        yield
    finally:
        signal.signal(number, before)


def _remove_left_over_runs() -> None:
    """Delete the files of runs that were killed."""
    for folder in FOLDER.glob("run-*"):
        if not _exists(int(folder.name.removeprefix("run-"))):
            shutil.rmtree(folder, ignore_errors=True)


def _end_with_the_run() -> None:
    """End this process and what it started when the test run no longer exists."""

    def watch() -> None:
        while _exists(run.pid()):
            time.sleep(POLL_SECONDS)
        # `hdr` forwards the first to Terraform at a safe moment, the second at once, and kills Terraform at the third.
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    """Deploy for a test run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--from-nothing", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _end_with_the_run()
    try:
        Deployer(options.folder, options.count, from_nothing=options.from_nothing).run()
    except BaseException:
        (options.folder / "failed").touch()
        raise


if __name__ == "__main__":
    main()
