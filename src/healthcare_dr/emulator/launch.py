"""Start, await and end the processes of an embedded AWS."""

import http.client
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

from healthcare_dr.emulator.configuration import Ports, process_environment
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.locks import POLL_SECONDS, held
from healthcare_dr.emulator.process import Kind
from healthcare_dr.errors import EmulatorError

START_TIMEOUT = timedelta(seconds=60)
STOP_TIMEOUT = timedelta(seconds=60)
LOG_TAIL_LINES = 5
READY: Mapping[Kind, Callable[[Ports], str]] = {
    "services": lambda ports: f"{ports.endpoint}/_ministack/ready",
    "edge": lambda ports: f"{ports.issuer}/.well-known/openid-configuration",
}


def spawn(kind: Kind, layout: Layout, ports: Ports, *, patched: bool, ends_with: int | None) -> int:
    """Start a process in a session of its own, with a clean environment, and return its id.

    It ends by itself once the process `ends_with` no longer exists.
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
    """Return when every process in `kinds` answers. Each value returns whether that process has ended.

    Raises:
        EmulatorError: a process ended, or does not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    waiting = dict(kinds)
    while waiting:
        for kind, ended in list(waiting.items()):
            if _answers(layout, READY[kind](ports)):
                del waiting[kind]
            elif ended():
                raise EmulatorError(f"the embedded AWS ended while starting ({kind}): {_log_tail(layout, kind)}")
            elif time.monotonic() > deadline:
                raise EmulatorError(
                    f"the embedded AWS did not answer within {START_TIMEOUT.seconds} s ({kind}): "
                    f"{_log_tail(layout, kind)}"
                )
        if waiting:
            time.sleep(POLL_SECONDS)


def end(kind: Kind, layout: Layout, pid: int) -> bool:
    """End a process and wait until it has; kill it when it does not. Return whether it ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if _ends(kind, layout, pid):
        return True
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _ends(kind, layout, pid)
    return False


def collected(pid: int) -> bool:
    """Return whether a process is not a living child of this one. One that ended leaves no zombie behind."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _ends(kind: Kind, layout: Layout, pid: int) -> bool:
    """Return whether the process ends in time, by its lock: a dead process that was not collected keeps its id."""
    deadline = time.monotonic() + STOP_TIMEOUT.total_seconds()
    while not collected(pid) or held(layout.process_file(kind)):
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


def _log_tail(layout: Layout, kind: Kind) -> str:
    log = layout.log(kind)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"{' / '.join(line.strip() for line in lines[-LOG_TAIL_LINES:])} (all of it: {log})"
