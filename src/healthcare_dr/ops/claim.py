"""One command at a time for each environment of each target, and for the one embedded AWS of a home."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from healthcare_dr.errors import DeploymentError


@contextmanager
def claimed(*folders: Path) -> Iterator[None]:
    """Hold `.claim` of each folder inside the block. The system gives it back when its holder dies, in any way.

    Raises:
        DeploymentError: another command holds it.
    """
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(_claimed(folder))
        yield


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The folder of all environments has it too: the dot keeps it apart from an environment's name.
    with (folder / ".claim").open("a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise DeploymentError(
                f"another hdr command (process {holder}) works in {folder}: wait for it to end"
            ) from None
        _sign(file)
        yield


def _sign(file: TextIO) -> None:
    """Name the holder, unless the disk is full: the lock holds all the same, and `hdr down` makes room."""
    file.truncate(0)
    with suppress(OSError):
        os.write(file.fileno(), str(os.getpid()).encode())
