"""The `hdr` command: help, exit codes, and one line for every error."""

import base64
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
import typer
from bench.ports import free_port

from healthcare_dr import __version__
from healthcare_dr.cli import app
from healthcare_dr.cli.common import TargetName, err, handle_errors, report
from healthcare_dr.cli.seed import print_seeded
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.progress import LiveProgress
from healthcare_dr.ops.seed.load import SeedResult
from healthcare_dr.ops.terraform.interrupts import Interrupted
from unit.command import Run, only_line

ROOT = Path(__file__).parents[2]
IN_REGION = ("drain", "restore")
COMMANDS = tuple(
    name for info in app.registered_commands if info.callback and (name := info.callback.__name__) not in IN_REGION
)
INTERRUPTED = "hdr: interrupted; the same command goes on from where it stopped\n"
NO_PROFILE = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def test_help_names_every_command(hdr: Run) -> None:
    result = hdr("--help")
    assert result.exit_code == 0
    for name in COMMANDS + IN_REGION:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS + IN_REGION)
def test_every_command_has_help_and_is_documented(hdr: Run, name: str) -> None:
    result = hdr(name, "--help")
    assert result.exit_code == 0
    assert "--help" in result.stdout
    assert f"`hdr {name}" in (ROOT / "docs" / "commands.md").read_text()


def test_version_is_printed(hdr: Run) -> None:
    assert hdr("--version").stdout == f"hdr {__version__}\n"


def test_unknown_command_is_wrong_usage(hdr: Run) -> None:
    assert hdr("dpeloy").exit_code == 2


@pytest.mark.requirement("D7")
@pytest.mark.parametrize("name", COMMANDS + IN_REGION)
def test_invalid_setting_prints_one_line_and_exits_with_2(hdr: Run, name: str) -> None:
    result = hdr(name, *(["us-east-1"] if name in IN_REGION else []), ENVIRONMENT_SUFFIX="Not Allowed")
    assert result.exit_code == SettingsError.exit_code == 2
    assert only_line(result).startswith("hdr: ENVIRONMENT_SUFFIX='Not Allowed' is not allowed: it must be")
    assert result.stdout == ""


def test_unknown_setting_is_refused(hdr: Run) -> None:
    assert "did you mean HDR_DNS_TTL?" in only_line(hdr("status", HDR_DNS_TTLS="10"))


def test_token_is_the_only_output_on_stdout(hdr: Run) -> None:
    result = hdr("token", "--tenant", "clinic", "--scope", "user/Patient.r", "--lifetime", "60")
    assert result.exit_code == 0
    assert result.stderr == ""
    header, payload, signature = result.stdout.strip().split(".")
    assert all((header, payload, signature))


def test_token_grants_the_whole_api_by_default(hdr: Run) -> None:
    payload = hdr("token").stdout.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["scope"].split() == [
        "system/Patient.cruds",
        "system/DocumentReference.cruds",
        "system/AuditEvent.s",
    ]


ENDPOINT = {"AWS_ENDPOINT_URL": "https://127.0.0.1:4566"}
STOPPED = "the embedded AWS does not run: start it and deploy to it with `hdr up`"
OTHER_SERVICE = "AWS_ENDPOINT_URL is set, so this would not be AWS"
INVALID_VARIABLE = "an AWS_* variable or an entry of the AWS profile is wrong: "


