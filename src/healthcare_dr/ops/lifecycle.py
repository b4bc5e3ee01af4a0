"""`hdr up` and `hdr down`: start and stop the embedded AWS together with its deployment.

After a deployment, a demo writes a fictitious patient in one region and reads it in the other.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import STACKS
from healthcare_dr.ops.deploy import Changes, Deployment
from healthcare_dr.ops.http import https_client
from healthcare_dr.ops.lock import LockedError, claimed
from healthcare_dr.ops.ports import REGIONAL, EmbeddedAws, Progress, Target
from healthcare_dr.ops.terraform.state import read_state
from healthcare_dr.ops.terraform.workspace import Workspace, state_file
from healthcare_dr.ops.token import DEMO_SCOPES, DEMO_SUBJECT, DEMO_TENANT

if TYPE_CHECKING:
    import httpx


# The promised recovery point: a record that is not there by then breaks the promise.
PATIENCE_SECONDS = 60.0
PATIENT = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"use": "official", "family": "Fictitious", "given": ["Demo"]}],
    "gender": "unknown",
    "birthDate": "1970-01-01",
}


@dataclass(frozen=True)
class Demo:
    """The record, and how long it took; seconds as a client saw them."""

    patient_id: str
    version: str
    written_in: str
    read_in: str
    write_seconds: float
    seen_after_seconds: float
    """From the acknowledged write to the peer's answer that held it."""


def demonstrate(
    *,
    write_to: tuple[str, str],
    read_from: tuple[str, str],
    token: str,
    ca_bundle: Path | None,
    pause: Callable[[float], None] = time.sleep,
) -> Demo:
    """Write through one region and read through the other; both are (region, address of the API).

    Raises:
        DeploymentError: either call was refused, or the record did not arrive within the promised time.
    """
    import httpx

    (region, url), (peer, peer_url) = write_to, read_from
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    try:
        with https_client(ca_bundle) as client:
            began = time.monotonic()
            created = _json(client.post(f"{url}/fhir/Patient", json=PATIENT, headers=headers), 201, region)
            written = time.monotonic()
            address = f"{peer_url}/fhir/Patient/{created['id']}"
            answer = client.get(address, headers=headers)
            while answer.status_code == 404 and time.monotonic() - written < PATIENCE_SECONDS:
                pause(0.2)
                answer = client.get(address, headers=headers)
            seen = time.monotonic()
            read = _json(answer, 200, peer)
    except httpx.HTTPError as error:
        raise DeploymentError(f"the API does not answer: {error or type(error).__name__}") from error
    if (read["id"], read["meta"]["versionId"], read["name"]) != (
        created["id"],
        created["meta"]["versionId"],
        PATIENT["name"],
    ):
        raise DeploymentError(f"the record read in {peer} is not the one written in {region}")
    return Demo(
        patient_id=created["id"],
        version=created["meta"]["versionId"],
        written_in=region,
        read_in=peer,
        write_seconds=round(written - began, 3),
        seen_after_seconds=round(seen - written, 3),
    )


def _json(response: "httpx.Response", expected: int, region: str) -> dict[str, Any]:
    if response.status_code != expected:
        raise DeploymentError(
            f"the API of {region} answered {response.status_code} instead of {expected} to {response.request.method} "
            f"{response.request.url}: {' '.join(response.text.split())[:300]}"
        )
    return dict(response.json())


