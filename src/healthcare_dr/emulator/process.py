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
from healthcare_dr.emulator.configuration import Layout, Ports, make_secrets, process_environment
from healthcare_dr.emulator.files import exclusive
from healthcare_dr.emulator.http_server import Loop

Kind = Literal["services", "edge"]
KINDS: tuple[Kind, ...] = ("services", "edge")
OPEN_FILES = 8192
FIRST_INHERITED = 3
OWNER_POLL_SECONDS = 1.0
# The format of ministack.
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
    # A lock or a pipe of the caller would otherwise stay open for as long as this process runs.
    os.closerange(FIRST_INHERITED, OPEN_FILES)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # httpx logs the URL of every request, and a URL can contain search criteria.
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
        # A restart of either process ends all faults.
        fault_state.reset(layout.fault_state)
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(_serve_until_ended(layout, ports, owner, serve))


def _raise_open_files() -> None:
    """Raise the limit of open files to the system's maximum: each connection is one, and macOS starts with 256."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = most if most != resource.RLIM_INFINITY else OPEN_FILES
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, OPEN_FILES), most))


async def _serve_until_ended(
    layout: Layout, ports: Ports, owner: int | None, serve: Callable[[Layout, Ports, asyncio.Event], Awaitable[None]]
) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    # asyncio also checks callbacks for StopIteration; a signal handler must not raise.
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
        # This system has no pidfd. A process id can be reused between two checks, which is unlikely within a second.
        while _exists(owner):
            await asyncio.sleep(OWNER_POLL_SECONDS)
        ended.set()
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
        logger.warning("The owner of the embedded AWS, process %d, has ended", owner)
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
    """Ignore asyncio's reports of clients that do not finish a TLS shutdown; report all other errors."""
    error = context.get("exception")
    if not isinstance(error, TimeoutError | ConnectionError):
        asyncio.get_running_loop().default_exception_handler(context)
