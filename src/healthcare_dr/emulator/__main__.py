"""Run one process of the embedded AWS in the foreground: `python -m healthcare_dr.emulator services|edge`."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from healthcare_dr.emulator.configuration import Layout, Ports
from healthcare_dr.emulator.process import KINDS, run
from healthcare_dr.errors import HealthcareDrError


def main() -> int:
    """Parse the arguments and run the process. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m healthcare_dr.emulator", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--home", type=Path, required=True, help="the folder of all state")
    parser.add_argument("--port", type=int, required=True, help="the port of the AWS services; the next three follow")
    parser.add_argument("--regions", nargs=2, required=True, help="the regions, each with an edge listener")
    parser.add_argument("--account", required=True, help="12 digits")
    parser.add_argument("--ends-with", type=int, help="id of a process: this one ends when that one has ended")
    parser.add_argument("--unpatched", action="store_true", help="ministack without patches, to show their effect")
    arguments = parser.parse_args()
    ports = Ports(account=arguments.account, port=arguments.port, regions=tuple(arguments.regions))
    serve: Callable[[Layout, Ports, asyncio.Event], Awaitable[None]]
    # Each process imports only its own modules.
    if arguments.kind == "services":
        from healthcare_dr.emulator.services import server

        serve = partial(server.serve, patched=not arguments.unpatched)
    else:
        from healthcare_dr.emulator.edge_proxy import server as edge_server

        serve = edge_server.serve
    try:
        run(arguments.kind, Layout(arguments.home), ports, owner=arguments.ends_with, serve=serve)
    except HealthcareDrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
