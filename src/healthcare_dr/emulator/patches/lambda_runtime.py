"""The processes that run Lambda functions."""

import importlib.util
import os
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

# What AWS's Python runtimes bring along: boto3 and all that it needs.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")
# More processes of one function make each of them slower: a laptop has a few cores, and no fleet.
MOST_WORKERS = 4
# A function that calls itself would wait for ever, and a client that is told soon to come again does so.
WORKER_SECONDS = 2.0


def packages() -> Path:
    """The folder that functions import from, besides their zip and the standard library."""
    return Path(os.environ["TMPDIR"], "lambda-runtime")


def show_functions_only_their_runtime() -> None:
    """Functions could import everything that is installed here, so that a package missing from the zip went
    unnoticed; on AWS they see their zip, boto3 and the standard library."""
    inner = lambda_runtime._detect_runtime_binary
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    # Only processes that start from now on read it: functions.
    os.environ["PYTHONPATH"] = str(_runtime(packages()))
    os.environ["PYTHONNOUSERSITE"] = "1"

    def detect(runtime: str) -> tuple[str, str]:
        binary, script = inner(runtime)
        return (str(interpreter) if binary == sys.executable else binary), script

    lambda_runtime._detect_runtime_binary = detect


def hold_versions_to_the_reserved_concurrency() -> None:
    """A function's reserved concurrency did not hold for its versions and aliases, which on AWS share it."""
    inner = lambda_svc._effective_func_record_for_qualifier

    def effective(func: dict[str, Any] | None, qualifier: str | None) -> tuple[dict[str, Any] | None, Any]:
        record, config = inner(func, qualifier)
        if func is not None and record is not None and record is not func:
            record["concurrency"] = func.get("concurrency")
        return record, config

    lambda_svc._effective_func_record_for_qualifier = effective


def let_bursts_wait_for_a_worker() -> None:
    """Each invocation without an idle process started one more: a slow moment and repeated requests became hundreds of
    processes, which never recovered. Now a burst waits in a queue, and is throttled after 2 s: after its client's
    timeout a response has no reader.
    """
    acquire, release = lambda_svc.acquire_worker, lambda_svc.release_worker
    lines: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(MOST_WORKERS))
    leased: dict[int, threading.Semaphore] = {}

    def acquire_worker(
        func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str = "$LATEST"
    ) -> tuple[Any, str]:
        line = lines[lambda_runtime._worker_key(func_name, config, qualifier)]
        if not line.acquire(timeout=WORKER_SECONDS):
            return None, "func_cap"
        worker = None
        try:
            worker, reason = acquire(func_name, config, code_zip, qualifier=qualifier)
        finally:
            if worker is None:
                line.release()
            else:
                leased[id(worker)] = line
        return worker, reason

    def release_worker(worker: Any) -> None:
        line = leased.pop(id(worker), None)
        release(worker)
        if line is not None:
            line.release()

    lambda_svc.acquire_worker, lambda_svc.release_worker = acquire_worker, release_worker


def _runtime(folder: Path) -> Path:
    folder.mkdir()
    for name in RUNTIME_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if spec.submodule_search_locations else origin
            (folder / source.name).symlink_to(source)
    return folder
