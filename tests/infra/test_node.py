"""`hdr synth` on a machine that is not as Node and jsii expect it: it works, or ends in one line."""

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
from healthcare_dr.infra.synthesis import _faults_of_node
from healthcare_dr.ops import synthesis
from healthcare_dr.settings import load_settings
from support import run
from unit.emulator.processes import ends

Synth = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hdr_synth(tmp_path: Path) -> Synth:
    """Runs `hdr synth`; what jsii has unpacked for this user is there for it too, since unpacking takes long."""
    unpacked = Path.home() / node.CACHE
    if unpacked.is_dir():
        (tmp_path / "home" / "tools").mkdir(parents=True)
        (tmp_path / "home" / "tools" / "jsii").symlink_to(unpacked, target_is_directory=True)

    def start(**environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "healthcare_dr.cli", "synth", "--out", str(tmp_path / "out")],
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
        # Node would never return from making a folder there.
        {"HOME": "/proc/no-home"},
        {"HOME": os.devnull, "TMPDIR": "/no-temporary-folder", "NODE_OPTIONS": "--require=/no-such-file.js"},
        {"CDKTF_CONTEXT_JSON": "{", "JSII_RUNTIME": "/no-kernel", node.CACHE_ROOT: f"{os.devnull}/x"}
        | {"JSII_NODE": "", "JSII_DEBUG": "1", "SYNTH_HCL_OUTPUT": "true"},
    ],
    ids=["home that does not exist", "home, temporary folder and NODE_OPTIONS that cannot be used", "toolkit"],
)
def test_synthesis_works_in_a_minimal_environment(
    hdr_synth: Synth, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = hdr_synth(**environment)
    assert (done.returncode, done.stderr) == (0, "Synthesizing the three stacks\n")
    assert (tmp_path / "out" / "stacks" / "healthcare-dr-global" / "cdk.tf.json").exists()
    assert not Path("/no-temporary-folder").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"JSII_NODE": "/no-node"}, "hdr: Node (/no-node) cannot be started: No such file or directory"),
        ({"JSII_NODE": "/bin/false"}, "hdr: Node (/bin/false) ended with 1"),
        ({"JSII_NODE": "killed"}, "hdr: Node (killed) was ended by SIGKILL: allow more memory"),
    ],
)
def test_broken_node_prints_one_line(hdr_synth: Synth, tmp_path: Path, environment: dict[str, str], said: str) -> None:
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    done = hdr_synth(**environment)
    assert done.returncode == 1
    told, line = done.stderr.splitlines()
    assert told == "Synthesizing the three stacks"
    assert line.startswith(said)


def test_full_disk_prints_one_line(hdr_synth: Synth, tmp_path: Path) -> None:
    """A limit on the size of files does to Python and Node what a full disk does."""
    synthesize = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from healthcare_dr.cli import app; app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", synthesize, "synth", "--out", str(tmp_path / "out")],
        env=run.environment() | {"HDR_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "Synthesizing the three stacks\nhdr: File too large: allow larger files (`ulimit -f unlimited`)\n"
    )


def test_unwritable_cache_prints_one_line(hdr_synth: Synth, tmp_path: Path) -> None:
    cache = tmp_path / "home" / "tools" / "jsii"
    cache.unlink(missing_ok=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("")
    done = hdr_synth(HOME=os.devnull)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [line for line in done.stderr.splitlines() if line.startswith("hdr: ")]
    assert "hdr: synthesis failed: Cannot use the jsii package cache" in done.stderr


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Prepares a synthesis with a script as Node, or with none; what that sets is set back."""
    for name in ("NODE_OPTIONS", "TMPDIR", node.CACHE_ROOT):
        monkeypatch.setenv(name, os.environ.get(name, ""))

    def prepare(script: str | None) -> None:
        own = tmp_path / "node"
        if script is not None:
            own.write_text(f"#!/bin/sh\n{script}\n")
            own.chmod(0o755)
        monkeypatch.setenv("JSII_NODE", str(own))
        node.prepare(cache=tmp_path)

    return prepare


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, r"cannot be started: No such file or directory; is JSII_NODE right\?"),
        ("exit 1", "ended with 1: it says nothing"),
        ("echo 'at line 1\nRangeError: too much\nat line 2' >&2; exit 3", "ended with 3: RangeError: too much"),
        ("kill -9 $$", r"was ended by SIGKILL: allow more memory and open files \(.*\)"),
    ],
    ids=["missing", "silent", "error", "killed"],
)
def test_error_contains_nodes_reason(prepare: Callable[[str | None], None], script: str | None, said: str) -> None:
    with pytest.raises(SynthesisError, match=rf"^Node \(.*\) {said}$"):
        prepare(script)


def test_node_that_never_answers_is_given_up(
    prepare: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "FIRST_ANSWER_SECONDS", 0.2)
    with pytest.raises(SynthesisError, match=r"^Node \(.*\) does not answer within 0 s$"):
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
    ("fault", "said"),
    [
        (BrokenPipeError(), "Node ended before the synthesis was done: is there enough memory"),
        (RuntimeError("Error: ENOSPC: no space left on device, write"), "synthesis failed: Error: ENOSPC"),
    ],
    ids=["ended", "full disk"],
)
def test_missing_dependency_of_node_prints_one_line(fault: Exception, said: str) -> None:
    fault.__cause__ = JavaScriptError("stack")  # type: ignore[no-untyped-call] # jsii annotates in part
    with pytest.raises(SynthesisError, match=said), _faults_of_node():
        raise fault


def test_any_other_error_of_javascript_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="of ours"), _faults_of_node():
        raise RuntimeError("of ours")


def test_synthesis_that_does_not_end_is_ended_together_with_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stand-in answers when it is tried, and never again."""
    stuck, pid = tmp_path / "node", tmp_path / "pid"
    stuck.write_text(f'#!/bin/sh\n[ "$1" = --eval ] && exit 0\necho $$ > {pid}\nexec sleep 600\n')
    stuck.chmod(0o755)
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
def test_cache_of_the_user_is_used_only_where_jsii_can_use_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, usable: bool
) -> None:
    for folder in ("home", "shared", "file-in-the-way"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "file-in-the-way" / node.CACHE.parts[0]).write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / name))
    assert node.usable_cache() is usable


def test_cache_below_our_home_takes_the_place_of_one_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("NODE_OPTIONS", "TMPDIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv(node.CACHE_ROOT, "")
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    node.prepare(cache=tmp_path / "ours")
    assert os.environ[node.CACHE_ROOT] == str(tmp_path / "ours")
    assert os.environ["NODE_OPTIONS"].count("--require") == 1
