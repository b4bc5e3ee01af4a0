"""The import of the handler in a new process."""

import subprocess
import sys
from dataclasses import replace

from unit.patient_api.fakes.aws import ENVIRONMENT, REGION

VARIABLES = replace(ENVIRONMENT, cors=False, issuer="", tenant_claim="tenant").variables() | {"AWS_REGION": REGION}


def start(variables: dict[str, str], code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )


def test_garbage_collection_is_enabled_after_the_start() -> None:
    code = "import gc, patient_api.handlers.api; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    assert start(VARIABLES, code).stdout.split() == ["True", "True"]


def test_missing_variable_is_named() -> None:
    ended = start(
        {name: value for name, value in VARIABLES.items() if name != "KEY_ARN"}, "import patient_api.handlers.api"
    )
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == "KeyError: 'KEY_ARN'"
