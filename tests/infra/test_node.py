"""`hdr synth` on a machine that Node and jsii do not expect: it works, or ends with a message of one line."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsii.errors import JavaScriptError

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra import node
from healthcare_dr.infra.synthesis import _errors_of_node
from healthcare_dr.ops import synthesis
from healthcare_dr.settings import load_settings
from support import run
from unit.emulator.processes import ends

Synth = Callable[..., "subprocess.CompletedProcess[str]"]
ANNOUNCEMENT = "Synthesizing the three stacks"


@pytest.fixture
def hdr_synth(tmp_path: Path) -> Synth:
    """Run `hdr synth` with the packages that jsii has unpacked for this user, since unpacking is slow."""
    unpacked = Path.home() / node.CACHE
    if unpacked.is_dir():
        (tmp_path / "home" / "tools").mkdir(parents=True)
        (tmp_path / "home" / "tools" / "jsii").symlink_to(unpacked, target_is_directory=True)

    def start(*python: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        program = python or ("-m", "healthcare_dr.cli")
        return subprocess.run(
            [sys.executable, *program, "synth", "--out", str(tmp_path / "out")],
            env=run.environment() | {"HDR_HOME": str(tmp_path / "home")} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return start


@pytest.mark.parametrize(
    "environment",
    [
        # Node would never return from creating a folder there.
        {"HOME": "/proc/no-home", "AWS_PROFILE": "no-such-profile"},
        {"HOME": os.devnull, "TMPDIR": "/no-temporary-folder", "NODE_OPTIONS": "--require=/no-such-file.js"},
        {"CDKTF_CONTEXT_JSON": "{", "JSII_RUNTIME": "/no-kernel", node.CACHE_ROOT: f"{os.devnull}/x"}
        | {"JSII_NODE": "", "JSII_DEBUG": "1", "SYNTH_HCL_OUTPUT": "true"},
    ],
    ids=["home that does not exist", "home, temporary folder and NODE_OPTIONS that cannot be used", "toolkit"],
)
def test_synthesis_works_in_a_damaged_environment(
    hdr_synth: Synth, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = hdr_synth(**environment)
    announcement, coverage, *exceptions = done.stderr.splitlines()
    assert (done.returncode, announcement) == (0, ANNOUNCEMENT)
    assert "checked against AWS's service models" in coverage
    assert [line for line in exceptions if not line.startswith("  ")] == []
    assert (tmp_path / "out" / "stacks" / "healthcare-dr-global" / "cdk.tf.json").exists()
    assert not Path("/no-temporary-folder").exists()


@pytest.mark.parametrize(
    ("binary", "message"),
    [
        ("/no-node", "Node (/no-node) cannot be started: No such file or directory"),
        ("/bin/false", "Node (/bin/false) ended with 1"),
        ("killed", "Node (killed) was ended by SIGKILL: allow more memory"),
    ],
)
def test_broken_node_prints_one_line(hdr_synth: Synth, tmp_path: Path, binary: str, message: str) -> None:
    write_script(tmp_path / "killed", "kill -9 $$")
    done = hdr_synth(JSII_NODE=binary, PATH=f"{tmp_path}:{os.environ['PATH']}")
    announcement, line = done.stderr.splitlines()
    assert (done.returncode, announcement) == (1, ANNOUNCEMENT)
    assert line.startswith(f"hdr: {message}")


def test_full_disk_prints_one_line(hdr_synth: Synth) -> None:
    """A limit on the size of files has the effect of a full disk on Python and Node."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from healthcare_dr.cli import app; app()"
    )
    done = hdr_synth("-c", limited)
    message = "hdr: File too large: allow larger files (`ulimit -f unlimited`)"
    assert (done.returncode, done.stderr) == (1, f"{ANNOUNCEMENT}\n{message}\n")


