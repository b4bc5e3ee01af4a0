"""The process that is the embedded AWS: ministack with our fixes, and the token issuer, on loopback."""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import ssl
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from healthcare_dr.emulator import conditions
from healthcare_dr.emulator.configuration import HOST, Ports, process_environment
from healthcare_dr.emulator.credentials import make_secrets
from healthcare_dr.emulator.garbage import keep_collections_short
from healthcare_dr.emulator.issuer import IssuerServer
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.locks import exclusive
from healthcare_dr.emulator.tokens import load_key

KEEP_ALIVE_SECONDS = 75
GRACEFUL_SECONDS = 3
TLS_SHUTDOWN_SECONDS = 0.5

logger = logging.getLogger("healthcare_dr.emulator")


class _SaveErrors(logging.Handler):
    """Counts the services whose state could not be saved: ministack only logs that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, _: logging.LogRecord) -> None:
        self.count += 1


class _Loop(asyncio.SelectorEventLoop):
    """Does not wait half a minute, at the end, for clients that keep an idle TLS connection open."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_SHUTDOWN_SECONDS)
        return await super().create_server(*args, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), TimeoutError):
            super().call_exception_handler(context)


def _let_clients_send_on() -> None:
    """A client that sends while hypercorn closes its connection was an error of the server, which ended with it: what
    had been saved counted as lost."""
    from hypercorn.asyncio.tcp_server import TCPServer

    inner = TCPServer._close

    async def close(server: TCPServer) -> None:
        with suppress(ssl.SSLError):
            await inner(server)

    TCPServer._close = close  # type: ignore[method-assign, assignment]  # hypercorn has no option for it


def run(layout: Layout, ports: Ports, *, fixed: bool) -> None:
    """Serve until SIGTERM or SIGINT, then save the state and end.

    Raises:
        EmulatorError: another process of the same home does not end.
    """
    # It logs the address of every request, and an address can hold what somebody searched for.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    make_secrets(layout)
    os.environ.update(environment := process_environment(layout, ports, os.environ))
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.chdir(layout.temporary)
    with exclusive(layout.process_file, within=timedelta(seconds=10)) as descriptor:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), **asdict(ports)}).encode())
        if layout.unsaved.exists():
            layout.lost.touch()
            logger.warning("The last process did not save its state: what it deployed is lost, but for S3")
        conditions.reset(layout.conditions)
        _empty(layout)
        errors = _SaveErrors()
        logging.getLogger("persistence").addHandler(errors)
        key = load_key(layout.token_key)
        issuer = IssuerServer(address=ports.issuer, port=ports.issuer_port, key=key, layout=layout)
        issuer.start()
        try:
            with asyncio.Runner(loop_factory=_Loop) as runner:
                runner.run(_serve(layout, ports, fixed=fixed))
        finally:
            issuer.stop()
            _empty(layout)
        # Still locked: without the lock, this file says that the state is lost.
        if not errors.count:
            layout.unsaved.unlink()


async def _serve(layout: Layout, ports: Ports, *, fixed: bool) -> None:
    # ministack reads the environment while it is imported.
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app
    from ministack.core import lambda_runtime

    from healthcare_dr.emulator import fixes
    from healthcare_dr.emulator.data_planes import DataPlanes
    from healthcare_dr.emulator.replication.installation import install

    _let_clients_send_on()
    ended = asyncio.Event()
    replicating, planes = None, None
    if fixed:
        fixes.apply()
        replicating = asyncio.create_task(install(layout).run())
        # It does not end by itself: an error in it ends the process rather than replication alone.
        replicating.add_done_callback(lambda _: ended.set())
        planes = DataPlanes(layout, ports)
    config = Config()
    # Bound before `unsaved` exists: whatever fails from then on may have lost something.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((HOST, ports.port))
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile = str(layout.server_certificate)
    config.keyfile = str(layout.server_key)
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.graceful_timeout = GRACEFUL_SECONDS
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if planes is not None:
        planes.start()

    async def to_end() -> None:
        await ended.wait()
        if planes is not None:
            # First, since they ask the services.
            await asyncio.to_thread(planes.stop)

    layout.unsaved.touch()
    keep_collections_short()
    try:
        await serve(app.app, config, shutdown_trigger=to_end)
    finally:
        if planes is not None:
            planes.stop()
        lambda_runtime.reset()
    if replicating is not None and replicating.done():
        replicating.result()


def _empty(layout: Layout) -> None:
    for entry in layout.temporary.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
