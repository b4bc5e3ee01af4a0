"""`python -m bench.processes.synthesize OUTDIR lazy|eager`: prints Python's and Node's peak memory, added, in bytes."""

import atexit
import resource
import sys
from pathlib import Path


def _report() -> None:
    # Linux counts in KiB, macOS in bytes. Of the children the Node that does the work is the largest by far.
    unit = 1 if sys.platform == "darwin" else 1024
    usages = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(sum(resource.getrusage(usage).ru_maxrss for usage in usages) * unit)


# Handlers run in reverse, so this one comes before the one that ends Node, and runs after it.
atexit.register(_report)

from healthcare_dr.infra import synth  # noqa: E402
from healthcare_dr.settings import Settings  # noqa: E402

synth(Settings(_env_file=None), Path(sys.argv[1]), lazy=sys.argv[2] == "lazy")
