"""Find Terraform or OpenTofu, or download the pinned release of Terraform.

A binary that is too old is rejected. A download is used only if its SHA-256 sum is the published one.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.http import environment_client

if TYPE_CHECKING:
    import httpx


PINNED_VERSION = "1.11.4"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i386": "386"}
BY_HAND = "or install Terraform yourself and put it on the PATH"


def host_platform() -> str:
    """Return `<os>_<arch>` as HashiCorp names releases and provider folders, such as `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{ARCHITECTURES.get(machine, machine)}"


def download(*, base_url: str, destination: Path, say: Callable[[str], None]) -> None:
    """Download the pinned release's executable to `destination`, which only a complete and verified file replaces.

    Raises:
        ToolError: the address does not use TLS, does not respond, lacks the release, or returns other bytes than
            published; or the folder cannot be written.
    """
    base = _safe(base_url)
    try:
        _download(base=base, destination=destination, say=say)
    except OSError as error:
        raise ToolError(
            f"Terraform {PINNED_VERSION} cannot be put into {destination.parent}: {error.strerror or error}; make room "
            f"there, {BY_HAND}"
        ) from error


def _download(*, base: str, destination: Path, say: Callable[[str], None]) -> None:
    import httpx

    archive = f"terraform_{PINNED_VERSION}_{host_platform()}.zip"
    folder = f"{base}/{PINNED_VERSION}"
    destination.parent.mkdir(parents=True, exist_ok=True)
    with (
        environment_client(timeout=30, follow_redirects=True, event_hooks={"request": [_require_safe]}) as client,
        tempfile.TemporaryDirectory(dir=destination.parent, prefix=".fetch-") as scratch,
    ):
        try:
            expected = _published_sum(client, f"{folder}/terraform_{PINNED_VERSION}_SHA256SUMS", archive)
            file = Path(scratch) / archive
            actual = _fetch(client, f"{folder}/{archive}", file, say)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise ToolError(
                f"Terraform {PINNED_VERSION} cannot be fetched from {base}: {error or type(error).__name__}; "
                f"check the network and HDR_TERRAFORM_BASE_URL, {BY_HAND}"
            ) from error
        if actual != expected:
            raise ToolError(
                f"{folder}/{archive} has SHA-256 {actual}, but {expected} is published: it was damaged or tampered "
                f"with, and was deleted; try again, {BY_HAND}"
            )
        _extract(file, Path(scratch) / "terraform", destination)
    say(f"Terraform {PINNED_VERSION} fetched, SHA-256 as published")


def _safe(base_url: str) -> str:
    try:
        address = urlsplit(base_url)
        safe = address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK)
        complete = bool(address.hostname) and address.port != 0
    except ValueError as error:
        raise ToolError(f"HDR_TERRAFORM_BASE_URL={base_url} is no address: {error}") from error
    if not safe:
        raise ToolError(f"HDR_TERRAFORM_BASE_URL={base_url} is refused: a program is fetched over https:// only")
    if not complete:
        raise ToolError(f"HDR_TERRAFORM_BASE_URL={base_url} is no address: it names no host, or port 0")
    return base_url.rstrip("/")


def _require_safe(request: "httpx.Request") -> None:
    """Reject an unsafe address, before each request and each redirect."""
    if request.url.scheme != "https" and request.url.host not in LOOPBACK:
        raise ToolError(
            f"HDR_TERRAFORM_BASE_URL leads to {request.url}, which is refused: a program is fetched over https:// only"
        )


def _published_sum(client: "httpx.Client", url: str, archive: str) -> str:
    response = client.get(url)
    _require_ok(response, url)
    for line in response.text.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].lstrip("*") == archive:
            return parts[0].lower()
    raise ToolError(f"{url} publishes no sum for {archive}: this platform has no such release, {BY_HAND}")


def _fetch(client: "httpx.Client", url: str, file: Path, say: Callable[[str], None]) -> str:
    digest, received, reported = hashlib.sha256(), 0, 0
    with client.stream("GET", url) as response, file.open("wb") as out:
        _require_ok(response, url)
        total = int(response.headers.get("content-length", 0))
        for chunk in response.iter_bytes(1 << 16):
            out.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if total and received * 4 // total > reported:
                reported = received * 4 // total
                say(f"Terraform {PINNED_VERSION}: {reported * 25} % of {total / 1e6:.1f} MB")
    return digest.hexdigest()


def _require_ok(response: "httpx.Response", url: str) -> None:
    if response.status_code != 200:
        raise ToolError(f"{url} answered {response.status_code}: check HDR_TERRAFORM_BASE_URL, {BY_HAND}")


def _extract(archive: Path, binary: Path, destination: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as bundle:
            binary.write_bytes(bundle.read("terraform"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ToolError(f"{archive.name} holds no terraform executable: {error}; {BY_HAND}") from error
    binary.chmod(0o755)
    with binary.open("rb") as written:
        os.fsync(written.fileno())
    binary.replace(destination)


MINIMUM = (1, 10)


@dataclass(frozen=True)
class TerraformBinary:
    """An executable and the version that it printed."""

    path: Path
    version: str
    opentofu: bool

    @property
    def registry(self) -> str:
        """Return the host of short provider sources such as `hashicorp/aws`."""
        return "registry.opentofu.org" if self.opentofu else "registry.terraform.io"


def find_terraform(
    *, configured: Path | None, tools: Path, base_url: str, say: Callable[[str], None]
) -> TerraformBinary:
    """Return the configured binary, or `terraform` or `tofu` from the PATH, or the pinned release below `tools`.

    Raises:
        ToolError: there is no binary and none can be downloaded, or it is older than 1.10.
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
    """Run an executable to read its version.

    Raises:
        ToolError: it does not run, is not Terraform, or is older than 1.10 (the first with S3 lock files).
    """
    # A version manager's shim needs the environment. The user's CLI configuration may be missing or slow.
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
    opentofu = path.resolve().name.startswith("tofu") or _is_opentofu(path, environment)
    return TerraformBinary(path=path, version=version, opentofu=opentofu)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return f"it exited with {error.returncode}" + (f": {lines[-1].strip()}" if lines else "")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not respond within {error.timeout:.0f} s"
    if isinstance(error, KeyError | TypeError):
        return "its output has no terraform_version"
    return str(error)


def _is_opentofu(path: Path, environment: dict[str, str]) -> bool:
    command: list[str | Path] = [path, "version"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ToolError(f"{path} does not answer `version` as Terraform does: {_reason(error)}") from error
    return run.stdout.startswith("OpenTofu")
