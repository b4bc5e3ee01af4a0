"""`python -m healthcare_dr.emulator`: the embedded AWS in the foreground, until SIGTERM or SIGINT."""

import argparse
import sys
from pathlib import Path

from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.process import run
from healthcare_dr.errors import HealthcareDrError


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m healthcare_dr.emulator", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="everything it keeps lies here")
    parser.add_argument("--port", type=int, required=True, help="of the AWS services; the next three are taken too")
    parser.add_argument("--regions", nargs=2, required=True, help="those with a front door")
    parser.add_argument("--account", required=True, help="12 digits")
    parser.add_argument("--unfixed", action="store_true", help="ministack as it is, to show what the fixes mend")
    arguments = parser.parse_args()
    try:
        run(
            Layout(arguments.home),
            Ports(account=arguments.account, port=arguments.port, regions=tuple(arguments.regions)),
            fixed=not arguments.unfixed,
        )
    except HealthcareDrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
