"""The working folder of Terraform: the synthesized stack, and the file that overrides it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.targets.aws import AwsTarget
from healthcare_dr.ops.targets.embedded import EmbeddedTarget
from healthcare_dr.ops.terraform.binary import inspect
from healthcare_dr.ops.terraform.provider_source import prepare_source
from healthcare_dr.ops.terraform.runner import Terraform
from healthcare_dr.ops.terraform.workspace import OVERRIDE, Workspace
from healthcare_dr.settings import load_settings
from unit.ops.fakes import FakeEmulator, Stack, provider_mirror, synthesizing

STACK = "healthcare-dr-primary"
SYNTHESIZED: Stack = {
    "terraform": {
        "backend": {
            "s3": {"bucket": "elsewhere", "key": "k", "region": "us-west-2", "encrypt": True, "use_lockfile": True}
        },
        "required_providers": {"aws": {"source": "aws", "version": ">= 5.100, < 7.0"}},
    },
    "variable": {"unused": {"default": ""}},
}


@pytest.fixture
def mirrored(terraform: Terraform, tmp_path: Path) -> Terraform:
    source = prepare_source(
        terraform=inspect(terraform.binary),
        accepts=lambda version: version == "5.100.0",
        fitting="5.100.0",
        configured=provider_mirror(tmp_path / "mirror", "5.100.0", "6.1.0"),
        environment={},
        tools=tmp_path / "tools",
    )
    environment = {**terraform.environment, "TF_CLI_CONFIG_FILE": str(source.cli_configuration)}
    return replace(terraform, environment=environment)


def prepare(root: Path, tmp_path: Path, override: Mapping[str, Any], document: Stack = SYNTHESIZED) -> Workspace:
    outdir = tmp_path / "synth" / str(len(list(tmp_path.glob("synth/*"))))
    synthesizing({STACK: document})(outdir)
    workspace = Workspace(root=root, stack=STACK)
    workspace.prepare(outdir / "stacks" / STACK, override)
    return workspace


def embedded(root: Path) -> EmbeddedTarget:
    return EmbeddedTarget(emulator=FakeEmulator(home=root).handle, root=root, user_environment={})


def test_synthesized_files_are_copied_unchanged(root: Path, tmp_path: Path) -> None:
    workspace = prepare(root, tmp_path, embedded(root).override(STACK))
    for name in ("cdk.tf.json", "assets/code.zip"):
        original = tmp_path / "synth" / "0" / "stacks" / STACK / name
        assert (workspace.folder / name).read_bytes() == original.read_bytes()


def test_embedded_override_replaces_backend_and_provider_version(
    mirrored: Terraform, root: Path, tmp_path: Path
) -> None:
    workspace = prepare(root, tmp_path, embedded(root).override(STACK))
    mirrored.init(workspace)
    backend = json.loads((workspace.folder / ".terraform" / "terraform.tfstate").read_text())["backend"]
    assert backend["type"] == "local"
    assert (workspace.folder / backend["config"]["path"]).resolve() == workspace.local_state()
    assert 'version     = "5.100.0"' in workspace.lock_file.read_text()


def test_terraform_chooses_another_version_without_the_override(
    mirrored: Terraform, root: Path, tmp_path: Path
) -> None:
    workspace = prepare(root, tmp_path, {"terraform": {"backend": {"local": {"path": "x.tfstate"}}}})
    mirrored.init(workspace)
    assert 'version     = "6.1.0"' in workspace.lock_file.read_text()


@pytest.mark.trap(37)
def test_state_of_aws_is_in_the_region_that_survives(root: Path) -> None:
    def backend(**changes: Any) -> dict[str, Any]:
        settings = load_settings(environment_suffix="ci", state_bucket="states", **changes)
        target = AwsTarget(settings=settings, root=root, user_environment={})
        return dict(target.override(STACK)["terraform"]["backend"]["s3"])

    assert backend() == {
        "bucket": "states",
        "key": f"ci/{STACK}.tfstate",
        "region": "us-west-2",
        "encrypt": True,
        "use_lockfile": True,
    }
    assert backend(primary_region="us-west-2", secondary_region="us-east-1")["region"] == "us-west-2"


def test_exact_version_of_the_settings_is_installed(mirrored: Terraform, root: Path, tmp_path: Path) -> None:
    def override(version: str | None) -> Mapping[str, Any]:
        settings = load_settings(provider_version=version)
        return AwsTarget(settings=settings, root=root, user_environment={}).override(STACK)

    assert "required_providers" not in override(None)["terraform"]
    workspace = prepare(root, tmp_path, override("5.100.0"))
    mirrored.init(workspace)
    assert 'version     = "5.100.0"' in workspace.lock_file.read_text()
    prepare(root, tmp_path, override("6.1.0"))
    with pytest.raises(DeploymentError, match=r"another version of hashicorp/aws than HDR_PROVIDER_VERSION: remove"):
        mirrored.init(workspace)
    workspace.lock_file.unlink()
    mirrored.init(workspace)
    assert 'version     = "6.1.0"' in workspace.lock_file.read_text()


def test_preparing_again_keeps_state_and_removes_stale_files(root: Path, tmp_path: Path) -> None:
    workspace = prepare(root, tmp_path, {"terraform": {}})
    workspace.local_state().write_text("state")
    workspace.lock_file.write_text("lock")
    (workspace.folder / ".terraform").mkdir()
    (workspace.folder / "assets" / "stale.zip").write_text("stale")
    (workspace.folder / "stale.tf.json").write_text("{}")
    prepare(root, tmp_path, {"terraform": {"x": 1}})
    assert workspace.local_state().read_text() == "state"
    assert workspace.lock_file.read_text() == "lock"
    assert (workspace.folder / ".terraform").is_dir()
    assert not (workspace.folder / "assets" / "stale.zip").exists()
    assert not (workspace.folder / "stale.tf.json").exists()
    assert json.loads((workspace.folder / OVERRIDE).read_text()) == {"terraform": {"x": 1}}


def test_state_that_could_not_be_saved_is_kept(root: Path, tmp_path: Path) -> None:
    workspace = prepare(root, tmp_path, {"terraform": {}})
    unsaved = workspace.folder / "errored.tfstate"
    unsaved.write_text("precious")
    with pytest.raises(DeploymentError, match=rf"terraform -chdir={workspace.folder} state push errored\.tfstate") as e:
        prepare(root, tmp_path, {"terraform": {}})
    assert "\n" not in str(e.value)
    assert unsaved.read_text() == "precious"
    unsaved.unlink()
    prepare(root, tmp_path, {"terraform": {}})


def test_states_and_logs_are_readable_by_their_owner_only(terraform: Terraform, root: Path, tmp_path: Path) -> None:
    workspace = prepare(root, tmp_path, {"terraform": {}}, {"variable": {"unused": {"default": ""}}})
    terraform.init(workspace)
    for folder in (workspace.folder, workspace.local_state().parent, workspace.logs):
        assert folder.stat().st_mode & 0o077 == 0


def test_init_runs_again_after_a_change(root: Path, tmp_path: Path) -> None:
    workspace = prepare(root, tmp_path, {"terraform": {"backend": {}}})
    assert not workspace.initialized("terraform")
    (workspace.folder / ".terraform").mkdir()
    workspace.lock_file.write_text("5.100.0")
    workspace.mark_initialized("terraform")
    prepare(root, tmp_path, {"terraform": {"backend": {}}})
    assert workspace.initialized("terraform")

    assert not workspace.initialized("another terraform")
    workspace.lock_file.write_text("6.1.0")
    assert not workspace.initialized("terraform")
    workspace.lock_file.write_text("5.100.0")
    prepare(root, tmp_path, {"terraform": {"backend": {"local": {}}}})
    assert not workspace.initialized("terraform")
    prepare(root, tmp_path, {"terraform": {"backend": {}}}, {**SYNTHESIZED, "terraform": {}})
    assert not workspace.initialized("terraform")
    prepare(root, tmp_path, {"terraform": {"backend": {}}})
    assert workspace.initialized("terraform")
    (workspace.folder / ".terraform" / "gone").symlink_to(tmp_path / "a mirror that is gone")
    assert not workspace.initialized("terraform")
