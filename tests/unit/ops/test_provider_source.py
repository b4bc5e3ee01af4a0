"""Choose the source of the provider."""

from dataclasses import replace
from pathlib import Path

import pytest

from healthcare_dr.errors import DeploymentError, ToolError
from healthcare_dr.ops.terraform.binary import TerraformBinary, host_platform
from healthcare_dr.ops.terraform.provider_source import ProviderSource, prepare_source, search_path
from healthcare_dr.ops.terraform.runner import Terraform
from healthcare_dr.ops.terraform.workspace import Workspace
from unit.http_server import Response
from unit.ops.conftest import Serving
from unit.ops.fakes import provider_mirror, stack_json, synthesizing

TERRAFORM = TerraformBinary(path=Path("terraform"), version="1.11.4", opentofu=False)
TOFU = TerraformBinary(path=Path("tofu"), version="1.10.0", opentofu=True)
STACK = "healthcare-dr-primary"


def source(tmp_path: Path, binary: TerraformBinary = TERRAFORM, /, **where: Path) -> ProviderSource:
    """Choose a source. `where` are the folders `configured`, `home`, `data` or `opt`."""
    environment = {"HOME": str(where.get("home", tmp_path / "nobody"))}
    if "data" in where:
        environment["XDG_DATA_HOME"] = str(where["data"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("healthcare_dr.ops.terraform.provider_source.OPT", where.get("opt", tmp_path / "no-opt"))
        return prepare_source(
            terraform=binary,
            accepts=lambda version: version == "5.100.0",
            fitting="5.100.0",
            configured=where.get("configured"),
            environment=environment,
            tools=tmp_path / "tools",
        )


def test_terraforms_own_folders_and_those_below_opt_are_searched_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healthcare_dr.ops.terraform.provider_source.OPT", tmp_path / "opt")
    (tmp_path / "opt" / "b").mkdir(parents=True)
    (tmp_path / "opt" / "a").mkdir()
    (tmp_path / "opt" / "file").write_text("")
    found = list(search_path(configured=None, environment={"HOME": "/home/op"}))
    assert found == [
        Path("/home/op/.terraform.d/plugins"),
        Path("/home/op/.local/share/terraform/plugins"),
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        tmp_path / "opt" / "a",
        tmp_path / "opt" / "b",
    ]


@pytest.mark.parametrize("place", ["home", "data", "opt", "configured"])
def test_mirror_is_found_in_each_place(tmp_path: Path, place: str) -> None:
    folders: dict[str, tuple[Path, dict[str, Path]]] = {
        "home": (tmp_path / "h/.terraform.d/plugins", {"home": tmp_path / "h"}),
        "data": (tmp_path / "d/terraform/plugins", {"data": tmp_path / "d"}),
        "opt": (tmp_path / "o/mirror", {"opt": tmp_path / "o"}),
        "configured": (tmp_path / "c", {"configured": tmp_path / "c"}),
    }
    folder, where = folders[place]
    provider_mirror(folder, "5.100.0")
    found = source(tmp_path, **where)
    assert found.mirror == folder
    assert f'path    = "{folder}"' in found.cli_configuration.read_text()


def test_packed_mirror_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "o" / "m" / "registry.terraform.io/hashicorp/aws"
    folder.mkdir(parents=True)
    (folder / f"terraform-provider-aws_5.100.0_{host_platform()}.zip").write_bytes(b"")
    assert source(tmp_path, opt=tmp_path / "o").mirror == tmp_path / "o" / "m"


def test_mirror_with_other_versions_or_platforms_is_ignored(tmp_path: Path) -> None:
    provider_mirror(tmp_path / "o" / "m", "4.0.0")
    (tmp_path / "o/m/registry.terraform.io/hashicorp/aws/5.100.0/plan9_mips").mkdir(parents=True)
    assert source(tmp_path, opt=tmp_path / "o").mirror is None


def test_configured_mirror_without_the_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"HDR_PROVIDER_MIRROR=.* holds nothing of hashicorp/aws .*, but 5\.100\.0 is"):
        source(tmp_path, configured=tmp_path)
    provider_mirror(tmp_path, "4.67.0", "6.1.0")
    with pytest.raises(ToolError, match=r"holds 4\.67\.0, 6\.1\.0 of hashicorp/aws"):
        source(tmp_path, configured=tmp_path)


def test_opentofu_uses_the_mirror_of_terraform_under_its_own_registry(tmp_path: Path) -> None:
    provider_mirror(tmp_path / "o" / "m", "5.100.0")
    for _ in range(2):
        found = source(tmp_path, TOFU, opt=tmp_path / "o")
        assert found.mirror is not None
        programs = found.mirror / "registry.opentofu.org/hashicorp/aws/5.100.0" / host_platform()
        assert [program.name for program in programs.iterdir()] == ["terraform-provider-aws_v5.100.0_x5"]
        assert 'include = ["registry.opentofu.org/hashicorp/aws"]' in found.cli_configuration.read_text()


def test_mirror_of_opentofu_comes_first(tmp_path: Path) -> None:
    provider_mirror(tmp_path / "o" / "m", "5.100.0", registry="registry.opentofu.org")
    provider_mirror(tmp_path / "o" / "m", "5.100.0")
    assert source(tmp_path, TOFU, opt=tmp_path / "o").mirror == tmp_path / "o" / "m"


def initialize(terraform: Terraform, configuration: Path, root: Path, tmp_path: Path, **variables: str) -> Workspace:
    document = stack_json({"a": {}})
    document["terraform"]["required_providers"] = {"aws": {"source": "aws", "version": "5.100.0"}}
    synthesizing({STACK: document})(tmp_path / "synth")
    workspace = Workspace(root=root, stack=STACK)
    workspace.prepare(tmp_path / "synth" / "stacks" / STACK, {"terraform": {}})
    environment = {**terraform.environment, "TF_CLI_CONFIG_FILE": str(configuration), **variables}
    replace(terraform, environment=environment).init(workspace)
    return workspace


def test_init_installs_the_provider_from_the_mirror(terraform: Terraform, root: Path, tmp_path: Path) -> None:
    provider_mirror(tmp_path / "o" / "m", "5.100.0")
    found = source(tmp_path, opt=tmp_path / "o")
    workspace = initialize(terraform, found.cli_configuration, root, tmp_path)
    installed = workspace.folder / ".terraform/providers/registry.terraform.io/hashicorp/aws/5.100.0" / host_platform()
    assert installed.resolve().is_relative_to(tmp_path / "o" / "m")


def with_host(configuration: Path, url: str) -> Path:
    """Return the same configuration with another host as the registry."""
    text = configuration.read_text() + (
        f'host "registry.terraform.io" {{\n  services = {{ "providers.v1" = "{url}/v1/providers/" }}\n}}\n'
    )
    file = configuration.with_name("hosted.tfrc")
    file.write_text(text)
    return file


def test_rejected_registry_request_prints_one_line(
    terraform: Terraform, root: Path, tmp_path: Path, tls: Serving
) -> None:
    registry = tls(lambda _: Response(404, b"{}"))
    found = source(tmp_path)
    assert found.mirror is None
    configuration = with_host(found.cli_configuration, registry.url)
    with pytest.raises(DeploymentError, match=r"hashicorp/aws") as e:
        initialize(terraform, configuration, root, tmp_path, SSL_CERT_FILE=str(registry.authority))
    assert "\n" not in str(e.value)
    assert "GET /v1/providers/hashicorp/aws/versions" in registry.requests


def test_unreachable_registry_prints_one_line_with_the_fix(terraform: Terraform, root: Path, tmp_path: Path) -> None:
    configuration = with_host(source(tmp_path).cli_configuration, "https://127.0.0.1:9")
    with pytest.raises(DeploymentError, match=r"cannot get the provider hashicorp/aws .* HDR_PROVIDER_MIRROR") as e:
        initialize(terraform, configuration, root, tmp_path)
    assert "\n" not in str(e.value)
