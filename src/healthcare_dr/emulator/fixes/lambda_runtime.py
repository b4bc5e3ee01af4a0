"""The processes that run Lambda functions."""

import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

# What AWS's Python runtimes bring along: boto3 and all that it needs.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")
# More processes of one function make each of them slower: a laptop has a few cores, and no fleet.
MOST_WORKERS = 12
# A function that calls itself would wait for ever.
WORKER_SECONDS = 5.0


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
    """Each call that found no idle process started one more: a moment of slowness and repeated requests became
    hundreds of processes, which nothing recovered from. Now a burst waits, and is throttled after 5 s."""
    acquire, release = lambda_svc.acquire_worker, lambda_svc.release_worker
    released = threading.Condition()

    def acquire_worker(*args: Any, **options: Any) -> tuple[Any, str]:
        deadline = time.monotonic() + WORKER_SECONDS
        with released:
            while True:
                worker, reason = acquire(*args, **{**options, "max_concurrency": MOST_WORKERS})
                left = deadline - time.monotonic()
                if worker is not None or left <= 0:
                    return worker, reason
                released.wait(left)

    def release_worker(worker: Any) -> None:
        release(worker)
        with released:
            released.notify_all()

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
