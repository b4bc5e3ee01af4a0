"""Measure the cold start of the API compared with a handler on boto3 alone and with FastAPI.

A cold start is a new process: imports, client, first response. All sides respond to `GET /fhir/Patient/{id}` with one
Query and one PutItem to the audit table, over TLS to the embedded AWS. The handler on boto3 does nothing else, and
makes both calls in turn, as a simple program would. The other two make them concurrently, and also validate and route.
The API takes its client from botocore and loads less of boto3, which can make it faster than the handler on boto3.

Lambda's file systems are read-only. Its runtime contains boto3 with bytecode. A package contains no bytecode unless it
ships it, so Python compiles it at each cold start, as here.
"""

import compileall
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench import functions
from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, BenchError, embedded_aws, run, scratch_folder
from healthcare_dr.infra import package

ROUNDS = 25
PROCESS = CHECKOUT / "bench" / "processes" / "cold.py"
BARE = CHECKOUT / "bench" / "bare_handler.py"
FRAMEWORK_HANDLER = CHECKOUT / "bench" / "fastapi_handler.py"
# Distributions in Lambda's runtime, and in the package of the FastAPI handler.
RUNTIME = ("boto3",)
FASTAPI = ("fastapi", "mangum")
OURS, BOTO3, FRAMEWORK = "handler", "bare boto3", "FastAPI with Mangum"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def measure(say: Say) -> list[Measurement]:
    """Start a process for each sample; the sides alternate."""
    samples: dict[str, list[float]] = {}
    with scratch_folder() as scratch, embedded_aws() as emulator:
        functions.create_resources(emulator)
        environment = functions.environment(emulator)
        runtime = scratch / "runtime"
        _install(RUNTIME, runtime)
        compileall.compile_dir(runtime, quiet=2)
        tasks = _tasks(scratch)
        call = json.dumps(functions.call("GET"))
        for number in range(1, ROUNDS + 1):
            say(f"cold start: round {number} of {ROUNDS}")
            for kind, (task, module) in tasks.items():
                command: list[str | Path] = [sys.executable, "-I", "-S", "-B", PROCESS, task, runtime, module, call]
                answer = json.loads(run(command, environment=environment).output.splitlines()[-1])
                _check(kind, answer)
                samples.setdefault(kind, []).append(answer["milliseconds"])
    series = {kind: Series(kind, tuple(found)) for kind, found in samples.items()}
    return [
        Measurement(
            name="cold-start",
            unit="ms",
            measured=series[OURS],
            reference=series[BOTO3],
            aim=Aim("ratio", "most", 1.25),
            embedded=True,
            note="Import, client, and a first audited read, as on Lambda: boto3 has bytecode, the functions' own files "
            "are compiled at each cold start.",
        ),
        Measurement(
            name="cold-start-fastapi",
            unit="ms",
            measured=series[FRAMEWORK],
            reference=series[OURS],
            aim=Aim("ratio", "least", 1.5),
            embedded=True,
            note="The same read through FastAPI with Mangum and pydantic models; the ratio is how many times faster "
            "the handler is.",
        ),
    ]


def _tasks(scratch: Path) -> dict[str, tuple[Path, str]]:
    """Return the folder and the module of each side."""
    handler, bare, framework = (scratch / name for name in ("handler", "bare", "framework"))
    with zipfile.ZipFile(io.BytesIO(package.build().content)) as archive:
        archive.extractall(handler)
    bare.mkdir()
    shutil.copy(BARE, bare)
    _install(FASTAPI, framework)
    shutil.copy(FRAMEWORK_HANDLER, framework)
    return {
        OURS: (handler, "patient_api.handlers.api"),
        BOTO3: (bare, BARE.stem),
        FRAMEWORK: (framework, FRAMEWORK_HANDLER.stem),
    }


def _install(names: Iterable[str], folder: Path) -> None:
    """Copy the distributions and their requirements, without bytecode."""
    for distribution in _with_requirements(names):
        for file in distribution.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def _with_requirements(names: Iterable[str]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    remaining = [(name, True) for name in names]
    while remaining:
        name, needed = remaining.pop()
        try:
            distribution = found.setdefault(name.lower().replace("_", "-"), metadata.distribution(name))
        except metadata.PackageNotFoundError:
            # Some requirements are for other systems or older versions of Python only.
            if needed:
                raise BenchError(f"{name} is not installed: run `make bench`, which installs it first") from None
            continue
        for line in distribution.requires or ():
            requirement = _NAME.match(line)
            if requirement and "extra ==" not in line and requirement[0].lower().replace("_", "-") not in found:
                remaining.append((requirement[0], False))
    return list(found.values())


def _check(kind: str, answer: dict[str, Any]) -> None:
    if answer["status"] != 200 or json.loads(answer["body"])["id"] != functions.PATIENT_ID:
        raise BenchError(f"{kind} returned {answer['status']} instead of the record: {answer['body']}")
