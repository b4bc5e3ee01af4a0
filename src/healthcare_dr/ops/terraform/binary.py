"""Finds Terraform or OpenTofu, and refuses one that is too old."""

import json
import os
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
    # A version manager's shim needs the user's environment. No CLI configuration: the user's may be missing or slow.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    environment |= {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
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
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{path} does not answer `version -json` as Terraform does: {_reason(error)}") from error
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < MINIMUM:
        raise ToolError(
            f"{path} is version {version}, but 1.10 or newer is needed for lock files in S3: update it, or take it "
            f"off the PATH and Terraform {PINNED_VERSION} is fetched"
        )
    opentofu = path.resolve().name.startswith("tofu") or _says_opentofu(path, environment)
    return TerraformBinary(path=path, version=version, opentofu=opentofu)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = str(error.stderr).strip().splitlines()
        return f"it ended with {error.returncode}" + (f", saying {said[-1].strip()}" if said else "")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not answer within {error.timeout:.0f} s"
    if isinstance(error, KeyError | TypeError):
        return "its answer has no terraform_version"
    return str(error)


def _says_opentofu(path: Path, environment: dict[str, str]) -> bool:
    command: list[str | Path] = [path, "version"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ToolError(f"{path} does not answer `version` as Terraform does: {_reason(error)}") from error
    return run.stdout.startswith("OpenTofu")
