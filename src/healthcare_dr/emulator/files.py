"""Files that processes share: locks, atomic replacement, and cached content.

The kernel releases a lock when its process ends.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

from healthcare_dr.errors import EmulatorError

POLL_SECONDS = 0.05
Content = TypeVar("Content")

logger = logging.getLogger("healthcare_dr.emulator")


@contextmanager
def exclusive(path: Path, *, within: timedelta) -> Iterator[int]:
    """Hold the exclusive lock on `path`, which is created when missing. Yields its file descriptor.

    Raises:
        EmulatorError: another process holds it for longer than `within`.
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


def write_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically."""
    staging = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    staging.replace(path)


def changing(path: Path) -> AbstractContextManager[int]:
    """Hold the lock of programs that read a file and replace it."""
    return exclusive(path.with_suffix(".lock"), within=timedelta(seconds=10))


class CachedFile(Generic[Content]):
    """The parsed content of a file, which is read again only after the file has been replaced. Thread-safe.

    Args:
        read: returns the content, also of a missing file; raises `EmulatorError` for a damaged one.
        default: the content before the file exists.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content], default: Content) -> None:
        self._path = path
        self._read = read
        self._seen: tuple[tuple[int, int] | None, Content] = (None, default)

    def current(self) -> Content:
        """Return the content; the previous one while the file is damaged, which is logged once."""
        version = self._version()
        known, content = self._seen
        if version != known:
            try:
                content = self._read(self._path)
            except EmulatorError as error:
                logger.warning("%s", error)
            self._seen = (version, content)
        return content

    def _version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
