"""Compose the operations of a command from its settings."""

import json
import os
import tempfile
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest
from rich.console import Console

from healthcare_dr.emulator.services.control_planes import environment_of
from healthcare_dr.errors import SettingsError
from healthcare_dr.naming import PIPELINE, PRIMARY
from healthcare_dr.ops.bootstrap import (
    deployment_of,
    emulator_of,
    environment_root,
    neighbours,
    open_session,
    target_of,
)
from healthcare_dr.ops.drill.bootstrap import own_hosts
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.workspace import state_file
from healthcare_dr.settings import Settings, load_settings
from unit.ops.fakes import RecordingProgress, provider_mirror


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", environment_suffix="ci", emulator_port=5000)


def test_everything_lies_below_the_home(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert environment_root(settings, "aws") == home / "aws" / "ci"
    emulator = emulator_of(settings)
    assert emulator.certificate.is_relative_to(home / "emulator")
    assert emulator.issuer() == "https://127.0.0.1:5001"


@pytest.mark.parametrize("claim", ["tenant", "https://example.com/tenant"])
def test_embedded_tokens_name_the_tenant_in_the_claim_of_the_settings(tmp_path: Path, claim: str) -> None:
    emulator = emulator_of(load_settings(home=tmp_path / "home", tenant_claim=claim))
    payload = emulator.token(subject="s", tenant="clinic", scopes=["system/*.rs"]).split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    assert claims[claim] == "clinic"
    assert claims.keys() == {"iss", "sub", "aud", "scope", "iat", "exp", "jti", claim}


def test_an_environment_never_shares_a_folder_with_the_emulator(settings: Settings) -> None:
    """Whatever the suffix: `state` and `keys` are allowed ones."""
    assert not environment_root(settings, "embedded").is_relative_to(settings.home / "emulator")


DEPLOYED = b'{"version": 4, "resources": [{"mode": "managed", "instances": [{}]}]}'


def keep_state(settings: Settings, suffix: str, state: bytes, stack: str = PRIMARY) -> None:
    file = state_file(settings.home / "embedded" / suffix, stack)
    file.parent.mkdir(parents=True)
    file.write_bytes(state)


def test_neighbours_are_the_other_environments_that_are_deployed(settings: Settings) -> None:
    keep_state(settings, "ci", DEPLOYED)
    keep_state(settings, "bee", DEPLOYED)
    keep_state(settings, "gone", b'{"version": 4, "resources": []}')
    keep_state(settings, "damaged", b"{")
    keep_state(settings, "roles", DEPLOYED, PIPELINE)
    (settings.home / "embedded" / ".claim").touch()
    (settings.home / "embedded" / "empty").mkdir()
    assert neighbours(settings) == ("bee", "damaged", "roles")


def test_clients_of_an_environment_name_it(settings: Settings) -> None:
    """As the control planes of the embedded AWS look for it."""
    target, sent = target_of(settings, "embedded"), list[str]()

    def stop(request: AWSPreparedRequest, **_: object) -> None:
        agent = request.headers["User-Agent"]
        sent.append(agent if isinstance(agent, str) else agent.decode())
        raise InterruptedError

    for service, call in {"route53": "list_hosted_zones", "iam": "list_roles", "lambda": "list_functions"}.items():
        client = target.client(service, "us-east-1")
        client.meta.events.register("before-send", stop)
        with pytest.raises(InterruptedError):
            getattr(client, call)()
    assert [environment_of({"user-agent": agent}) for agent in sent] == ["ci"] * 3
    appended = target.child_environment()["TF_APPEND_USER_AGENT"]
    assert environment_of({"user-agent": f"aws-sdk-go-v2/1.36 lang/go {appended}"}) == "ci"


@pytest.mark.parametrize("beside", [True, False])
def test_drill_spares_the_neighbours_where_there_are_any(settings: Settings, beside: bool) -> None:
    if beside:
        keep_state(settings, "bee", DEPLOYED)
    hosts = own_hosts(settings, {"PrimaryApiId": "one", "SecondaryApiId": "two"})
    named = {
        "us-east-1": ("one.execute-api.us-east-1.amazonaws.com", "api.healthcare-dr-ci.com"),
        "us-west-2": ("two.execute-api.us-west-2.amazonaws.com", "api.healthcare-dr-ci.com"),
    }
    assert hosts == (named if beside else {})


@pytest.mark.parametrize(("target", "version", "found"), [
    ("embedded", "5.100.0", True), ("embedded", "6.1.0", False),
    ("aws", "5.100.0", True), ("aws", "6.1.0", True), ("aws", "7.0.0", False), ("aws", "5.99.1", False),
])  # fmt: skip
def test_mirror_is_used_if_it_has_an_accepted_version(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, version: str, found: bool
) -> None:
    mirror = provider_mirror(tmp_path / "user" / ".terraform.d" / "plugins", version)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr("healthcare_dr.ops.terraform.provider_source.OPT", tmp_path / "no-opt")
    progress = RecordingProgress()
    deployment = deployment_of(
        settings, target_of(settings, target), progress=progress, interrupts=Interrupts(progress=progress)
    )
    configuration = Path(deployment.terraform.environment["TF_CLI_CONFIG_FILE"])
    assert configuration.is_relative_to(tmp_path / "home")
    assert (str(mirror) in configuration.read_text()) is found
    # Terraform's plugin cache is not safe for several at once.
    assert deployment.parallel_init is found


@pytest.mark.parametrize(("version", "found"), [("5.100.0", True), ("6.1.0", False)])
def test_mirror_without_the_exact_version_is_not_used(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, found: bool
) -> None:
    mirror = provider_mirror(tmp_path / "user" / ".terraform.d" / "plugins", version)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr("healthcare_dr.ops.terraform.provider_source.OPT", tmp_path / "no-opt")
    pinned, progress = settings.model_copy(update={"provider_version": "5.100.0"}), RecordingProgress()
    deployment = deployment_of(
        pinned, target_of(pinned, "aws"), progress=progress, interrupts=Interrupts(progress=progress)
    )
    assert (str(mirror) in Path(deployment.terraform.environment["TF_CLI_CONFIG_FILE"]).read_text()) is found


def test_cli_configuration_of_the_user_is_ignored(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/does/not/exist")
    progress = RecordingProgress()
    for name in ("aws", "embedded"):
        deployment = deployment_of(
            settings, target_of(settings, name), progress=progress, interrupts=Interrupts(progress=progress)
        )
        assert Path(deployment.terraform.environment["TF_CLI_CONFIG_FILE"]).exists()
    assert os.environ["TF_CLI_CONFIG_FILE"] == "/does/not/exist"


def test_unusable_home_prints_one_line(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "file" / "home")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SettingsError, match=r"HDR_HOME=.* cannot be used: Not a directory"),
        open_session(settings, Console()),
    ):
        pass


def test_temporary_folder_that_does_not_exist_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Terraform and Node would use it unchecked."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with open_session(load_settings(home=tmp_path), Console(stderr=True)):
        assert Path(os.environ["TMPDIR"]).is_dir()


def test_temporary_folder_that_can_be_used_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with open_session(load_settings(home=tmp_path / "home"), Console(stderr=True)):
        assert os.environ["TMPDIR"] == str(tmp_path)


def test_machine_without_a_temporary_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with (
        pytest.raises(SettingsError, match="there is no folder for temporary files: set TMPDIR"),
        open_session(load_settings(home=tmp_path), Console(stderr=True)),
    ):
        pass
