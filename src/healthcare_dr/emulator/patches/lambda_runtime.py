"""Patch the execution of Lambda functions: their packages, concurrency, processes and invocations."""

import hashlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from healthcare_dr.emulator.patches.replacement import replaces
from healthcare_dr.emulator.services import fork_server

# The packages of AWS's Python runtimes: boto3 and its dependencies.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")
# A laptop has a few cores, so more processes of one function slow down each of them.
MOST_WORKERS = 4
# The longest wait for a process: a function that calls itself would wait forever.
WORKER_SECONDS = 2.0

Result = dict[str, Any]
# The worker script of ministack sends the response as its last step for an invocation. With the patch, it first marks
# the end of the invocation's log: later bytes of standard error belong to the next invocation.
RESPONSE_SENT = "        _real_stdout.flush()\n\nrun()\n"
MARKED = (
    '        sys.stderr.flush()\n        os.write(2, b"\\0" + context.aws_request_id.encode() + b"\\n")\n'
    + RESPONSE_SENT
)
# How long to wait for the mark of a function that has closed its standard error.
MARK_SECONDS = 0.25
# The interval between reads of the log of a starting process.
START_SECONDS = 0.01
CHUNK = 1 << 16
PYTHON_WORKER, LAYERS = "/_worker.py", "_LAMBDA_LAYERS_DIRS"
PROCESS_ID_BYTES = 32
END_SECONDS = 5.0
# The number of output lines that may precede the response, as in ministack.
MOST_LINES = 200


def packages() -> Path:
    """Return the folder that functions import from, besides their zip and the standard library."""
    return Path(os.environ["TMPDIR"], "lambda-runtime")


def isolate_function_packages() -> None:
    """Functions could import every package of this environment, so a package that was missing in the zip went
    unnoticed. On AWS they see their zip, boto3 and the standard library.
    """
    inner = lambda_runtime._detect_runtime_binary
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    # Read by processes that start from now on: those of functions.
    os.environ["PYTHONPATH"] = str(_link_runtime_packages(packages()))
    os.environ["PYTHONNOUSERSITE"] = "1"

    def detect(runtime: str) -> tuple[str, str]:
        binary, script = inner(runtime)
        return (str(interpreter) if binary == sys.executable else binary), script

    lambda_runtime._detect_runtime_binary = detect


@replaces(lambda_svc, "_effective_func_record_for_qualifier")
def share_reserved_concurrency(
    inner: Callable[..., tuple[dict[str, Any] | None, Any]], func: dict[str, Any] | None, qualifier: str | None
) -> tuple[dict[str, Any] | None, Any]:
    """The reserved concurrency of a function did not apply to its versions and aliases, which share it on AWS."""
    record, config = inner(func, qualifier)
    if func is not None and record is not None and record is not func:
        record["concurrency"] = func.get("concurrency")
    return record, config


def limit_workers() -> None:
    """Each invocation without an idle process started another process, so that a slow moment and repeated requests
    became hundreds of processes, and the function never recovered. With the patch, a burst waits in a queue. An
    invocation that has waited for 2 s is throttled, because its client times out soon.
    """
    acquire, release = lambda_svc.acquire_worker, lambda_svc.release_worker
    queues: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(MOST_WORKERS))
    leased: dict[int, threading.Semaphore] = {}

    def acquire_worker(
        func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str = "$LATEST"
    ) -> tuple[Any, str]:
        queue = queues[lambda_runtime._worker_key(func_name, config, qualifier)]
        if not queue.acquire(timeout=WORKER_SECONDS):
            return None, "func_cap"
        worker = None
        try:
            worker, reason = acquire(func_name, config, code_zip, qualifier=qualifier)
        finally:
            if worker is None:
                queue.release()
            else:
                leased[id(worker)] = queue
        return worker, reason

    def release_worker(worker: Any) -> None:
        queue = leased.pop(id(worker), None)
        release(worker)
        if queue is not None:
            queue.release()

    lambda_svc.acquire_worker, lambda_svc.release_worker = acquire_worker, release_worker


def _link_runtime_packages(folder: Path) -> Path:
    folder.mkdir()
    for name in RUNTIME_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if spec.submodule_search_locations else origin
            (folder / source.name).symlink_to(source)
    return folder


