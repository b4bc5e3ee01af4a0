"""Tests of invocations: packages, concurrency, processes and logs of functions."""

import base64
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from healthcare_dr.emulator.patches.lambda_runtime import MARKED, MOST_WORKERS
from unit.emulator.aws import ONCE, Aws, eventually, only_when_patched

IMPORTS = """
import importlib.util

def handler(event, context):
    print("called")
    return [name for name in ("boto3", "typer", "ministack") if importlib.util.find_spec(name)]
"""


SLEEPS = "import os, time\n\ndef handler(event, context):\n    time.sleep(event)\n    return os.getpid()\n"


@pytest.mark.trap(39)
@only_when_patched
def test_function_sees_only_packages_of_its_runtime(aws: Aws) -> bool:
    return bool(aws.invoke(aws.function("imports", IMPORTS)) == ["boto3"])


def test_versions_share_the_reserved_concurrency(patched: Aws) -> None:
    arn = patched.function(f"versions-{uuid.uuid4()}", "def handler(event, context):\n    return 1\n")
    functions = patched("lambda")
    version = functions.publish_version(FunctionName=arn)["Version"]
    address = f"{patched.emulator.api_url(patched.api(f'{arn}:{version}', {'GET /': {}}))}/"
    assert patched.get(address).status_code == 200
    functions.put_function_concurrency(FunctionName=arn, ReservedConcurrentExecutions=0)
    assert patched.get(address).status_code == 429
    functions.delete_function_concurrency(FunctionName=arn)
    assert patched.get(address).status_code == 200


@only_when_patched
def test_burst_waits_for_existing_processes(aws: Aws) -> bool:
    arn = aws.function(f"burst-{uuid.uuid4()}", SLEEPS)
    with ThreadPoolExecutor(2 * MOST_WORKERS) as pool:
        results = list(pool.map(lambda _: aws.invoke(arn, 1), range(2 * MOST_WORKERS)))
    assert all(isinstance(result, int) for result in results)
    return len(set(results)) <= MOST_WORKERS


def test_invocation_that_waits_too_long_is_throttled(patched: Aws) -> None:
    arn = patched.function(f"busy-{uuid.uuid4()}", SLEEPS)
    # Without retries: boto3's clients retry until the invocation succeeds.
    functions = patched("lambda", config=ONCE)
    functions.invoke(FunctionName=arn, Payload=b"0")
    with ThreadPoolExecutor(MOST_WORKERS) as pool:
        busy = [pool.submit(functions.invoke, FunctionName=arn, Payload=b"8") for _ in range(MOST_WORKERS)]

        def is_throttled() -> bool:
            try:
                functions.invoke(FunctionName=arn, Payload=b"0")
            except functions.exceptions.TooManyRequestsException:
                return True
            return False

        assert eventually(is_throttled)
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


@only_when_patched
def test_function_processes_are_forks_with_own_streams_and_variables(aws: Aws) -> bool:
    names = [f"forked-{uuid.uuid4()}" for _ in range(2)]
    found = []
    for name in names:
        arn = aws.function(name, PROCESS)
        answer = aws("lambda").invoke(FunctionName=arn, Payload=b"0", LogType="Tail")
        found.append(json.load(answer["Payload"]))
        assert f"logged {name}" in base64.b64decode(answer["LogResult"]).decode()
        assert found[-1]["descriptors"] == ["pipe"] * 3
    # The listed folder, and no descriptor of the fork server or of another function.
    assert all(one["others"] == 1 for one in found)
    # Functions of one zip share its files, so that modules are compiled once.
    return found[0]["file"] == found[1]["file"] and all(one["loaded"] for one in found)


def test_function_that_dies_or_kills_its_parent_is_restarted(patched: Aws) -> None:
    arn = patched.function(f"dying-{uuid.uuid4()}", PROCESS)
    parent = patched.invoke(arn)["parent"]
    assert "errorMessage" in patched.invoke(arn, "die")
    assert patched.invoke(arn)["parent"] == parent
    assert "errorMessage" not in patched.invoke(arn, "kill the parent")
    assert "errorMessage" in patched.invoke(arn, "die")
    assert patched.invoke(arn)["parent"] != parent


def test_function_with_its_own_botocore_uses_it(patched: Aws) -> None:
    source = "import botocore\n\ndef handler(event, context):\n    return botocore.own\n"
    arn = patched.function(f"bundled-{uuid.uuid4()}", source, files={"botocore/__init__.py": "own = True\n"})
    assert patched.invoke(arn) is True


SHOWS_ITS_SCRIPT = """
import sys

def handler(event, context):
    print("called")
    return open(sys.argv[0]).read()
"""
LOGS = """
import os, sys

def handler(event, context):
    for line in event["lines"]:
        print(line)
    os.write(1, b'not an answer\\n{"status": "unknown"}\\n')
    if event.get("fail"):
        raise ValueError("on purpose")
    return {"large": "x" * event.get("bytes", 0), "id": context.aws_request_id}
"""


@only_when_patched
def test_worker_marks_the_end_of_an_invocations_log(aws: Aws) -> bool:
    return MARKED in aws.invoke(aws.function(f"script-{uuid.uuid4().hex}", SHOWS_ITS_SCRIPT))


def test_each_invocation_has_its_own_log_and_printed_lines_are_not_responses(patched: Aws) -> None:
    name = f"logs-{uuid.uuid4().hex}"
    arn = patched.function(name, LOGS)

    def call(*lines: str, **options: Any) -> dict[str, Any]:
        return dict(patched.invoke(arn, {"lines": lines, **options}))

    own = [[f"line {number} a", f"line {number} b"] for number in range(3)]
    answers = [call(*lines, bytes=200_000) for lines in own]
    assert {len(answer["large"]) for answer in answers} == {200_000}
    ids = {answer["id"] for answer in (*answers, call())}
    assert len(ids) == 4
    assert call("line of one that fails", fail=True)["errorMessage"] == "on purpose"
    assert call("line after")["id"] not in ids
    pages = patched("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
    by_stream: dict[str, list[str]] = {}
    for event in (event for page in pages for event in page["events"]):
        assert "\0" not in event["message"]
        if event["message"].startswith("line"):
            by_stream.setdefault(event["logStreamName"], []).append(event["message"])
    assert sorted(by_stream.values()) == sorted([*own, ["line of one that fails"], ["line after"]])


def test_timed_out_function_is_ended_and_the_next_call_succeeds(patched: Aws) -> None:
    arn = patched.function(f"late-{uuid.uuid4().hex}", SLEEPS)
    patched("lambda").update_function_configuration(FunctionName=arn, Timeout=1)
    assert "timed out" in patched.invoke(arn, 20)["errorMessage"]
    assert isinstance(patched.invoke(arn, 0), int)
