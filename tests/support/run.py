"""The main process of a test run, and the environment of the programs that the run starts."""

import os
from typing import Final

RUN: Final = "HEALTHCARE_DR_TEST_RUN"
"""The variable with the id of the main process: the controller of pytest-xdist, or pytest itself."""
ENDS_WITH: Final = "HDR_EMULATOR_ENDS_WITH"
"""The variable with the id of the process with which an embedded AWS ends, without saving its state."""
WORKER: Final = "PYTEST_XDIST_WORKER"


def begin() -> None:
    """Make this process the main process, unless it is a worker of a run."""
    if WORKER not in os.environ or RUN not in os.environ:
        os.environ[RUN] = str(os.getpid())
    os.environ[ENDS_WITH] = os.environ[RUN]


def pid() -> int:
    """Return the id of the main process."""
    return int(os.environ[RUN])


def worker_index() -> int:
    """Return the number of this worker, from 0; 0 without workers."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # A worker that replaces a crashed one has a higher number.
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw")) % count


def environment() -> dict[str, str]:
    """Return the variables that a program of the run needs, without settings or credentials of the user."""
    return {name: os.environ[name] for name in ("PATH", "HOME", RUN)} | {ENDS_WITH: os.environ[RUN]}
