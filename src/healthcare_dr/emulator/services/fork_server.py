"""Load botocore once, and start each process of a Python function as a fork.

Loading botocore and the descriptions of AWS's services takes 0.35 s of processor time and half of the memory of a
process. Without forks, every process of every function would need both. The functions' interpreter runs this file, so
it imports no module of the project.

A request to start a process arrives on a socket: a JSON object with `script`, `folder` and `environment`, together with
the descriptors of the new process's standard input, output and error. The response is the process id and a descriptor
of the process (`pidfd_open(2)`). When the socket is closed, the server kills the processes that it has started, and
exits.
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
"""The services that the platform's functions call."""
# The limit of a request: a function has up to 4 KB of variables and inherits those of the services.
MOST_BYTES = 1 << 17


def load() -> None:
    """Load the packages of AWS's Python runtime, so that forks share their memory."""
    with suppress(ImportError):
        import botocore.session
        from botocore.loaders import JSONFileLoader

        # Otherwise each session parses the descriptions of its services again, up to 15 MB each.
        parsed = functools.cache(JSONFileLoader().load_file)
        JSONFileLoader.load_file = lambda _, path: parsed(path)
        # Creating a client loads the modules that sign and send.
        for service in SERVICES:
            botocore.session.get_session().create_client(service, region_name="us-east-1")
    gc.collect()
    # Otherwise garbage collection in a fork would write to every object and so copy every memory page.
    gc.freeze()


def serve(control: socket.socket) -> dict[str, Any]:
    """Start processes until the socket is closed. Return only in a new process, with the request that started it."""
    running: dict[int, int] = {}  # process ids, by the descriptor of the process
    readable = select.poll()
    readable.register(control, select.POLLIN)
    while True:
        for descriptor, _ in readable.poll():
            if descriptor != control.fileno():
                readable.unregister(descriptor)
                os.close(descriptor)
                os.waitpid(running.pop(descriptor), 0)
                continue
            request, streams, _, _ = socket.recv_fds(control, MOST_BYTES, STANDARD_STREAMS)
            if not request:
                end(running)
            pid = os.fork()
            if pid == 0:
                for target, stream in enumerate(streams):
                    os.dup2(stream, target)
                for inherited in (*streams, *running):
                    os.close(inherited)
                control.close()
                found: dict[str, Any] = json.loads(request)
                return found
            process = os.pidfd_open(pid)
            running[process] = pid
            readable.register(process, select.POLLIN)
            socket.send_fds(control, [str(pid).encode()], [process])
            for stream in streams:
                os.close(stream)


def end(running: dict[int, int]) -> NoReturn:
    """Kill and reap the processes, given as process ids by descriptor, then exit."""
    for descriptor, pid in running.items():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.waitpid(pid, 0)
    sys.exit()


def main() -> None:
    """Serve on the socket whose descriptor is the first argument; in a new process, run the script of its request."""
    control = socket.socket(fileno=int(sys.argv[1]))
    load()
    request = serve(control)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = [request["script"]]
    runpy.run_path(request["script"], run_name="__main__")


if __name__ == "__main__":
    main()
