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
from healthcare_dr.ops.deploy import Changes, Deployment
from healthcare_dr.ops.http import https_client
from healthcare_dr.ops.lock import LockedError, claimed
from healthcare_dr.ops.ports import REGIONAL, EmbeddedAws, Progress, Target
from healthcare_dr.ops.terraform.workspace import Workspace, is_deployed
from healthcare_dr.ops.token import DEMO_SCOPES, DEMO_SUBJECT, DEMO_TENANT

if TYPE_CHECKING:
    import httpx


# The recovery point objective.
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
    """The record of the demo, and the seconds that a client measured."""

    patient_id: str
    version: str
    written_in: str
    read_in: str
    write_seconds: float
    seen_after_seconds: float
    """From the acknowledged write to the peer's response with the record."""


def demonstrate(
    *,
    write_to: tuple[str, str],
    read_from: tuple[str, str],
    token: str,
    ca_bundle: Path | None,
    pause: Callable[[float], None] = time.sleep,
) -> Demo:
    """Write a patient in one region and read it in the other; both are (region, address of the API).

    Raises:
        DeploymentError: a request was rejected, or the record did not arrive within the recovery point objective.
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
            response = client.get(address, headers=headers)
            while response.status_code == 404 and time.monotonic() - written < PATIENCE_SECONDS:
                pause(0.2)
                response = client.get(address, headers=headers)
            seen = time.monotonic()
            read = _json(response, 200, peer)
    except httpx.HTTPError as error:
        raise DeploymentError(f"the API does not respond: {error or type(error).__name__}") from error
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
            f"the API of {region} responded with {response.status_code} instead of {expected} to "
            f"{response.request.method} {response.request.url}: {' '.join(response.text.split())[:300]}"
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
    """Composes the deployment, which finds or downloads Terraform and reads the addresses of the embedded AWS."""
    progress: Progress

    def up(self) -> UpResult:
        """Start, deploy, and run the demo.

        Raises:
            EmulatorError, ToolError, SynthesisError, DeploymentError: a part failed; the next call continues.
        """
        with claimed(self.root):
            with self._claimed_unless_running():
                # Before the synthesis, which takes seconds.
                self.emulator.check_ports()
                self._forget_lost_resources()
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
        """Destroy the deployment, and stop the embedded AWS unless other environments are deployed to it.

        With `keep` only stop, so that the next `up` finds everything.

        Raises:
            EmulatorError, DeploymentError: something could not be destroyed; the next call continues.
        """
        with claimed(self.root):
            changes = Changes() if keep else self._destroy()
            others = [other.name for other in self._others() if self._deployed(other, damaged=True)]
            if others and not keep and self.emulator.running():
                self.progress.say(
                    f"The embedded AWS runs on: other environments are deployed to it: {', '.join(others)}"
                )
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
        """Destroy the deployment, and remove its state."""
        with self._claimed_unless_running():
            self._forget_lost_resources()
            others = any(self._deployed(other, damaged=True) for other in self._others())
            # Without other environments everything is erased, so a damaged state does not matter. With others, the
            # resources of a damaged state would remain.
            deployed = is_deployed(self.root) if others else self._deployed(self.root, damaged=False)
            if deployed:
                if not self.emulator.running():
                    self.progress.say("Starting the embedded AWS, to destroy what is deployed to it")
                self.emulator.start()
        if deployed:
            changes = self.deployment().destroy(None)
        else:
            self.progress.say("Nothing is deployed")
            changes = Changes()
        shutil.rmtree(self.root / "state", ignore_errors=True)
        return changes

    def _claimed_unless_running(self) -> AbstractContextManager[None]:
        """Claim the embedded AWS while it is started, or while lost resources are forgotten."""
        if self.emulator.running() and not self.emulator.lost_state():
            return nullcontext()
        return claimed(self.root.parent)

    def _start_and_prepare(self) -> tuple[Deployment, dict[str, Workspace]]:
        """Start the embedded AWS while the stacks are synthesized, which needs only its addresses."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            if not self.emulator.running():
                self.progress.say("Starting the embedded AWS")

            def prepare() -> tuple[Deployment, dict[str, Workspace]]:
                deployment = self.deployment()
                return deployment, deployment.prepare()

            prepared = pool.submit(prepare)
            # In this thread, because only it receives Ctrl-C, and then ends the process of the embedded AWS.
            self.emulator.start()
            return prepared.result()

    def _forget_lost_resources(self) -> None:
        if not self.emulator.lost_state():
            return
        self.progress.say("The embedded AWS ended without saving, so its resources are lost: starting again")
        with claimed(*self._others()):
            self.emulator.erase()
            for environment in (self.root, *self._others()):
                shutil.rmtree(environment / "state", ignore_errors=True)

    def _others(self) -> list[Path]:
        """Return the folders of the other environments on this embedded AWS."""
        return sorted(folder for folder in self.root.parent.iterdir() if folder.is_dir() and folder != self.root)

    def _deployed(self, root: Path, *, damaged: bool) -> bool:
        """Return whether an environment is deployed; `damaged` is the result if a state cannot be read.

        A damaged state of the environment itself is ignored. That of another one may be the only way to its resources.
        """
        try:
            return is_deployed(root)
        except DeploymentError as error:
            self.progress.say(f"{root.name}: {error}; it counts as {'deployed' if damaged else 'nothing'}")
            return damaged
