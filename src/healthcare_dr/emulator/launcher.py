"""Start, await and end the processes of an embedded AWS, and check that its ports are free."""

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPException

from healthcare_dr.emulator.admin_api import send
from healthcare_dr.emulator.configuration import HOST, Layout, Ports, process_environment
from healthcare_dr.emulator.files import POLL_SECONDS, is_locked
from healthcare_dr.emulator.process import Kind
from healthcare_dr.errors import EmulatorError

START_TIMEOUT = timedelta(seconds=60)
STOP_TIMEOUT = timedelta(seconds=60)
READY_TIMEOUT_SECONDS = 5.0
LOG_TAIL_LINES = 5
# The path to which a process responds when it is ready.
READY: Mapping[Kind, str] = {"services": "/_ministack/ready", "edge": "/.well-known/openid-configuration"}


def spawn(kind: Kind, layout: Layout, ports: Ports, *, patched: bool, ends_with: int | None) -> int:
    """Start a process in its own session, with a clean environment, and return its id.

    The process ends by itself once the process `ends_with` no longer exists.
    """
    log = layout.log(kind)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            *("-P", "-m", "healthcare_dr.emulator", kind),
            *("--home", str(layout.home)),
            *("--port", str(ports.port)),
            *("--regions", *ports.regions),
            *("--account", ports.account),
            *(() if ends_with is None else ("--ends-with", str(ends_with))),
            *(() if patched else ("--unpatched",)),
        ],
        process_environment(kind, layout, ports, os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def await_ready(kinds: Mapping[Kind, Callable[[], bool]], layout: Layout, ports: Ports) -> None:
    """Return when every process in `kinds` responds. Each value returns whether that process has ended.

    Raises:
        EmulatorError: a process ended, or does not respond in time.
    """
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    waiting = dict(kinds)
    while waiting:
        for kind, ended in list(waiting.items()):
            if _is_ready(layout, ports.endpoint if kind == "services" else ports.issuer, READY[kind]):
                del waiting[kind]
            elif ended():
                raise EmulatorError(f"the embedded AWS ended while starting ({kind}): {_log_tail(layout, kind)}")
            elif time.monotonic() > deadline:
                raise EmulatorError(
                    f"the embedded AWS did not respond within {START_TIMEOUT.seconds} s ({kind}): "
                    f"{_log_tail(layout, kind)}"
                )
        if waiting:
            time.sleep(POLL_SECONDS)


def end(kind: Kind, layout: Layout, pid: int) -> bool:
    """End a process and wait for its end; kill it after a timeout. Return whether it ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _wait_for_end(kind, layout, pid):
        return True
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _wait_for_end(kind, layout, pid)
    return False


def has_exited(pid: int) -> bool:
    """Return whether a process is not a running child of this process. Reaps a child that has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _wait_for_end(kind: Kind, layout: Layout, pid: int) -> bool:
    """Wait until a process has ended; return whether it did in time.

    Its lock decides: a dead process that its parent has not reaped keeps its id.
    """
    deadline = time.monotonic() + STOP_TIMEOUT.total_seconds()
    while not has_exited(pid) or is_locked(layout.process_file(kind)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_ready(layout: Layout, address: str, path: str) -> bool:
    try:
        return send(layout, address, path, {}, timeout=READY_TIMEOUT_SECONDS)[0] == HTTPStatus.OK
    except (OSError, HTTPException):
        return False


def _log_tail(layout: Layout, kind: Kind) -> str:
    log = layout.log(kind)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"{' / '.join(line.strip() for line in lines[-LOG_TAIL_LINES:])} (all of it: {log})"


def check_ports(ports: Ports, *, kinds: Collection[Kind]) -> None:
    """Check the ports on which processes of these kinds will listen.

    Raises:
        EmulatorError: a port cannot be used.
    """
    addresses = [(HOST, ports.port, socket.SOCK_STREAM)] if "services" in kinds else []
    if "edge" in kinds:
        addresses += [(HOST, ports.issuer_port, socket.SOCK_STREAM)]
        addresses += [(address, ports.edge_port, socket.SOCK_STREAM) for address in ports.edge_addresses.values()]
        addresses += [(HOST, ports.dns_port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    for address, port, kind in addresses:
        with socket.socket(type=kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise EmulatorError(_port_error(address, port, error)) from None


def _port_error(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"an edge listener needs the loopback address {address}, which this machine does not have: "
            f"add it with `sudo ifconfig lo0 alias {address}` (macOS) or `sudo ip addr add {address}/8 dev lo` (Linux)"
        )
    return (
        f"port {port} on {address} cannot be used ({error.strerror}): end what listens there, "
        f"or choose another with HDR_EMULATOR_PORT"
    )
