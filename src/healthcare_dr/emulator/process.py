"""The environment, lock and shutdown that both processes of an embedded AWS share."""

import asyncio
import json
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Literal

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.configuration import Layout, Ports, process_environment
from healthcare_dr.emulator.credentials import make_secrets
from healthcare_dr.emulator.http_server import Loop
from healthcare_dr.emulator.locks import exclusive

Kind = Literal["services", "edge"]
KINDS: tuple[Kind, ...] = ("services", "edge")
OPEN_FILES = 8192
FIRST_INHERITED = 3
OWNER_POLL_SECONDS = 1.0
# That of ministack.
LOG_FORMAT = "%(asctime)s %(levelname)s [%(name)s] %(message)s"

logger = logging.getLogger("healthcare_dr.emulator")


def run(
    kind: Kind,
    layout: Layout,
    ports: Ports,
    *,
    owner: int | None,
    serve: Callable[[Layout, Ports, asyncio.Event], Awaitable[None]],
) -> None:
    """Run `serve` while holding the lock of `kind`, until SIGTERM, SIGINT or the end of the process `owner`.

    `serve` returns when its event is set; the event may also be set by `serve` itself.

    Raises:
        EmulatorError: another process of the same kind and home does not end.
    """
    # Of the caller's open files, a lock or a pipe would otherwise stay open for as long as this process lives.
    os.closerange(FIRST_INHERITED, OPEN_FILES)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # httpx logs the address of every request, and an address can hold search criteria.
    for name in ("httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    make_secrets(layout)
    _raise_open_files()
    os.environ.update(environment := process_environment(kind, layout, ports, os.environ))
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.chdir(layout.temporary(kind))
    with exclusive(layout.process_file(kind), within=timedelta(seconds=10)) as descriptor:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), **asdict(ports)}).encode())
        # A fault outlives the restart of neither process.
        fault_state.reset(layout.fault_state)
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(_until_ended(layout, ports, owner, serve))


def _raise_open_files() -> None:
    """Allow as many open files as the system does: each connection is one, and macOS begins with 256."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if most != resource.RLIM_INFINITY else OPEN_FILES
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, OPEN_FILES), most))


async def _until_ended(
    layout: Layout, ports: Ports, owner: int | None, serve: Callable[[Layout, Ports, asyncio.Event], Awaitable[None]]
) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    # asyncio tests also for StopIteration in a callback; a signal handler must not raise.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    watching = asyncio.create_task(_end_with(owner, ended)) if owner is not None else None
    try:
        await serve(layout, ports, ended)
    finally:
        if watching is not None:
            watching.cancel()


async def _end_with(owner: int, ended: asyncio.Event) -> None:
    """Set `ended` when the process `owner` no longer exists."""
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        ended.set()
        return
    except (AttributeError, OSError):
        # Not on this system: a process number can be reused between two looks, which a second makes unlikely.
        while _exists(owner):
            await asyncio.sleep(OWNER_POLL_SECONDS)
        ended.set()
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
        logger.warning("The process %d, with which the embedded AWS ends, has ended", owner)
        ended.set()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _exists(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def quiet_loop_errors(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Drop what asyncio reports of clients that do not finish a TLS shutdown; report everything else."""
    error = context.get("exception")
    if not isinstance(error, TimeoutError | ConnectionError):
        asyncio.get_running_loop().default_exception_handler(context)
