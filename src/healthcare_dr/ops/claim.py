"""One command at a time for each environment of each target."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from healthcare_dr.errors import DeploymentError


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Hold `<root>/claim` inside the block. The system gives it back when its holder dies, however that happens.

    Raises:
        DeploymentError: another command holds it.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / "claim").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DeploymentError(
                f"another hdr command (process {file.read().strip() or 'unknown'}) works in {root}: wait for it to end"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
