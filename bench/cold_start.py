"""Cold start of the handler against a bare boto3 handler: fresh process, imports, client, and the first answer.

Both answer `GET /fhir/Patient/{id}`: one GetItem and one PutItem to the audit table, over TLS to the embedded AWS. The
bare one does nothing else; the handler also checks, routes and logs. It makes its two calls at the same time, the
bare one makes them one after the other, as a plain program would.

Lambda's file systems are read-only. Its runtime brings boto3 with bytecode; a package brings none of its own
unless it ships it, so Python compiles it in each cold start. `cold-start` is that case, and the one that counts.
`cold-start-compiled` has bytecode on both sides, and shows what is left when compiling is taken away.
"""

import compileall
import io
import json
import shutil
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import lambdas
from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, BenchError, embedded_aws, run, scratch_folder
from healthcare_dr.infra import package

ROUNDS = 25
PROCESS = CHECKOUT / "bench" / "processes" / "cold.py"
BARE = CHECKOUT / "bench" / "bare_handler.py"
# What boto3 is and needs: what Lambda's runtime brings.
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")


def measure(say: Say) -> list[Measurement]:
    """Every sample is a process; all kinds take turns."""
    samples: dict[str, list[float]] = {}
    with scratch_folder() as scratch, embedded_aws(scratch / "home") as emulator:
        lambdas.create_tables(emulator)
        environment = lambdas.environment(emulator)
        runtime = _runtime(scratch / "runtime")
        tasks = _tasks(scratch)
        call = json.dumps(lambdas.read_call())
        for number in range(1, ROUNDS + 1):
            say(f"cold start: round {number} of {ROUNDS}")
            for kind, (task, module) in tasks.items():
                command: list[str | Path] = [sys.executable, "-I", "-S", "-B", PROCESS, task, runtime, module, call]
                answer = json.loads(run(command, environment=environment).output.splitlines()[-1])
                _check(kind, answer)
                samples.setdefault(kind, []).append(answer["milliseconds"])
    return [
        _measurement(
            samples,
            name="cold-start",
            suffix="",
            aim=Aim("ratio", "most", 1.2),
            note="Import, client, and a first audited read, as on Lambda: boto3 has bytecode, the functions' own files "
            "are compiled at each cold start.",
        ),
        _measurement(
            samples,
            name="cold-start-compiled",
            suffix=", compiled",
            aim=None,
            note="The same with bytecode for the functions' own files too.",
        ),
    ]


def _measurement(samples: dict[str, list[float]], *, name: str, suffix: str, aim: Aim | None, note: str) -> Measurement:
    handler, bare = (Series(kind + suffix, tuple(samples[kind + suffix])) for kind in ("handler", "bare boto3"))
    return Measurement(name=name, unit="ms", measured=handler, reference=bare, aim=aim, embedded=True, note=note)


def _runtime(folder: Path) -> Path:
    for name in RUNTIME:
        for file in metadata.files(name) or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
    compileall.compile_dir(folder, quiet=2)
    return folder


def _tasks(scratch: Path) -> dict[str, tuple[Path, str]]:
    """The folder and the module of each kind of function."""
    found: dict[str, tuple[Path, str]] = {}
    for suffix in ("", ", compiled"):
        handler, bare = scratch / f"handler{suffix}", scratch / f"bare{suffix}"
        with zipfile.ZipFile(io.BytesIO(package.build().content)) as archive:
            archive.extractall(handler)
        bare.mkdir()
        shutil.copy(BARE, bare)
        if suffix:
            compileall.compile_dir(handler, quiet=2)
            compileall.compile_dir(bare, quiet=2)
        found[f"handler{suffix}"] = handler, "patient_api.handler"
        found[f"bare boto3{suffix}"] = bare, BARE.stem
    return found


def _check(kind: str, answer: dict[str, Any]) -> None:
    if answer["status"] != 200 or json.loads(answer["body"])["id"] != lambdas.PATIENT_ID:
        raise BenchError(f"{kind} answered {answer['status']} instead of the record")
