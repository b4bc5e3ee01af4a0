"""How the process of an embedded AWS is started, watched and seen to end."""

import http.client
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

from healthcare_dr.emulator.configuration import Ports, process_environment
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.locks import POLL_SECONDS, held
from healthcare_dr.errors import EmulatorError

START_TIMEOUT = timedelta(seconds=60)
STOP_TIMEOUT = timedelta(seconds=60)
LOG_TAIL_LINES = 5


def spawn(layout: Layout, ports: Ports, *, fixed: bool) -> int:
    """Start the process in a session of its own, with a clean environment; gives its number."""
    if layout.log.exists():
        layout.log.replace(layout.log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        [
            sys.executable,
            *("-P", "-m", "healthcare_dr.emulator"),
            *("--home", str(layout.home)),
            *("--port", str(ports.port)),
            *("--regions", *ports.regions),
            *("--account", ports.account),
            *(() if fixed else ("--unfixed",)),
        ],
        process_environment(layout, ports, os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(layout.log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def await_ready(layout: Layout, ports: Ports, *, ended: Callable[[], bool]) -> None:
    """Return when the services and the issuer answer. `ended` says whether the process is no more.

    Raises:
        EmulatorError: the process ended, or they do not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    addresses = (f"{ports.endpoint}/_ministack/ready", f"{ports.issuer}/.well-known/openid-configuration")
    while not all(_answers(layout, address) for address in addresses):
        if ended():
            raise EmulatorError(f"the embedded AWS ended while starting: {_log_tail(layout)}")
        if time.monotonic() > deadline:
            raise EmulatorError(
                f"the embedded AWS did not answer within {START_TIMEOUT.seconds} s: {_log_tail(layout)}"
            )
        time.sleep(POLL_SECONDS)


def end(layout: Layout, pid: int) -> bool:
    """Ask the process to end and wait until it has; kills it when it does not. Whether it ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _ends(layout, pid):
        return True
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _ends(layout, pid)
    return False


def collected(pid: int) -> bool:
    """Whether a process is no living child of ours. One that ended leaves no zombie behind."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _ends(layout: Layout, pid: int) -> bool:
    """Whether it ends in time. The lock tells: a dead process whose parent does not collect it keeps its number."""
    deadline = time.monotonic() + STOP_TIMEOUT.total_seconds()
    while not collected(pid) or held(layout.process_file):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _answers(layout: Layout, address: str) -> bool:
    parts = urlsplit(address)
    context = ssl.create_default_context(cafile=str(layout.authority_certificate))
    connection = http.client.HTTPSConnection(parts.netloc, timeout=5, context=context)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _log_tail(layout: Layout) -> str:
    lines = layout.log.read_text(errors="replace").splitlines() if layout.log.exists() else []
    return f"{' / '.join(line.strip() for line in lines[-LOG_TAIL_LINES:])} (all of it: {layout.log})"
