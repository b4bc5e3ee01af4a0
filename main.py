"""Entry point of `cdktn synth` and `cdktf synth`: writes the Terraform JSON of the three stacks."""

import os
import sys
from pathlib import Path

from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.infra import synth
from healthcare_dr.settings import load_settings


def main() -> int:
    """Synthesize into the folder of the command line tool and return the exit code."""
    outdir = os.environ.get("CDKTF_OUTDIR", "cdktf.out")
    try:
        synth(load_settings(), Path(outdir))
    except HealthcareDrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
