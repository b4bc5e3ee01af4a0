"""The processes that run Lambda functions."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

# What AWS's Python runtimes bring along: boto3 and all that it needs.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")


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


def _runtime(folder: Path) -> Path:
    folder.mkdir()
    for name in RUNTIME_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if spec.submodule_search_locations else origin
            (folder / source.name).symlink_to(source)
    return folder