@pytest.mark.parametrize(
    ("command", "variables", "message"),
    [
        ("plan", {}, STOPPED),
        ("deploy", {}, STOPPED),
        ("destroy", {}, STOPPED),
        ("seed", {}, STOPPED),
        ("seed --tenant a#b", {}, "--tenant 'a#b' is not allowed"),
        ("seed --target aws --tenant a", {}, "--tenant is for the embedded AWS"),
        ("seed --target aws", {}, "the APIs require IAM signatures, which `hdr seed --target aws` does not make"),
        ("plan --plans .env", {}, ".env cannot be made a folder for the plans: File exists"),
        *((f"{name} --target aws", ENDPOINT, OTHER_SERVICE) for name in ("plan", "deploy", "destroy", "status")),
        ("outputs --target aws", {**ENDPOINT, "HDR_STATE_BUCKET": "states"}, OTHER_SERVICE),
        # A local state is read without AWS.
        (
            "outputs --target aws --json",
            ENDPOINT,
            "nothing is deployed to aws with the suffix dev: begin with `hdr dep",
        ),
        ("deploy --target aws", {"AWS_EC2_METADATA_DISABLED": "true"}, "there are no AWS credentials"),
        *(
            (f"destroy --confirm prod{target}", {}, "nothing was destroyed: --confirm prod is not the suffix of this")
            for target in ("", " --target aws")
        ),
        # Without credentials: a suffix that fits is no error.
        ("destroy --target aws --confirm dev", {"AWS_EC2_METADATA_DISABLED": "true"}, "there are no AWS credentials"),
        ("plan --target aws", {"AWS_METADATA_SERVICE_TIMEOUT": "soon"}, INVALID_VARIABLE),
        ("plan --target aws", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://metadata.example.org"}, INVALID_VARIABLE),
    ],
)
def test_command_that_cannot_run_prints_one_line(
    hdr: Run, tmp_path: Path, command: str, variables: dict[str, str], message: str
) -> None:
    (tmp_path / ".env").write_text("")
    result = hdr(*command.split(), **(NO_PROFILE | variables))
    wrong_usage = command.startswith("seed --") or "--confirm prod" in command
    assert (result.exit_code, result.stdout) == (2 if wrong_usage else 1, "")
    assert only_line(result).startswith(f"hdr: {message}")


def test_approval_does_not_replace_the_confirmation_of_a_destruction(hdr: Run) -> None:
    assert hdr("destroy", "--target", "aws", "--auto-approve").exit_code == 2


def test_token_of_a_seed_is_neither_a_setting_nor_an_argument(hdr: Run) -> None:
    issuer = {"HDR_OIDC_ISSUER": "https://issuer.example.org", "AWS_ENDPOINT_URL": "https://127.0.0.1:4566"}
    assert only_line(hdr("seed", "--target", "aws", **issuer)).startswith(
        "hdr: HDR_TOKEN is not set: put a token of https://issuer.example.org with the scopes system/Patient.cruds"
    )
    with_token = hdr("seed", "--target", "aws", **issuer, HDR_TOKEN="a.b.c")
    assert only_line(with_token).startswith("hdr: AWS_ENDPOINT_URL is set, so this would not be AWS")
    assert hdr("seed", "--token", "a.b.c").exit_code == 2


@pytest.mark.parametrize("option", ["--patients", "--concurrency", "--documents", "--seed"])
def test_number_out_of_range_is_wrong_usage(hdr: Run, option: str) -> None:
    assert hdr("seed", option, "-1").exit_code == 2


@pytest.mark.parametrize(("target", "label"), [(TargetName.EMBEDDED, " (embedded)"), (TargetName.AWS, "")])
def test_seed_prints_counts_and_rates(capsys: pytest.CaptureFixture[str], target: TargetName, label: str) -> None:
    seeded = SeedResult(
        patients=100, documents=200, document_bytes=123_456, seconds=10.0, patients_per_second=10.0,
        documents_per_second=20.0, retries=3, regions={"us-east-1": 71, "us-west-2": 29},
    )  # fmt: skip
    print_seeded(seeded, target)
    assert capsys.readouterr().out.splitlines() == [
        "100 patients and 200 documents (123.5 kB) in 10.0 s",
        f"10.0 patients and 20.0 documents a second{label}",
        "us-east-1 71, us-west-2 29; 3 calls repeated",
    ]


def test_command_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "healthcare_dr.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"hdr {__version__}\n"


@pytest.mark.parametrize("options", [(), ("--json",), ("--outputs-file", "cfn-outputs/flat-outputs.json")])
def test_nothing_deployed_has_no_outputs(hdr: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = hdr("outputs", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        only_line(result) == "hdr: nothing is deployed to embedded with the suffix dev: begin with `hdr up`, "
        "or name another with ENVIRONMENT_SUFFIX"
    )
    assert not (tmp_path / "cfn-outputs").exists()


def test_nothing_deployed_is_not_healthy(hdr: Run) -> None:
    result = hdr("status", "--json")
    assert result.exit_code == 1
    status = json.loads(result.stdout)
    assert (status["healthy"], status["running"]) == (False, False)
    assert [region["health"] for region in status["regions"]] == ["not deployed", "not deployed"]
    assert "not deployed" in hdr("status").stdout


@pytest.mark.parametrize(
    ("further", "address", "kind"),
    [
        (0, "127.0.0.1", socket.SOCK_STREAM),
        (1, "127.0.0.1", socket.SOCK_STREAM),
        (2, "127.0.0.3", socket.SOCK_STREAM),
        (3, "127.0.0.1", socket.SOCK_STREAM),
        (3, "127.0.0.1", socket.SOCK_DGRAM),
    ],
)
def test_used_port_prints_one_line(hdr: Run, further: int, address: str, kind: int) -> None:
    port = free_port()
    with socket.socket(type=kind) as other:
        other.bind((address, port + further))
        if kind == socket.SOCK_STREAM:
            other.listen()
        result = hdr("up", HDR_EMULATOR_PORT=str(port))
    assert (result.exit_code, result.stdout) == (1, "")
    assert only_line(result) == (
        f"hdr: port {port + further} on {address} cannot be used (Address already in use): end what listens there, "
        "or choose another with HDR_EMULATOR_PORT"
    )


def test_missing_loopback_address_prints_one_line(hdr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 127.0.0.2 on macOS; the address is one for documentation (RFC 5737)."""
    monkeypatch.setattr(Ports, "edge_addresses", {"us-east-1": "192.0.2.1"})
    result = hdr("up", HDR_EMULATOR_PORT=str(free_port()))
    assert result.exit_code == 1
    assert "add it with `sudo ifconfig lo0 alias 192.0.2.1` (macOS)" in only_line(result)


@pytest.mark.parametrize("name", ["plan", "conflicts", "drill", "outputs"])
def test_commands_in_a_hint_name_the_environment(hdr: Run, name: str) -> None:
    hinted = only_line(hdr(name, ENVIRONMENT_SUFFIX="bee"))
    assert "`ENVIRONMENT_SUFFIX=bee hdr up`" in hinted
    assert "`hdr " not in hinted
    assert "`hdr up`" in only_line(hdr(name))


def test_hint_names_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT_SUFFIX", "bee")
    LiveProgress(console=err).say("see `hdr status`")
    assert capsys.readouterr().err == "see `ENVIRONMENT_SUFFIX=bee hdr status`\n"


@pytest.mark.parametrize("lifetime", ["0", "86401", "99999999999999"])
def test_lifetime_of_more_than_a_day_is_wrong_usage(hdr: Run, lifetime: str) -> None:
    assert hdr("token", "--lifetime", lifetime).exit_code == 2


@pytest.mark.parametrize("name", ["status", "outputs", "up", "token"])
@pytest.mark.parametrize("home", ["file", "file/home"])
def test_home_that_is_a_file_prints_one_line(hdr: Run, tmp_path: Path, name: str, home: str) -> None:
    (tmp_path / "file").write_text("")
    result = hdr(name, HDR_HOME=home)
    assert result.exit_code == 2
    assert (
        only_line(result)
        == f"hdr: HDR_HOME='{home}' is not allowed: it must be a folder, or a path where a folder can be created"
    )


def test_file_is_refused_as_the_folder_of_the_synthesis(hdr: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = hdr("synth", "--out", "file")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "hdr: file cannot be made a folder: File exists"


def test_exit_codes_follow_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in (
        (DeploymentError("x"), 1),
        (SettingsError("x"), 2),
        (Interrupted(signal.SIGTERM), 143),
        (Interrupted(signal.SIGINT), 130),
        (KeyboardInterrupt(), 130),
    ):

        def fail(error: BaseException = error) -> None:
            raise error

        with pytest.raises(typer.Exit) as left:
            handle_errors(fail)()
        assert left.value.exit_code == code
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "hdr: No space left on device: make room on the disk of HDR_HOME ",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "/of/another"),
            "hdr: /of/another: Permission denied: let this user write there, or choose another place with HDR_HOME",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "hdr: Too many open files: allow more open files"),
        (TimeoutError(), "hdr: TimeoutError: fix that, and try again"),
    ],
)
def test_error_of_the_operating_system_prints_one_line(
    capsys: pytest.CaptureFixture[str], error: OSError, message: str
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(typer.Exit) as left:
        handle_errors(fail)()
    assert left.value.exit_code == 1
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


def test_defect_is_shown_as_a_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        handle_errors(fail)()


def test_help_and_tokens_do_not_load_the_heavy_parts() -> None:
    script = (
        "import sys, healthcare_dr.cli; heavy = {'cdktn', 'jsii', 'boto3', 'botocore', 'ministack', 'uvicorn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["drill.bootstrap", "slo.measured", "drain.bootstrap", "verify.checks"])
def test_operations_do_not_start_node(module: str) -> None:
    script = f"import sys, healthcare_dr.ops.{module}; print(sorted({{'cdktn', 'jsii'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@contextmanager
def waiting_command(home: Path, body: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command in a process of its own. `body` is the code in its session."""
    script = (
        "import threading, time\n"
        "from healthcare_dr.cli import common as cli\n"
        "@cli.command\n"
        "def wait() -> None:\n"
        "    with cli.session():\n"
        f"{textwrap.indent(body, ' ' * 8)}\n"
        "cli.app(['wait'])\n"
    )
    environment = {"PATH": os.environ["PATH"], "HDR_HOME": str(home)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, env=environment, text=True) as child:
        yield child


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_exits_with_130_and_one_line(tmp_path: Path, times: int) -> None:
    """The second signal arrives while the command cleans up."""
    body = f"""\
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("cleaning", flush=True)
    time.sleep({60 * (times - 1)})
"""
    with waiting_command(tmp_path, body) as child:
        assert child.stdout is not None
        for line in ("ready\n", "cleaning\n")[:times]:
            assert child.stdout.readline() == line
            child.send_signal(signal.SIGINT)
        _, printed = child.communicate(timeout=30)
    assert (child.returncode, printed) == (130, INTERRUPTED)


def test_another_ctrl_c_at_the_end_shows_no_traceback(tmp_path: Path) -> None:
    """Python waits for a thread that does not end."""
    body = """\
threading.Thread(target=time.sleep, args=[60]).start()
print("ready", flush=True)
time.sleep(60)
"""
    with waiting_command(tmp_path, body) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline() == INTERRUPTED
        child.send_signal(signal.SIGINT)
        _, printed = child.communicate(timeout=30)
    assert (child.returncode, printed) == (-signal.SIGINT, "")


@pytest.mark.parametrize("arguments", [("drill", "a\nb"), ("slo", "--drills", "a\nb"), ("slo", "--inputs", "a\x1bb")])
def test_name_with_a_line_break_is_escaped(hdr: Run, arguments: tuple[str, ...]) -> None:
    result = hdr(*arguments)
    assert result.exit_code == 2
    assert only_line(result).startswith(("hdr: a\\nb ", "hdr: a\\x1bb "))


@pytest.mark.parametrize("arguments", [("drill",), ("slo", "--inputs")])
@pytest.mark.parametrize("kind", ["pipe without a writer", "endless"])
def test_endless_file_prints_one_line(hdr: Run, tmp_path: Path, arguments: tuple[str, ...], kind: str) -> None:
    file = tmp_path / "input"
    if kind == "endless":
        file.symlink_to("/dev/zero")
    else:
        os.mkfifo(file)
    result = hdr(*arguments, str(file))
    assert result.exit_code == 2
    only_line(result)


@pytest.mark.parametrize(
    "value", ["!!bool perhaps", "!!timestamp soon", "!!int x", "!!float 1:x", "!!binary x", "!!omap x", "!!map x"]
)
def test_value_that_contradicts_its_tag_prints_one_line(hdr: Run, tmp_path: Path, value: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"title: {value}\n")
    for arguments in (("drill",), ("slo", "--inputs")):
        result = hdr(*arguments, str(file))
        assert result.exit_code == 2
        assert "is not YAML" in only_line(result)


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_token_key_prints_one_line(hdr: Run, tmp_path: Path, content: str) -> None:
    key = tmp_path / ".hdr" / "emulator" / "keys" / "token.key"
    key.parent.mkdir(parents=True)
    key.write_text(content)
    result = hdr("token")
    assert result.exit_code == 1
    assert "token.key contains no key that signs tokens: stop the embedded AWS with `hdr down --keep`" in only_line(
        result
    )


@pytest.mark.parametrize(
    ("text", "expected_text"),
    [
        ("run `hdr drill heal`", "run `hdr drill heal --target aws`"),
        ("(`hdr up` or `hdr deploy`)", "(`hdr up` or `hdr deploy --target aws`)"),
        ("`hdr deploy --target aws`, then `hdr verify`", "`hdr deploy --target aws`, then `hdr verify --target aws`"),
        ("`hdr restore REGION`", "`hdr restore REGION --target aws`"),
        ("see `hdr drill schema`, `hdr down --keep`", "see `hdr drill schema`, `hdr down --keep`"),
    ],
)
@pytest.mark.parametrize("suffix", ["dev", "bee"])
def test_commands_in_a_message_name_the_target(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, expected_text: str, suffix: str
) -> None:
    """Without the target, `hdr drill heal` heals the embedded AWS."""
    monkeypatch.setenv("ENVIRONMENT_SUFFIX", suffix)

    def fail(target: TargetName) -> None:
        report({"mend": text})
        raise DeploymentError(text)

    for target, expected in ((TargetName.AWS, expected_text), (TargetName.EMBEDDED, text)):
        with pytest.raises(typer.Exit):
            handle_errors(fail)(target=target)
        named = expected if suffix == "dev" else expected.replace("`hdr", "`ENVIRONMENT_SUFFIX=bee hdr")
        printed = capsys.readouterr()
        assert printed.err == f"hdr: {named}\n"
        assert json.loads(printed.out) == {"mend": named}
