"""`python -m bench.processes.synthesize OUTDIR lazy|eager`: print Python's and Node's peak memory, in bytes."""

import atexit
import resource
import sys
from pathlib import Path


def _report() -> None:
    # In KiB on Linux, in bytes on macOS. The value for children is that of the largest one, which is Node.
    unit = 1 if sys.platform == "darwin" else 1024
    usages = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(sum(resource.getrusage(usage).ru_maxrss for usage in usages) * unit)


# Handlers run in reverse order: this one is registered before the one that stops Node, and runs after it.
atexit.register(_report)

from healthcare_dr.infra import synth  # noqa: E402 - after the path is set
from healthcare_dr.settings import Settings  # noqa: E402 - after the path is set

synth(Settings(_env_file=None), Path(sys.argv[1]), lazy=sys.argv[2] == "lazy")
