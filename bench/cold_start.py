"""Cold start of the API against a bare boto3 handler and against FastAPI: fresh process, imports, client, first answer.

All answer `GET /fhir/Patient/{id}`: one Query and one PutItem to the audit table, over TLS to the embedded AWS. The
bare one does nothing else, and makes its two calls one after the other, as a plain program would; the other two make
them at the same time, and check and route as well. The API takes its client from botocore and so spares itself the
rest of boto3, which can make it faster than the bare one.

Lambda's file systems are read-only. Its runtime brings boto3 with bytecode; a package brings none of its own
unless it ships it, so Python compiles it in each cold start. `cold-start` is that case, and the one that counts.
`cold-start-compiled` has bytecode on all sides, and shows what is left when compiling is taken away.
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

from bench import lambdas
from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, BenchError, embedded_aws, run, scratch_folder
from healthcare_dr.infra import package

ROUNDS = 25
PROCESS = CHECKOUT / "bench" / "processes" / "cold.py"
BARE = CHECKOUT / "bench" / "bare_handler.py"
# What Lambda's runtime brings, and what FastAPI's package has beside the application.
RUNTIME = ("boto3",)
FASTAPI = ("fastapi", "mangum")
OURS, BOTO3, FRAMEWORK = "handler", "bare boto3", "FastAPI with Mangum"

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def measure(say: Say) -> list[Measurement]:
    """Every sample is a process; all kinds take turns."""
    samples: dict[str, list[float]] = {}
    with scratch_folder() as scratch, embedded_aws(scratch / "home") as emulator:
        lambdas.create_resources(emulator)
        environment = lambdas.environment(emulator)
        runtime = scratch / "runtime"
        _install(RUNTIME, runtime)
        compileall.compile_dir(runtime, quiet=2)
        tasks = _tasks(scratch)
        call = json.dumps(lambdas.read_call())
        for number in range(1, ROUNDS + 1):
            say(f"cold start: round {number} of {ROUNDS}")
            for kind, (task, module) in tasks.items():
                command: list[str | Path] = [sys.executable, "-I", "-S", "-B", PROCESS, task, runtime, module, call]
                answer = json.loads(run(command, environment=environment).output.splitlines()[-1])
                _check(kind, answer)
                samples.setdefault(kind, []).append(answer["milliseconds"])
    series = {kind: Series(kind, tuple(found)) for kind, found in samples.items()}
    return [*_against_boto3(series), *_against_fastapi(series)]


def _against_boto3(series: dict[str, Series]) -> list[Measurement]:
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
            name="cold-start-compiled",
            unit="ms",
            measured=series[_compiled(OURS)],
            reference=series[_compiled(BOTO3)],
            embedded=True,
            note="The same with bytecode for the functions' own files too.",
        ),
    ]


def _against_fastapi(series: dict[str, Series]) -> list[Measurement]:
    return [
        Measurement(
            name="cold-start-fastapi",
            unit="ms",
            measured=series[FRAMEWORK],
            reference=series[OURS],
            aim=Aim("ratio", "least", 1.5),
            embedded=True,
            note="The same read through the same routes in FastAPI with Mangum; the ratio is how many times faster "
            "the handler is.",
        ),
        Measurement(
            name="cold-start-fastapi-compiled",
            unit="ms",
            measured=series[_compiled(FRAMEWORK)],
            reference=series[_compiled(OURS)],
            embedded=True,
            note="The same with bytecode for the functions' own files too.",
        ),
    ]


def _compiled(kind: str) -> str:
    return f"{kind}, compiled"


def _tasks(scratch: Path) -> dict[str, tuple[Path, str]]:
    """The folder and the module of each kind of function."""
    found: dict[str, tuple[Path, str]] = {}
    handler, bare, framework = (scratch / name for name in ("handler", "bare", "framework"))
    with zipfile.ZipFile(io.BytesIO(package.build().content)) as archive:
        archive.extractall(handler)
    bare.mkdir()
    shutil.copy(BARE, bare)
    _install(FASTAPI, framework)
    sources = CHECKOUT / "bench" / "fastapi_app"
    shutil.copytree(sources, framework / "bench" / sources.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "bench" / "__init__.py", framework / "bench")
    modules = {OURS: "patient_api.handlers.api", BOTO3: BARE.stem, FRAMEWORK: f"bench.{sources.name}.handler"}
    for kind, folder in ((OURS, handler), (BOTO3, bare), (FRAMEWORK, framework)):
        compiled = shutil.copytree(folder, f"{folder}-compiled")
        compileall.compile_dir(compiled, quiet=2)
        found |= {kind: (folder, modules[kind]), _compiled(kind): (Path(compiled), modules[kind])}
    return found


def _install(names: Iterable[str], folder: Path) -> None:
    """The distributions and all that they need, without bytecode."""
    for distribution in _with_requirements(names):
        for file in distribution.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def _with_requirements(names: Iterable[str]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    wanted = [(name, True) for name in names]
    while wanted:
        name, needed = wanted.pop()
        try:
            distribution = found.setdefault(name.lower().replace("_", "-"), metadata.distribution(name))
        except metadata.PackageNotFoundError:
            # Some are needed on other systems or by older versions of Python only.
            if needed:
                raise BenchError(f"{name} is not installed: run `make bench`, which installs it first") from None
            continue
        for line in distribution.requires or ():
            requirement = _NAME.match(line)
            if requirement and "extra ==" not in line and requirement[0].lower().replace("_", "-") not in found:
                wanted.append((requirement[0], False))
    return list(found.values())


def _check(kind: str, answer: dict[str, Any]) -> None:
    if answer["status"] != 200 or json.loads(answer["body"])["id"] != lambdas.PATIENT_ID:
        raise BenchError(f"{kind} answered {answer['status']} instead of the record: {answer['body']}")
