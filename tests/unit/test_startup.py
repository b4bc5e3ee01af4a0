"""`hdr` in a damaged process: closed and full streams, and variables that affect Python."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import run

HDR = str(Path(sys.executable).with_name("hdr"))
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
TO_STDOUT = (("--version",), ("--help",), ("drill", "list"), ("drill", "schema"), ("status", "--json"), ("token",))

Done = subprocess.CompletedProcess[str]
Start = Callable[..., Done]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a program with a home of its own."""

    def start(*command: str, variables: dict[str, str] | None = None, **options: Any) -> Done:
        environment = run.environment() | {"HDR_HOME": str(tmp_path / "home")} | (variables or {})
        captured = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60}
        return subprocess.run(command, **captured | options, text=True, env=environment, check=False)

    return start


@pytest.fixture
def full() -> Iterator[int]:
    """A file on a full disk."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def assert_stopped(done: Done) -> None:
    """Assert that `hdr status` reported a stopped embedded AWS, and no error."""
    assert (done.returncode, done.stderr) == (1, "")
    assert "embedded AWS: stopped" in done.stdout


@FULL
@pytest.mark.parametrize("arguments", TO_STDOUT, ids=" ".join)
def test_full_standard_output_prints_one_line(start: Start, full: int, arguments: tuple[str, ...]) -> None:
    done = start(HDR, *arguments, stdout=full)
    message = "standard output cannot be written (No space left on device): send it where all of it fits"
    assert (done.returncode, done.stderr) == (1, f"hdr: {message}\n")


@pytest.mark.parametrize("arguments", TO_STDOUT[2:], ids=" ".join)
def test_closed_pipe_prints_one_line(start: Start, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = start(HDR, *arguments, stdout=writing)
    os.close(writing)
    message = "standard output cannot be written (Broken pipe): send it where all of it fits"
    assert (done.returncode, done.stderr) == (1, f"hdr: {message}\n")


@pytest.mark.parametrize("arguments", TO_STDOUT, ids=" ".join)
def test_closed_standard_output_prints_one_line(start: Start, arguments: tuple[str, ...]) -> None:
    done = start("/bin/sh", "-c", 'exec "$@" >&-', "sh", HDR, *arguments)
    message = "standard output is closed: leave it open, or send it to a file or /dev/null"
    assert (done.returncode, done.stderr) == (1, f"hdr: {message}\n")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_other_closed_streams_change_no_result(start: Start, closed: str) -> None:
    assert_stopped(start("/bin/sh", "-c", f'exec "$@" {closed}', "sh", HDR, "status"))


@FULL
@pytest.mark.parametrize(("arguments", "code"), [(("drill", "list"), 0), (("plan",), 1), (("drill", "heal"), 0)])
def test_full_standard_error_changes_no_result(start: Start, full: int, arguments: tuple[str, ...], code: int) -> None:
    done = start(HDR, *arguments, stderr=full)
    assert (done.returncode, bool(done.stdout)) == (code, code == 0)


@FULL
def test_full_standard_error_stops_no_synthesis(start: Start, full: int, tmp_path: Path) -> None:
    """A new process flushes standard error before it starts."""
    done = start(HDR, "synth", "--out", str(tmp_path / "out"), stderr=full, timeout=240)
    assert done.returncode == 0
    assert done.stdout.count("cdk.tf.json") == 3


def test_variables_that_affect_python_do_not_affect_hdr(start: Start, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise RuntimeError('another typer than ours')\n")
    variables = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONWARNINGS": "error",
        "PYTHONINSPECT": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
    }
    assert_stopped(start(HDR, "status", variables=variables))


def test_character_outside_the_encoding_of_standard_output_is_escaped(start: Start) -> None:
    """In the locale C, with which Python would otherwise use UTF-8: PEP 538 and PEP 540."""
    script = "import sys; from healthcare_dr import startup; startup._open_streams(); print('\\u2503 \\xb7')"
    done = start(sys.executable, "-c", script, variables={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\u2503 \\xb7\n")


@pytest.mark.parametrize("columns", ["0", "00"])
def test_terminal_of_size_zero_hides_neither_reports_nor_errors(start: Start, columns: str) -> None:
    status, plan = (start(HDR, name, variables={"COLUMNS": columns, "LINES": "0"}) for name in ("status", "plan"))
    assert "embedded AWS: stopped" in status.stdout
    assert plan.stderr == "hdr: the embedded AWS does not run: start it and deploy to it with `hdr up`\n"


def test_removed_folder_prints_one_line(start: Start, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # An empty setting is the default: the home is below the current folder.
    command = ("/bin/sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", HDR, "status")
    done = start(*command, cwd=gone, variables={"HDR_HOME": ""})
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
def test_variables_that_end_python_at_its_start_change_no_result(
    start: Start, tmp_path: Path, name: str, value: str
) -> None:
    link = tmp_path / "hdr"
    link.symlink_to(HDR)
    for command in (HDR, str(link)):
        assert_stopped(start(command, "status", variables={"PATH": "", name: value}))