def invoke_in_one_thread() -> None:
    """Run an invocation in one thread, and read its log up to a mark. ministack starts two threads and polls for log
    lines until there has been none for 5 to 50 ms, which is most of the time of a short call.
    """
    detect_inner, spawn_inner = lambda_runtime._detect_runtime_binary, lambda_runtime.Worker._spawn
    invoke_inner = lambda_runtime.Worker.invoke

    def detect(runtime: str) -> tuple[str, str]:
        binary, script = detect_inner(runtime)
        if runtime.startswith("python"):
            marked = script.replace(RESPONSE_SENT, MARKED)
            if marked == script:
                raise RuntimeError("the worker script of ministack has changed: update MARKED")
            script = marked
        return binary, script

    def spawn(worker: Any) -> None:
        worker._logged, worker._spawned = bytearray(), threading.Event()
        try:
            spawn_inner(worker)
        finally:
            worker._spawned.set()
            if worker._stderr_thread is not None:
                worker._stderr_thread.join()

    def invoke(worker: Any, event: Any, request_id: str, **options: Any) -> Result:
        if not _runs_python(worker):
            response: Result = invoke_inner(worker, event, request_id, **options)
            return response
        with worker._lock:
            return _invoke(worker, event, request_id, **options)

    lambda_runtime._detect_runtime_binary = detect
    lambda_runtime.Worker._spawn = spawn
    lambda_runtime.Worker._read_stderr = _read_while_starting
    lambda_runtime.Worker.invoke = invoke


def _runs_python(worker: Any) -> bool:
    return str(worker.config.get("Runtime", "python3.12")).startswith("python")


def _read_while_starting(worker: Any) -> None:
    """Read the log of a starting process, on a thread of its own: a full pipe would block the process."""
    pipe = worker._proc.stderr
    if not _runs_python(worker):
        with suppress(ValueError, OSError):
            for line in pipe:
                worker._stderr_queue.put(line.rstrip("\n"))
        return
    readable = select.poll()
    readable.register(pipe, select.POLLIN)
    while not worker._spawned.is_set():
        if readable.poll(START_SECONDS * 1000):
            data = os.read(pipe.fileno(), CHUNK)
            if not data:
                return
            worker._logged += data


def _invoke(
    worker: Any,
    event: Any,
    request_id: str,
    *,
    trace_id: str | None = None,
    depth: int | None = None,
    durable: Result | None = None,
    invoked_function_arn: str | None = None,
) -> Result:
    """Invoke like `Worker.invoke`. As there, an error or a timeout ends the process."""
    cold = worker._proc is None or worker._proc.poll() is not None
    if cold:
        worker._spawn()
        worker._cold = False
    timeout = worker.config.get("Timeout", 30)
    if invoked_function_arn is None:
        invoked_function_arn = worker.config.get("FunctionArn", "")
    context = {
        "request_id": request_id,
        "invoked_function_arn": invoked_function_arn,
        "timeout_ms": int(float(timeout) * 1000),
        "trace_id": trace_id,
        "depth": depth,
        "durable": durable or {},
    }
    try:
        worker._proc.stdin.write(json.dumps({"event": event, "ctx": context}) + "\n")
        worker._proc.stdin.flush()
        response = _await_response(worker, request_id, time.monotonic() + timeout)
    except (OSError, ValueError) as error:
        response = {"status": "error", "error": str(error)}
    if response is None:
        lambda_runtime.logger.warning("Lambda %s timed out after %ds — killing worker", worker.func_name, timeout)
        response = {"status": "error", "error": f"Task timed out after {timeout}.00 seconds"}
    if response["status"] == "error":
        process, worker._proc = worker._proc, None
        lambda_runtime._signal(process)
        lambda_runtime._collect(process, time.monotonic() + lambda_runtime._REAP_GRACE)
    log, worker._logged = _log(worker._logged, request_id)
    return {**response, "cold_start": cold, "log": log}


def _await_response(worker: Any, request_id: str, deadline: float) -> Result | None:
    """Return the function's response, once its whole log is in `worker._logged`; None after the deadline."""
    responses, logs = worker._proc.stdout.fileno(), worker._proc.stderr.fileno()
    mark = _mark(request_id)
    readable = select.poll()
    for pipe in (responses, logs):
        readable.register(pipe, select.POLLIN)
    received, lines, response, logging = bytearray(), 0, None, True
    while response is None or (logging and mark not in worker._logged):
        found = readable.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not found:
            return response
        for pipe, _ in found:
            data = os.read(pipe, CHUNK)
            if pipe == logs:
                worker._logged += data
                if not data:
                    readable.unregister(logs)
                    logging = False
                continue
            if not data:
                return response or {"status": "error", "error": "Worker process died"}
            received += data
            while response is None and b"\n" in received:
                line, _, received = received.partition(b"\n")
                response, lines = _response(line), lines + 1
                if response is None and lines >= MOST_LINES:
                    return {"status": "error", "error": f"No JSON response from worker after {MOST_LINES} lines"}
            if response is not None:
                deadline = min(deadline, time.monotonic() + MARK_SECONDS)
    return response