@dataclass(frozen=True)
class UpResult:
    """The result of `up`."""

    changes: Changes
    demo: Demo


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """One environment on the embedded AWS. `root` is `<home>/embedded/<suffix>`, beside those of other suffixes."""

    emulator: EmbeddedAws
    target: Target
    root: Path
    regions: tuple[str, str]
    audience: str
    deployment: Callable[[], Deployment]
    """Made when it is needed: it finds or fetches Terraform and asks the embedded AWS for its addresses."""
    progress: Progress

    def up(self) -> UpResult:
        """Start, deploy, and prove it with a record that crosses the regions.

        Raises:
            EmulatorError, ToolError, SynthesisError, DeploymentError: whichever part failed; the next call goes on.
        """
        with claimed(self.root):
            with self._claimed_unless_running():
                # Before the stacks are synthesized, which takes a while.
                self.emulator.check_ports()
                self._forget_what_is_lost()
                deployment, workspaces = self._start_and_prepare()
            changes = deployment.deploy(None, prepared=workspaces)
            self.progress.say("Writing a fictitious patient in one region, reading it in the other")
            outputs = [deployment.states()[stack].outputs for stack in REGIONAL]
            first, second = (
                (region, self.target.api_url(values)) for region, values in zip(self.regions, outputs, strict=True)
            )
            token = self.emulator.token(
                subject=DEMO_SUBJECT, tenant=DEMO_TENANT, scopes=DEMO_SCOPES, audience=self.audience
            )
            demo = demonstrate(write_to=first, read_from=second, token=token, ca_bundle=self.target.ca_bundle())
            return UpResult(changes=changes, demo=demo)

    def down(self, *, keep: bool) -> Changes:
        """Destroy what is deployed, and stop unless other environments are deployed there too.

        With `keep` only stop, so that the next `up` finds all as it was.

        Raises:
            EmulatorError, DeploymentError: something could not be destroyed; the next call goes on.
        """
        with claimed(self.root):
            changes = Changes() if keep else self._destroy()
            others = [other.name for other in self._others() if self._deployed(other, damaged=True)]
            if others and not keep and self.emulator.running():
                self.progress.say(f"The embedded AWS runs on: it holds {', '.join(others)} as well")
                return changes
            try:
                with claimed(self.root.parent, *self._others()):
                    self.emulator.stop()
                    if not (keep or others):
                        self.emulator.erase()
            except LockedError as error:
                if keep:
                    raise
                self.progress.say(f"The embedded AWS runs on: {error}")
                return changes
            self.progress.say("The embedded AWS is stopped")
            return changes

    def _destroy(self) -> Changes:
        """Destroy what is deployed, and forget its state."""
        with self._claimed_unless_running():
            self._forget_what_is_lost()
            others = any(self._deployed(other, damaged=True) for other in self._others())
            # Alone, everything is erased, whatever a damaged state says; beside others, what it leads to would stay.
            deployed = _holds(self.root) if others else self._deployed(self.root, damaged=False)
            if deployed:
                if not self.emulator.running():
                    self.progress.say("Starting the embedded AWS, to destroy what is deployed to it")
                self.emulator.start()
        if deployed:
            changes = self.deployment().destroy(lambda _: True)
        else:
            self.progress.say("Nothing is deployed")
            changes = Changes()
        shutil.rmtree(self.root / "state", ignore_errors=True)
        return changes

    def _claimed_unless_running(self) -> AbstractContextManager[None]:
        """Claim the embedded AWS for the time in which it is started, or what it has lost is forgotten."""
        if self.emulator.running() and not self.emulator.lost_state():
            return nullcontext()
        return claimed(self.root.parent)

    def _start_and_prepare(self) -> tuple[Deployment, dict[str, Workspace]]:
        """Start the embedded AWS while the stacks are synthesized, which needs nothing of it but its addresses."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            if not self.emulator.running():
                self.progress.say("Starting the embedded AWS")

            def prepare() -> tuple[Deployment, dict[str, Workspace]]:
                deployment = self.deployment()
                return deployment, deployment.prepare()

            prepared = pool.submit(prepare)
            # In this thread, which a Ctrl-C reaches: the process of the embedded AWS must not be left behind.
            self.emulator.start()
            return prepared.result()

    def _forget_what_is_lost(self) -> None:
        if not self.emulator.lost_state():
            return
        self.progress.say("The embedded AWS ended without saving, so its resources are lost: starting again")
        with claimed(*self._others()):
            self.emulator.erase()
            for environment in (self.root, *self._others()):
                shutil.rmtree(environment / "state", ignore_errors=True)

    def _others(self) -> list[Path]:
        """The folders of the other environments on this embedded AWS."""
        return sorted(folder for folder in self.root.parent.iterdir() if folder.is_dir() and folder != self.root)

    def _deployed(self, root: Path, *, damaged: bool) -> bool:
        """Return whether a state holds resources; `damaged` is the result for one that cannot be read.

        A damaged state of the environment itself is ignored. One of another environment may be the only way to its
        resources.
        """
        try:
            return _holds(root)
        except DeploymentError as error:
            self.progress.say(f"{root.name}: {error}; it counts as {'deployed' if damaged else 'nothing'}")
            return damaged


def _holds(root: Path) -> bool:
    """Return whether the states of an environment hold resources. Raises DeploymentError when one cannot be read."""
    files = {stack: state_file(root, stack) for stack in STACKS}
    return any(read_state(stack, file.read_bytes()).deployed for stack, file in files.items() if file.exists())
