"""Which process a test run ends with, and the environment of the programs that the run starts."""

import os
from typing import Final

RUN: Final = "HEALTHCARE_DR_TEST_RUN"
"""Names the process whose end is the end of the run: the controller of pytest-xdist, or pytest itself."""
ENDS_WITH: Final = "HDR_EMULATOR_ENDS_WITH"
"""Makes an embedded AWS end, without saving its state, when the process with this number no longer exists."""
WORKER: Final = "PYTEST_XDIST_WORKER"


def begin() -> None:
    """Make this process the one that the run ends with, unless it is a worker of a run."""
    if WORKER not in os.environ or RUN not in os.environ:
        os.environ[RUN] = str(os.getpid())
    os.environ[ENDS_WITH] = os.environ[RUN]


def pid() -> int:
    """The process that the run ends with."""
    return int(os.environ[RUN])


def worker_index() -> int:
    """Which worker of the run this process is, from 0 on; 0 without workers."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # A worker that takes the place of one that crashed has a number beyond the others.
    return int(os.environ.get(WORKER, "gw0").removeprefix("gw")) % count


def environment() -> dict[str, str]:
    """Return the variables that a program of the run needs, without settings or credentials of the user."""
    return {name: os.environ[name] for name in ("PATH", "HOME", RUN)} | {ENDS_WITH: os.environ[RUN]}
