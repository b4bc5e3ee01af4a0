"""`hdr` in a process that its caller has damaged: closed and full streams, variables that steer Python."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import run

HDR = str(Path(sys.executable).with_name("hdr"))
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
TO_STDOUT = (("--version",), ("--help",), ("drill", "list"), ("drill", "schema"), ("status", "--json"), ("token",))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return run.environment() | {"HDR_HOME": str(tmp_path / "home")}


@pytest.fixture
def full() -> Iterator[int]:
    """A file on a full disk."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@FULL
@pytest.mark.parametrize("arguments", TO_STDOUT, ids=" ".join)
def test_full_standard_output_prints_one_line(
    environment: dict[str, str], full: int, arguments: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [HDR, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (
        1,
        "hdr: standard output cannot be written (No space left on device): send it where all of it fits\n",
    )


@pytest.mark.parametrize("arguments", TO_STDOUT[2:], ids=" ".join)
def test_closed_pipe_prints_one_line(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [HDR, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (
        1,
        "hdr: standard output cannot be written (Broken pipe): send it where all of it fits\n",
    )


@pytest.mark.parametrize("arguments", TO_STDOUT, ids=" ".join)
def test_closed_standard_output_prints_one_line(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", HDR, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "hdr: standard output is closed: leave it open, or send it to a file or /dev/null\n",
    )


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_other_closed_streams_do_no_harm(environment: dict[str, str], closed: str) -> None:
    script = f'exec "$@" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", HDR, "status"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "embedded AWS: stopped" in done.stdout


@FULL
@pytest.mark.parametrize(("arguments", "code"), [(("drill", "list"), 0), (("plan",), 1), (("drill", "heal"), 0)])
def test_standard_error_that_takes_nothing_changes_no_result(
    environment: dict[str, str], full: int, arguments: tuple[str, ...], code: int
) -> None:
    done = subprocess.run(
        [HDR, *arguments], stdout=subprocess.PIPE, stderr=full, env=environment, check=False, timeout=60
    )
    assert (done.returncode, bool(done.stdout)) == (code, code == 0)


def test_variables_that_steer_python_are_left_to_other_programs(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise RuntimeError('another typer than ours')\n")
    steering = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONWARNINGS": "error",
        "PYTHONINSPECT": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
    }
    run_with = environment | steering
    done = subprocess.run([HDR, "status"], capture_output=True, text=True, env=run_with, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "embedded AWS: stopped" in done.stdout


def test_sign_that_standard_output_cannot_show_is_escaped(environment: dict[str, str]) -> None:
    """In the locale C, with which Python would otherwise use UTF-8: PEP 538 and PEP 540."""
    script = "import sys; from healthcare_dr import startup; startup._open_streams(); print('\\u2503 \\xb7')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env=environment | {"PYTHONIOENCODING": "ascii"},
        check=True,
        timeout=60,
    )
    assert done.stdout == b"\\u2503 \\xb7\n"


@pytest.mark.parametrize("columns", ["0", "00"])
def test_terminal_without_room_hides_neither_reports_nor_errors(environment: dict[str, str], columns: str) -> None:
    sized = environment | {"COLUMNS": columns, "LINES": "0"}
    status, plan = (
        subprocess.run([HDR, name], capture_output=True, text=True, env=sized, check=False, timeout=60)
        for name in ("status", "plan")
    )
    assert "embedded AWS: stopped" in status.stdout
    assert plan.stderr == "hdr: the embedded AWS does not run: start it and deploy to it with `hdr up`\n"


@FULL
def test_standard_error_that_takes_nothing_stops_no_synthesis(
    environment: dict[str, str], full: int, tmp_path: Path
) -> None:
    """A new process flushes standard error before it starts."""
    done = subprocess.run(
        [HDR, "synth", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=full,
        env=environment,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0
    assert done.stdout.count(b"cdk.tf.json") == 3


def test_removed_folder_prints_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    del environment["HDR_HOME"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", HDR, "status"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=gone,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    # Some shells report it as well, before they read the first line of bin/hdr.
    *shell, line = done.stderr.splitlines()
    assert line == "hdr: the current folder has been removed: change to one that exists"
    assert all("getcwd" in each for each in shell)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONHOME", "/nonexistent"),
        ("PYTHONIOENCODING", "bogus"),
        ("PYTHONUTF8", "7"),
        ("PYTHONHASHSEED", "bogus"),
        ("PYTHONMALLOC", "bogus"),
        ("PYTHONEXECUTABLE", "/nonexistent"),
        ("PYTHONMALLOCSTATS", "1"),
    ],
)
def test_variables_that_end_python_at_its_start_do_no_harm(
    environment: dict[str, str], tmp_path: Path, name: str, value: str
) -> None:
    link = tmp_path / "hdr"
    link.symlink_to(HDR)
    for called in (HDR, str(link)):
        done = subprocess.run(
            [called, "status"],
            capture_output=True,
            text=True,
            env=environment | {"PATH": "", name: value},
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (1, "")
        assert "embedded AWS: stopped" in done.stdout
