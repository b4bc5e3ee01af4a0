"""The process of AWS's services: ministack with the fixes of this project, on one TLS port of loopback.

The edge process reaches it through a UNIX socket instead, without TLS.
"""

import asyncio
import logging
import shutil
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.called_address import CalledAddress
from healthcare_dr.emulator.configuration import HOST, SERVICES_SOCKET, Ports
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.http_server import http_config, protocol_factory
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.process import quiet_loop_errors
from healthcare_dr.emulator.services import control_planes
from healthcare_dr.emulator.services.admission import Admission
from healthcare_dr.emulator.services.gc_tuning import keep_collections_short
from healthcare_dr.errors import EmulatorError

logger = logging.getLogger("healthcare_dr.emulator")


class _SaveErrors(logging.Handler):
    """Counts the services whose state could not be saved: ministack only logs that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, _: logging.LogRecord) -> None:
        self.count += 1


class _Server(uvicorn.Server):
    """Listens on the UNIX socket of the edge process as well, without TLS."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        inner = await asyncio.get_running_loop().create_unix_server(
            protocol_factory(self.config, self.server_state), SERVICES_SOCKET
        )
        self.servers.append(inner)


def services(*, patched: bool) -> Callable[[Layout, Ports, asyncio.Event], Awaitable[None]]:
    """Return what serves until its event is set, then saves the state; unless `patched`, ministack as it is."""

    async def serve(layout: Layout, ports: Ports, ended: asyncio.Event) -> None:
        if layout.unsaved.exists():
            layout.lost.touch()
            logger.warning("The last process did not save its state: what it deployed is lost, except S3 objects")
        _empty(layout)
        errors = _SaveErrors()
        logging.getLogger("persistence").addHandler(errors)
        try:
            await _serve(layout, ports, ended, patched=patched)
        finally:
            _empty(layout)
        # While the lock is held: without it, this file means that the state is lost.
        if not errors.count:
            layout.unsaved.unlink()

    return serve


async def _serve(layout: Layout, ports: Ports, ended: asyncio.Event, *, patched: bool) -> None:
    # ministack reads the environment while it is imported.
    from ministack import app
    from ministack.core import lambda_runtime

    from healthcare_dr.emulator import patches
    from healthcare_dr.emulator.replication.installation import install

    asyncio.get_running_loop().set_exception_handler(quiet_loop_errors)
    application: Any = app.app
    replicating = None
    if patched:
        patches.apply()
        replicating = asyncio.create_task(install(layout).run())
        # It does not end by itself: an error in it ends the process rather than replication alone.
        replicating.add_done_callback(lambda _: ended.set())
        _connect_to_edge(layout, ports)
        application = Admission(CalledAddress(application))
    # Bound before `unsaved` exists: from then on, any failure may have lost something.
    listener = _listener(ports)
    server = _Server(
        http_config(
            application,
            lifespan="on",
            # ministack adds it where the answer has none.
            date_header=False,
            ssl_certfile=layout.server_certificate,
            ssl_keyfile=layout.server_key,
        )
    )
    ending = asyncio.create_task(_end(server, ended))
    layout.unsaved.touch()
    keep_collections_short()
    try:
        await server._serve([listener])
    finally:
        ending.cancel()
        lambda_runtime.reset()
    # uvicorn only logs what ministack raises while it saves.
    if server.lifespan.error_occurred or server.lifespan.shutdown_failed:
        raise EmulatorError("the services could not save their state")
    if replicating is not None and replicating.done():
        replicating.result()


def _connect_to_edge(layout: Layout, ports: Ports) -> None:
    """Install what depends on the conditions of a drill and on the edge process."""
    from healthcare_dr.emulator import check_status
    from healthcare_dr.emulator.patches import clock, lambda_runtime, route53
    from healthcare_dr.emulator.services.function_startup import write_sitecustomize

    watched = fault_state.FaultStateFile(layout.conditions)
    clock.use_time_scale(lambda: watched.now().time_scale)
    control_planes.install(lambda environment: watched.now().refuses(environment), secret=root_secret(layout))
    route53.answer_status_from(lambda: check_status.ask(layout, ports))
    write_sitecustomize(ports, conditions=layout.conditions, packages=lambda_runtime.packages())


async def _end(server: uvicorn.Server, ended: asyncio.Event) -> None:
    await ended.wait()
    server.should_exit = True


def _listener(ports: Ports) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((HOST, ports.port))
    return listener


def _empty(layout: Layout) -> None:
    for entry in layout.temporary("services").iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
