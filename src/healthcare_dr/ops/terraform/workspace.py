"""The working folder of Terraform for one stack.

    <root>/state/<stack>.tfstate     its state, where that is kept locally
    <root>/logs/                     Terraform's output
    <root>/<stack>/cdk.tf.json       the synthesized bytes, copied unchanged, with their assets
    <root>/<stack>/hdr_override.tf.json   the backend and, for a pinned target, the provider's version
    <root>/<stack>/.terraform*       files of Terraform that are kept between runs

`<root>` is `<home>/<target>/<environment suffix>`. Terraform merges files whose names end in `override.tf.json` over
the others: its documentation states that a `backend` there replaces the original one, and that `required_providers` are
replaced element by element.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PIPELINE, STACKS
from healthcare_dr.ops.terraform.state import read_state

OVERRIDE = "hdr_override.tf.json"
INITIALIZED = ".hdr-initialized"
# The file of a state that Terraform could not save.
UNSAVED_STATE = "errored.tfstate"
KEPT = (".terraform", ".terraform.lock.hcl", INITIALIZED)


@dataclass(frozen=True)
class Workspace:
    """The folder of one stack."""

    root: Path
    stack: str

    @property
    def folder(self) -> Path:
        """Return the working directory of Terraform."""
        return self.root / self.stack

    @property
    def logs(self) -> Path:
        """Return the folder with Terraform's output, one file per run."""
        return self.root / "logs"

    @property
    def lock_file(self) -> Path:
        """Return the file with the provider versions and sums that Terraform chose."""
        return self.folder / ".terraform.lock.hcl"

    def local_state(self) -> Path:
        """Return the path of the state, if it is kept locally."""
        return state_file(self.root, self.stack)

    def prepare(self, synthesized: Path, override: Mapping[str, Any]) -> None:
        """Fill the folder from a synthesized stack, and keep the files of Terraform.

        Raises:
            DeploymentError: Terraform left a state there that it could not save.
        """
        unsaved = self.folder / UNSAVED_STATE
        if unsaved.exists():
            raise DeploymentError(
                f"{unsaved} is the state of {self.stack} that Terraform could not save: push it with `terraform "
                f"-chdir={self.folder} state push {UNSAVED_STATE}`, then remove it"
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.local_state().parent.mkdir(exist_ok=True, mode=0o700)
        for old in self.folder.iterdir():
            if old.name in KEPT:
                continue
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink()
        shutil.copytree(synthesized, self.folder, dirs_exist_ok=True)
        self.folder.chmod(0o700)  # copytree copies the mode of the source
        (self.folder / OVERRIDE).write_text(json.dumps(override, indent=2) + "\n", encoding="utf-8")

    def configuration(self) -> dict[str, Any]:
        """Return the synthesized stack."""
        synthesized: dict[str, Any] = json.loads((self.folder / "cdk.tf.json").read_text(encoding="utf-8"))
        return synthesized

    def fingerprint(self, *inputs: str) -> str:
        """Return a hash of what `init` depends on: backend, providers, program, and the chosen versions."""
        digest = hashlib.sha256()
        declared = self.configuration().get("terraform", {})
        for part in (*inputs, json.dumps(declared, sort_keys=True), (self.folder / OVERRIDE).read_text("utf-8")):
            digest.update(part.encode() + b"\0")
        digest.update(self.lock_file.read_bytes() if self.lock_file.exists() else b"none")
        return digest.hexdigest()

    def initialized(self, *inputs: str) -> bool:
        """Return whether `init` was run for the same content, and the provider still exists."""
        marker = self.folder / INITIALIZED
        installed = self.folder / ".terraform"
        return (
            marker.exists()
            and installed.exists()
            and marker.read_text(encoding="utf-8") == self.fingerprint(*inputs)
            and all(path.exists() for path in installed.rglob("*"))
        )

    def mark_initialized(self, *inputs: str) -> None:
        """Record that `init` was run."""
        (self.folder / INITIALIZED).write_text(self.fingerprint(*inputs), encoding="utf-8")


def state_file(root: Path, stack: str) -> Path:
    """Return the path of a stack's state below `<home>/<target>/<suffix>`, if it is kept locally."""
    return root / "state" / f"{stack}.tfstate"


def read_local(root: Path, stack: str) -> bytes | None:
    """Return a stack's local state; None if there is none."""
    file = state_file(root, stack)
    return file.read_bytes() if file.exists() else None


def is_deployed(root: Path) -> bool:
    """Return whether the local states of an environment contain resources, those of the pipeline's stack included.

    Raises:
        DeploymentError: a state cannot be read.
    """
    return any(read_state(stack, read_local(root, stack)).deployed for stack in (*STACKS, PIPELINE))
