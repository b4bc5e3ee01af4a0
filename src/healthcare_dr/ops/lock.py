"""Locks: one command at a time for each environment, and one that starts, stops or breaks an embedded AWS.

Commands that use the embedded AWS, such as `hdr plan`, claim the folder of their environment,
`<home>/embedded/<suffix>`. The processes of the embedded AWS and its time scale, which all environments of a home
share, are claimed as `<home>/embedded`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from healthcare_dr.errors import DeploymentError


class LockedError(DeploymentError):
    """Another command holds the lock."""


@contextmanager
def claimed(*folders: Path) -> Iterator[None]:
    """Lock `.claim` of each folder inside the block. The system releases the lock when the process ends in any way.

    Raises:
        LockedError: another command holds one of them.
    """
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(_claimed(folder))
        yield


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The dot distinguishes the file from the folder of an environment.
    with (folder / ".claim").open("a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise LockedError(f"another hdr command (process {holder}) works in {folder}: wait for it to end") from None
        _sign(file)
        yield


def _sign(file: TextIO) -> None:
    """Write the process id, unless the disk is full: the lock works without it, and `hdr down` frees space."""
    file.truncate(0)
    with suppress(OSError):
        os.write(file.fileno(), str(os.getpid()).encode())
