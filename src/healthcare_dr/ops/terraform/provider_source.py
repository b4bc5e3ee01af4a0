"""Choose the source of the provider: a local mirror if there is one, else the registry.

Layouts of a mirror as Terraform documents them for `filesystem_mirror`: unpacked
`<dir>/<registry>/hashicorp/aws/<version>/<os>_<arch>/`, or packed
`<dir>/<registry>/hashicorp/aws/terraform-provider-aws_<version>_<os>_<arch>.zip`.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from healthcare_dr.errors import ToolError
from healthcare_dr.ops.terraform.binary import TerraformBinary, host_platform

PROVIDER = "hashicorp/aws"
HASHICORP_REGISTRY = "registry.terraform.io"
OPT = Path("/opt")


@dataclass(frozen=True)
class ProviderSource:
    """The CLI configuration of Terraform, and the mirror that it names, if any."""

    cli_configuration: Path
    mirror: Path | None


def search_path(*, configured: Path | None, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders that may be a mirror: the configured one only, or Terraform's own and those below `/opt`."""
    if configured is not None:
        yield configured
        return
    home = Path(environment.get("HOME", "/"))
    yield home / ".terraform.d" / "plugins"
    data = environment.get("XDG_DATA_HOME")
    yield (Path(data) if data else home / ".local" / "share") / "terraform" / "plugins"
    yield Path("/usr/local/share/terraform/plugins")
    yield Path("/usr/share/terraform/plugins")
    if OPT.is_dir():
        yield from sorted(folder for folder in OPT.iterdir() if folder.is_dir())


def versions_in(mirror: Path, registry: str) -> tuple[str, ...]:
    """Return the provider's versions in a folder for this platform."""
    folder, platform = mirror / registry / PROVIDER, host_platform()
    unpacked = {path.parent.name for path in folder.glob(f"*/{platform}") if path.is_dir()}
    packed = {
        name[1]
        for path in folder.glob(f"*_{platform}.zip")
        if (name := re.fullmatch(rf"terraform-provider-aws_(.+)_{platform}\.zip", path.name))
    }
    return tuple(sorted(unpacked | packed))


def prepare_source(
    *,
    terraform: TerraformBinary,
    accepts: Callable[[str], bool],
    fitting: str,
    configured: Path | None,
    environment: Mapping[str, str],
    tools: Path,
) -> ProviderSource:
    """Write a CLI configuration of the project below `tools`; the user's own configuration is not used.

    `fitting` describes the versions that `accepts` takes, for error messages.

    Raises:
        ToolError: the configured mirror does not contain the provider.
    """
    tools.mkdir(parents=True, exist_ok=True)
    for folder in search_path(configured=configured, environment=environment):
        for registry in dict.fromkeys((terraform.registry, HASHICORP_REGISTRY)):
            if any(accepts(version) for version in versions_in(folder, registry)):
                mirror = folder.resolve()
                if registry != terraform.registry:
                    mirror = _alias(mirror, registry, terraform.registry, tools)
                return ProviderSource(cli_configuration=_write(tools, _from(mirror, terraform)), mirror=mirror)
    if configured is not None:
        registries = dict.fromkeys((terraform.registry, HASHICORP_REGISTRY))
        there = ", ".join(dict.fromkeys(v for registry in registries for v in versions_in(configured, registry)))
        raise ToolError(
            f"HDR_PROVIDER_MIRROR={configured} holds {there or 'nothing'} of {PROVIDER} for {host_platform()}, but "
            f"{fitting} is needed: put it at {terraform.registry}/{PROVIDER}/<version>/{host_platform()}/ below it"
        )
    cache = tools / "providers"
    cache.mkdir(exist_ok=True)
    content = f"plugin_cache_dir = {json.dumps(str(cache.resolve()))}\nprovider_installation {{\n  direct {{}}\n}}\n"
    return ProviderSource(cli_configuration=_write(tools, content), mirror=None)


def _alias(mirror: Path, registry: str, wanted: str, tools: Path) -> Path:
    """Return a mirror of links with the same files under OpenTofu's registry name.

    OpenTofu's registry serves HashiCorp's own builds of the provider, so the bytes are the same.
    """
    link = tools / "mirror" / wanted / PROVIDER
    link.parent.mkdir(parents=True, exist_ok=True)
    shown = mirror / registry / PROVIDER
    if not link.is_symlink() or link.readlink() != shown:
        link.unlink(missing_ok=True)
        link.symlink_to(shown, target_is_directory=True)
    return (tools / "mirror").resolve()


def _from(mirror: Path, terraform: TerraformBinary) -> str:
    source = json.dumps(f"{terraform.registry}/{PROVIDER}")
    return (
        "provider_installation {\n"
        f"  filesystem_mirror {{\n    path    = {json.dumps(str(mirror))}\n    include = [{source}]\n  }}\n"
        f"  direct {{\n    exclude = [{source}]\n  }}\n"
        "}\n"
    )


def _write(tools: Path, content: str) -> Path:
    """Replace the file atomically, because commands of other environments may read it."""
    file = (tools / "terraform.tfrc").resolve()
    staging = file.with_suffix(f".{os.getpid()}")
    staging.write_text(content, encoding="utf-8")
    staging.replace(file)
    return file
