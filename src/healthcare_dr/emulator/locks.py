"""File locks. The kernel releases a lock when its process ends, for whatever reason."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from healthcare_dr.errors import EmulatorError

POLL_SECONDS = 0.05


@contextmanager
def exclusive(path: Path, *, within: timedelta) -> Iterator[int]:
    """Hold the exclusive lock on `path`, which is created when missing. Yields its file descriptor.

    Raises:
        EmulatorError: another process is_locked it for longer than `within`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + within.total_seconds()
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EmulatorError(f"{path} is still locked by another process: wait for it, or end it")
            time.sleep(POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the exclusive lock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
