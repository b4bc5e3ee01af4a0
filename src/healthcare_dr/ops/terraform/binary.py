"""Finds Terraform or OpenTofu, and refuses one that is too old."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.terraform.download import PINNED_VERSION, download

MINIMUM = (1, 10)


@dataclass(frozen=True)
class TerraformBinary:
    """An executable that was asked for its version."""

    path: Path
    version: str
    opentofu: bool

    @property
    def registry(self) -> str:
        """The host that a short provider source such as `hashicorp/aws` stands for."""
        return "registry.opentofu.org" if self.opentofu else "registry.terraform.io"


def find_terraform(
    *, configured: Path | None, tools: Path, base_url: str, say: Callable[[str], None]
) -> TerraformBinary:
    """The configured one, else `terraform` or `tofu` from the PATH, else the pinned release below `tools`.

    Raises:
        ToolError: when there is none and none can be fetched, or it is older than 1.10.
    """
    if configured is not None:
        found = shutil.which(configured)
        if found is None:
            raise ToolError(f"HDR_TERRAFORM={configured} is not an executable; correct it or leave it out")
        return inspect(Path(found))
    for name in ("terraform", "tofu"):
        if found := shutil.which(name):
            return inspect(Path(found))
    pinned = tools / f"terraform-{PINNED_VERSION}"
    if not pinned.exists():
        say(f"Neither terraform nor tofu is on the PATH: fetching Terraform {PINNED_VERSION}")
        download(base_url=base_url, destination=pinned, say=say)
    return inspect(pinned)


def inspect(path: Path) -> TerraformBinary:
    """Ask an executable for its version.

    Raises:
        ToolError: it does not run, is no Terraform, or is older than 1.10 (the first with S3 lock files).
    """
    # No CLI configuration: the one named by the environment may be missing or slow.
    environment = {"PATH": "/usr/bin:/bin", "CHECKPOINT_DISABLE": "1"}
    try:
        run = subprocess.run(
            [path, "version", "-json"],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=True,
        )
        version = str(json.loads(run.stdout)["terraform_version"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise ToolError(f"{path} does not answer `version -json` as Terraform does: {error}") from error
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < MINIMUM:
        raise ToolError(
            f"{path} is version {version}, but 1.10 or newer is needed for lock files in S3: update it, or take it "
            f"off the PATH and Terraform {PINNED_VERSION} is fetched"
        )
    opentofu = path.resolve().name.startswith("tofu") or _says_opentofu(path, environment)
    return TerraformBinary(path=path, version=version, opentofu=opentofu)


def _says_opentofu(path: Path, environment: dict[str, str]) -> bool:
    run = subprocess.run([path, "version"], capture_output=True, text=True, timeout=60, env=environment, check=False)
    return run.stdout.startswith("OpenTofu")