def test_unwritable_cache_prints_one_line(hdr_synth: Synth, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "tools" / "jsii"
    cache.unlink(missing_ok=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("")
    done = hdr_synth(HOME=os.devnull)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [line for line in done.stderr.splitlines() if line.startswith("hdr: ")]
    assert "hdr: synthesis failed: Cannot use the jsii package cache" in done.stderr


def write_script(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Prepare a synthesis with a script as Node, or without Node, and restore the environment afterwards."""
    for name in ("NODE_OPTIONS", "TMPDIR", node.CACHE_ROOT):
        monkeypatch.setenv(name, os.environ.get(name, ""))

    def prepare(script: str | None) -> None:
        if script is not None:
            write_script(tmp_path / "node", script)
        monkeypatch.setenv("JSII_NODE", str(tmp_path / "node"))
        node.prepare(cache=tmp_path)

    return prepare


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, r"cannot be started: No such file or directory; is JSII_NODE right\?"),
        ("exit 1", "ended with 1: without a message"),
        ("echo 'at line 1\nRangeError: too much\nat line 2' >&2; exit 3", "ended with 3: RangeError: too much"),
        ("kill -9 $$", r"was ended by SIGKILL: allow more memory and open files \(.*\)"),
    ],
    ids=["missing", "silent", "error", "killed"],
)
def test_error_contains_nodes_reason(prepare: Callable[[str | None], None], script: str | None, message: str) -> None:
    with pytest.raises(SynthesisError, match=rf"^Node \(.*\) {message}$"):
        prepare(script)


def test_node_that_does_not_respond_is_ended(
    prepare: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "START_SECONDS", 0.2)
    with pytest.raises(SynthesisError, match=r"^Node \(.*\) does not respond within 0 s$"):
        prepare("exec sleep 60")


def test_missing_temporary_folder_prints_one_line(
    prepare: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("healthcare_dr.infra.node.tempfile.gettempdir", fail)
    with pytest.raises(SynthesisError, match=r"^there is no folder for temporary files: set TMPDIR to one"):
        prepare("exit 0")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokenPipeError(), "Node ended before the synthesis was complete: is there enough memory"),
        (RuntimeError("Error: ENOSPC: no space left on device, write"), "synthesis failed: Error: ENOSPC"),
    ],
    ids=["ended", "full disk"],
)
def test_error_of_node_is_one_line(error: Exception, message: str) -> None:
    error.__cause__ = JavaScriptError("stack")  # type: ignore[no-untyped-call] # jsii annotates in part
    with pytest.raises(SynthesisError, match=message), _errors_of_node():
        raise error


def test_other_error_is_not_converted() -> None:
    with pytest.raises(RuntimeError, match="a defect"), _errors_of_node():
        raise RuntimeError("a defect")


def test_synthesis_over_the_time_limit_is_ended_together_with_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This Node ends at once when it is checked, and never afterwards."""
    stuck, pid = tmp_path / "node", tmp_path / "pid"
    write_script(stuck, f'[ "$1" = --eval ] && exit 0\necho $$ > {pid}\nexec sleep 600')
    monkeypatch.setenv("JSII_NODE", str(stuck))

    def check() -> None:
        if pid.exists() and pid.read_text():
            monkeypatch.setattr(synthesis, "LIMIT_SECONDS", 0.0)

    with pytest.raises(SynthesisError, match="the synthesis did not end within 0 s and was ended"):
        synthesis.synthesize(load_settings(home=tmp_path / "home"), tmp_path / "out", check=check)
    assert ends(int(pid.read_text()))


@pytest.mark.parametrize(
    ("name", "usable"),
    [("home", True), ("missing", False), ("file", False), ("shared", False), ("file-in-the-way", False)],
)
def test_cache_of_the_user_is_usable_only_in_a_private_writable_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, usable: bool
) -> None:
    for folder in ("home", "shared", "file-in-the-way"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "file-in-the-way" / node.CACHE.parts[0]).write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / name))
    assert node.usable_cache() is usable


def test_unusable_cache_is_replaced_by_one_below_our_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NODE_OPTIONS", "TMPDIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv(node.CACHE_ROOT, "")
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    node.prepare(cache=tmp_path / "ours")
    assert os.environ[node.CACHE_ROOT] == str(tmp_path / "ours")
    assert os.environ["NODE_OPTIONS"].count("--require") == 1
