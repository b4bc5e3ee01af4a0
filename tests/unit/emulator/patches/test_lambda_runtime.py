"""Tests of concurrent invocations and of the processes of functions."""

import base64
import io
import json
import ssl
import time
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from botocore.config import Config

from healthcare_dr.emulator import Emulator
from healthcare_dr.emulator.patches.lambda_runtime import MOST_WORKERS

Clients = Callable[..., Any]


def test_versions_share_the_reserved_concurrency(
    make_function: Callable[..., str],
    make_api: Callable[..., str],
    emulator: Emulator,
    patched: Clients,
) -> None:
    arn = make_function(patched, f"versions-{uuid.uuid4()}", "def handler(event, context):\n    return 1\n")
    functions = patched("lambda")
    version = functions.publish_version(FunctionName=arn)["Version"]
    api = make_api(patched, f"{arn}:{version}", {"GET /": {}}, permitted=True)
    with httpx.Client(verify=ssl.create_default_context(cafile=str(emulator.certificate)), trust_env=False) as client:
        assert client.get(f"{emulator.api_url(api)}/").status_code == 200
        functions.put_function_concurrency(FunctionName=arn, ReservedConcurrentExecutions=0)
        assert client.get(f"{emulator.api_url(api)}/").status_code == 429
        functions.delete_function_concurrency(FunctionName=arn)
        assert client.get(f"{emulator.api_url(api)}/").status_code == 200


def test_burst_waits_for_existing_processes(
    make_function: Callable[..., str], holds_only_when_patched: Callable[[Callable[[Clients], bool]], None]
) -> None:
    source = "import os, time\n\ndef handler(event, context):\n    time.sleep(0.2)\n    return os.getpid()\n"

    def bounded(client: Clients) -> bool:
        arn = make_function(client, f"burst-{uuid.uuid4()}", source)
        functions = client("lambda")
        with ThreadPoolExecutor(2 * MOST_WORKERS) as pool:
            answers = list(pool.map(lambda _: functions.invoke(FunctionName=arn), range(2 * MOST_WORKERS)))
        assert all("FunctionError" not in answer for answer in answers)
        return len({json.load(answer["Payload"]) for answer in answers}) <= MOST_WORKERS

    holds_only_when_patched(bounded)


def test_invocation_that_waits_too_long_is_throttled(make_function: Callable[..., str], patched: Clients) -> None:
    source = "import time\n\ndef handler(event, context):\n    time.sleep(event)\n"
    arn = make_function(patched, f"busy-{uuid.uuid4()}", source)
    # Without retries: boto3's clients retry until the invocation succeeds.
    functions = patched("lambda", config=Config(retries={"total_max_attempts": 1}))
    functions.invoke(FunctionName=arn, Payload=b"0")
    with ThreadPoolExecutor(MOST_WORKERS) as pool:
        busy = [pool.submit(functions.invoke, FunctionName=arn, Payload=b"8") for _ in range(MOST_WORKERS)]
        time.sleep(1)
        with pytest.raises(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=arn, Payload=b"0")
        assert all("FunctionError" not in call.result() for call in busy)
    assert functions.invoke(FunctionName=arn, Payload=b"0")["StatusCode"] == 200


PROCESS = """
import os, signal, sys

def handler(event, context):
    print("logged", os.environ["AWS_LAMBDA_FUNCTION_NAME"])
    if event == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "kill the parent":
        os.kill(os.getppid(), signal.SIGKILL)
    return {
        "parent": os.getppid(),
        "file": os.path.realpath(__file__),
        "descriptors": [os.readlink(f"/proc/self/fd/{number}").partition(":")[0] for number in range(3)],
        "others": len([entry for entry in os.listdir("/proc/self/fd") if int(entry) > 2]),
        "loaded": "botocore.session" in sys.modules,
    }
"""


def test_function_processes_are_forks_with_own_streams_and_variables(
    make_function: Callable[..., str], holds_only_when_patched: Callable[[Callable[[Clients], bool]], None]
) -> None:
    def forked(client: Clients) -> bool:
        names = [f"forked-{uuid.uuid4()}" for _ in range(2)]
        found = []
        for name in names:
            arn = make_function(client, name, PROCESS)
            answer = client("lambda").invoke(FunctionName=arn, Payload=b"0", LogType="Tail")
            found.append(json.load(answer["Payload"]))
            assert f"logged {name}" in base64.b64decode(answer["LogResult"]).decode()
            assert found[-1]["descriptors"] == ["pipe"] * 3
        # The listed folder, and no descriptor of the fork server or of another function.
        assert all(one["others"] == 1 for one in found)
        # Functions of one zip share its files, so that modules are compiled once.
        return found[0]["file"] == found[1]["file"] and all(one["loaded"] for one in found)

    holds_only_when_patched(forked)


def test_function_that_dies_or_kills_its_parent_is_restarted(
    make_function: Callable[..., str], patched: Clients
) -> None:
    arn = make_function(patched, f"dying-{uuid.uuid4()}", PROCESS)

    def call(event: str) -> Any:
        return patched("lambda").invoke(FunctionName=arn, Payload=json.dumps(event).encode())

    first = json.load(call("")["Payload"])
    assert "FunctionError" in call("die")
    assert json.load(call("")["Payload"])["parent"] == first["parent"]
    assert "FunctionError" not in call("kill the parent")
    assert "FunctionError" in call("die")
    assert json.load(call("")["Payload"])["parent"] != first["parent"]


def test_function_with_its_own_botocore_uses_it(patched: Clients, make_role: Callable[..., str]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("botocore/__init__.py", "own = True\n")
        package.writestr("function.py", "import botocore\n\ndef handler(event, context):\n    return botocore.own\n")
    name = f"bundled-{uuid.uuid4()}"
    role = make_role(patched, name, trust={"Principal": {"Service": "lambda.amazonaws.com"}})
    patched("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="function.handler",
        Role=role,
        Code={"ZipFile": archive.getvalue()},
    )
    assert json.load(patched("lambda").invoke(FunctionName=name)["Payload"]) is True
