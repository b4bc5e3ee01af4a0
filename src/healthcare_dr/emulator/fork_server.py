"""The process that the processes of Python functions are forks of: it has loaded what each of them loads.

Loading botocore and the descriptions of AWS's services takes 0.35 s of processor time and half of the memory of a
process, which each process of each function would pay again. This text is run by the functions' own interpreter, so it
imports nothing of ours.

It is told on a socket what to start: a JSON object with `script`, `folder` and `environment`, together with the new
process's standard input, output and error. It answers with the number of the process and a descriptor of it
(`pidfd_open(2)`). When the socket is closed, it ends, and with it everything that it has started.
"""

import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NoReturn

STANDARD_STREAMS = 3
SERVICES = ("dynamodb", "kms", "s3", "sts")
"""Those that the platform's functions call."""
# Of an order: a function has up to 4 KB of variables and inherits those of the services.
MOST_BYTES = 1 << 17


def load() -> None:
    """Load what AWS's runtime for Python brings along, so that forks share its memory."""
    with suppress(ImportError):
        import botocore.session
        from botocore.loaders import JSONFileLoader

        # Otherwise each session parses the descriptions of its services anew, up to 15 MB each.
        parsed = functools.cache(JSONFileLoader().load_file)
        JSONFileLoader.load_file = lambda _, path: parsed(path)
        # A client loads what signs and what sends.
        for service in SERVICES:
            botocore.session.get_session().create_client(service, region_name="us-east-1")
    gc.collect()
    # Otherwise the collector of a fork would write to every object, and every page would be copied.
    gc.freeze()


def serve(control: socket.socket) -> dict[str, Any]:
    """Start processes until the socket is closed. Returns only in a new process: what it has been told to run."""
    running: dict[int, int] = {}  # by descriptor of a process: its number
    readable = select.poll()
    readable.register(control, select.POLLIN)
    while True:
        for descriptor, _ in readable.poll():
            if descriptor != control.fileno():
                readable.unregister(descriptor)
                os.close(descriptor)
                os.waitpid(running.pop(descriptor), 0)
                continue
            order, streams, _, _ = socket.recv_fds(control, MOST_BYTES, STANDARD_STREAMS)
            if not order:
                end(running)
            number = os.fork()
            if number == 0:
                for target, stream in enumerate(streams):
                    os.dup2(stream, target)
                for inherited in (*streams, *running):
                    os.close(inherited)
                control.close()
                told: dict[str, Any] = json.loads(order)
                return told
            process = os.pidfd_open(number)
            running[process] = number
            readable.register(process, select.POLLIN)
            socket.send_fds(control, [str(number).encode()], [process])
            for stream in streams:
                os.close(stream)


def end(running: dict[int, int]) -> NoReturn:
    """Kill and collect the processes, given by descriptor and number, then exit."""
    for descriptor, number in running.items():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.waitpid(number, 0)
    sys.exit()


def main() -> None:
    """Serve on the socket whose descriptor is the first argument. In a new process, run its script."""
    control = socket.socket(fileno=int(sys.argv[1]))
    load()
    told = serve(control)
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    sys.argv = [told["script"]]
    runpy.run_path(told["script"], run_name="__main__")


if __name__ == "__main__":
    main()
