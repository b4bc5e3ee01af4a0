"""The services process: ministack with the patches of this project, on one TLS port of the loopback address.

The edge process reaches it through a UNIX socket, without TLS.
"""

import asyncio
import gc
import json
import logging
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from healthcare_dr.emulator import fault_state
from healthcare_dr.emulator.admin_api import ONLY, REPLICATION_PATH, authenticated, get_health_checks
from healthcare_dr.emulator.configuration import HOST, SERVICES_SOCKET, Layout, Ports
from healthcare_dr.emulator.files import CachedFile
from healthcare_dr.emulator.http_server import http_config, protocol_factory
from healthcare_dr.emulator.process import quiet_loop_errors
from healthcare_dr.emulator.services import control_planes, function_startup
from healthcare_dr.emulator.services.middleware import Admission, CalledAddress
from healthcare_dr.errors import EmulatorError

if TYPE_CHECKING:
    from healthcare_dr.emulator.replication.queue import ReplicationQueue

Response = tuple[int, dict[str, str], bytes]

logger = logging.getLogger("healthcare_dr.emulator")


async def serve(layout: Layout, ports: Ports, ended: asyncio.Event, *, patched: bool = True) -> None:
    """Serve until `ended` is set, then save the state.

    Unless `patched`, serve ministack without patches and without replication of its own.
    """
    if layout.unsaved.exists():
        layout.lost.touch()
        logger.warning("The last process did not save its state: resources are lost, except objects in S3")
    _empty_temporary_folder(layout)
    errors = _SaveErrors()
    logging.getLogger("persistence").addHandler(errors)
    try:
        await _serve(layout, ports, ended, patched=patched)
    finally:
        _empty_temporary_folder(layout)
    # While the lock is held: without the lock, this file means that the state is lost.
    if not errors.count:
        layout.unsaved.unlink()


def keep_collections_short() -> None:
    """Exclude objects that survive a full garbage collection from later collections.

    ministack holds all data in memory, in millions of objects. A full collection of them stopped the process for 2.5 s
    every 30 s, so that health checks failed and clients gave up. With `gc.freeze`, a full collection examines only the
    objects that are new since the last one. In return, a frozen cycle that becomes unreachable is never collected:
    those of a few connections at each collection.
    """
    gc.callbacks.append(_freeze_after_full_collection)


def _freeze_after_full_collection(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()


class _SaveErrors(logging.Handler):
    """Counts the services whose state could not be saved: ministack only logs these errors."""

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


async def _serve(layout: Layout, ports: Ports, ended: asyncio.Event, *, patched: bool) -> None:
    # ministack reads the environment while it is imported.
    from ministack import app
    from ministack.core import lambda_runtime

    from healthcare_dr.emulator import patches

    asyncio.get_running_loop().set_exception_handler(quiet_loop_errors)
    application: Any = app.app
    replicating = None
    if patched:
        patches.apply()
        replicating = asyncio.create_task(_install_replication(layout).run())
        # It runs forever: an error in it ends the process rather than replication alone.
        replicating.add_done_callback(lambda _: ended.set())
        _connect_to_edge(layout, ports)
        application = Admission(CalledAddress(application))
    # Bound before `unsaved` exists: from then on, any failure may have lost something.
    listener = _listener(ports)
    server = _Server(
        http_config(
            application,
            lifespan="on",
            # ministack adds the header where a response has none.
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
    # uvicorn only logs the errors that ministack raises while it saves.
    if server.lifespan.error_occurred or server.lifespan.shutdown_failed:
        raise EmulatorError("the services could not save their state")
    if replicating is not None and replicating.done():
        replicating.result()


def _install_replication(layout: Layout) -> "ReplicationQueue":
    """Replace ministack's replication. The queue must run on the loop that serves."""
    from ministack import app

    from healthcare_dr.emulator.replication.documents import ObjectReplication
    from healthcare_dr.emulator.replication.queue import ReplicationQueue
    from healthcare_dr.emulator.replication.tables import TableReplication

    queue, secret = ReplicationQueue(layout.replication), layout.read_root_secret()
    TableReplication(queue.tables).install()
    ObjectReplication(queue.documents).install()
    save_inner, handle_inner = app.save_all, app._handle_pre_body_request

    def save(services: dict[str, Any]) -> None:
        queue.drain()
        save_inner(services)

    async def handle(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any], request_id: str
    ) -> Response | None:
        if path == REPLICATION_PATH and authenticated(headers, secret):
            only = query.get(ONLY, ())
            content = {"pending": queue.pending(only), "waiting_seconds": queue.waiting_seconds(only)}
            return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()
        response: Response | None = await handle_inner(method, path, headers, query, request_id)
        return response

    app.save_all, app._handle_pre_body_request = save, handle
    return queue


def _connect_to_edge(layout: Layout, ports: Ports) -> None:
    """Install the parts that depend on the faults of a drill and on the edge process."""
    from healthcare_dr.emulator.patches import clock, lambda_runtime, route53

    state = CachedFile(layout.fault_state, fault_state.read, fault_state.FaultState())
    clock.set_time_scale_source(lambda: state.current().time_scale)
    control_planes.install(lambda environment: state.current().refuses(environment), secret=layout.read_root_secret())
    route53.add_get_health_check_status(lambda: get_health_checks(layout, ports))
    _write_sitecustomize(ports, fault_state=layout.fault_state, packages=lambda_runtime.packages())


def _write_sitecustomize(ports: Ports, *, fault_state: Path, packages: Path) -> None:
    """Write a `sitecustomize` into `packages`, which functions import from; new processes of functions run it."""
    source = Path(function_startup.__file__).read_text(encoding="utf-8")
    calls = f"install_resolution({ports.edge_addresses!r}, {ports.edge_port!r})\ninstall_clock({str(fault_state)!r})\n"
    (packages / "sitecustomize.py").write_text(f"{source}\n\n{calls}", encoding="utf-8")


async def _end(server: uvicorn.Server, ended: asyncio.Event) -> None:
    await ended.wait()
    server.should_exit = True


def _listener(ports: Ports) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((HOST, ports.port))
    return listener


def _empty_temporary_folder(layout: Layout) -> None:
    for entry in layout.temporary("services").iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