def _response(line: bytes | bytearray) -> Result | None:
    """Return the response in a line; None if the line is other output."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if found.get("status") in ("ok", "error") else None


def _mark(request_id: str) -> bytes:
    return b"\0" + request_id.encode() + b"\n"


def _log(logged: bytearray, request_id: str) -> tuple[str, bytearray]:
    """Return the log of the invocation, and the output after its end."""
    own, mark, later = logged.partition(_mark(request_id))
    text = own.decode(errors="replace")
    return "\n".join(text.splitlines()), bytearray(later) if mark else bytearray()


class ForkedProcess:
    """A process started by the fork server, with the part of `subprocess.Popen` that ministack uses."""

    def __init__(self, pid: int, descriptor: int, streams: "tuple[IO[str], IO[str], IO[str]]") -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = streams
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def poll(self) -> int | None:
        """Return None while the process runs, else 0: only the fork server can read the exit status."""
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends.

        Raises:
            TimeoutExpired: it still runs after `timeout` seconds.
        """
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired("a function", timeout or 0)
        return 0

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def _ended(self, timeout: float | None) -> bool:
        ended = select.poll()
        ended.register(self._descriptor, select.POLLIN)
        return bool(ended.poll(None if timeout is None else timeout * 1000))


class ForkServer:
    """Starts Python functions as forks of one process (see `fork_server`), which starts with the first function."""

    def __init__(self, interpreter: str) -> None:
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self, script: str, *, folder: str, environment: Mapping[str, str]) -> ForkedProcess:
        """Start a process that runs `script` in `folder`.

        Raises:
            OSError: it cannot be started.
        """
        request = json.dumps({"script": script, "folder": folder, "environment": dict(environment)}).encode()
        (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = os.pipe(), os.pipe(), os.pipe()
        ours = open(to_stdin, "w", buffering=1), open(from_stdout), open(from_stderr)  # noqa: PTH123, SIM115 - pipes
        try:
            with self._lock:
                return ForkedProcess(*self._request(request, (stdin, stdout, stderr)), ours)
        except OSError:
            for stream in ours:
                stream.close()
            raise
        finally:
            for pipe in (stdin, stdout, stderr):
                os.close(pipe)

    def stop(self) -> None:
        """End the process, and with it those that it has started."""
        with self._lock:
            if self._control is not None and self._process is not None:
                self._control.close()
                self._control = None
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_SECONDS)

    def _request(self, request: bytes, streams: tuple[int, int, int]) -> tuple[int, int]:
        for _ in range(2):
            control = self._control or self._begin()
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(control, [request], streams)
                pid, descriptors, _, _ = socket.recv_fds(control, PROCESS_ID_BYTES, 1)
                if pid:
                    return int(pid), descriptors[0]
            # The fork server was killed: start it once more.
            control.close()
            self._control = None
        raise ConnectionError("the fork server of the functions ends as soon as it is started")

    def _begin(self) -> socket.socket:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [self._interpreter, "-P", fork_server.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self._control


def fork_functions() -> None:
    """Start the processes of Python functions through a fork server, and share the files of one zip between them, so
    that no process loads botocore or compiles its modules anew (see `fork_server`).
    """
    if not hasattr(os, "pidfd_open"):
        return  # only Linux has it
    servers: dict[str, ForkServer] = {}

    def start(command: list[str], **options: Any) -> Any:
        interpreter, script = command[0], command[-1]
        if not script.endswith(PYTHON_WORKER):
            return subprocess.Popen(command, **options)
        code, environment = Path(options["cwd"]), options["env"]
        _share_files(code)
        # A function may bring its own botocore.
        if (code / "botocore").exists() or LAYERS in environment:
            return subprocess.Popen(command, **options)
        server = servers.setdefault(interpreter, ForkServer(interpreter))
        return server.start(script, folder=str(code), environment=environment)

    class Subprocess:
        """Replaces the module `subprocess` in ministack's Lambda."""

        PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
        Popen = staticmethod(start)

    reset_inner = lambda_runtime.reset

    def reset() -> None:
        reset_inner()
        for server in servers.values():
            server.stop()

    lambda_runtime.subprocess, lambda_runtime.reset = Subprocess, reset


def _share_files(code: Path) -> None:
    """Replace the folder of a function's files by a link to a folder that all processes of the same zip share, so that
    Python compiles each module once.
    """
    digest = hashlib.sha256((code.parent / "code.zip").read_bytes()).hexdigest()
    shared = Path(os.environ["TMPDIR"], f"lambda-code-{digest}")
    try:
        code.rename(shared)
    except OSError:  # it exists
        shutil.rmtree(code)
    code.symlink_to(shared)
