"""How many calls of a function run at once."""

import json
import ssl
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from botocore.config import Config

from healthcare_dr.emulator import Emulator
from healthcare_dr.emulator.fixes.lambda_runtime import MOST_WORKERS

Clients = Callable[..., Any]


def test_versions_behind_an_api_share_the_reserved_concurrency(
    make_function: Callable[..., str],
    make_api: Callable[..., str],
    emulator: Emulator,
    mended: Clients,
) -> None:
    arn = make_function(mended, f"versions-{uuid.uuid4()}", "def handler(event, context):\n    return 1\n")
    functions = mended("lambda")
    version = functions.publish_version(FunctionName=arn)["Version"]
    api = make_api(mended, f"{arn}:{version}", {"GET /": {}}, permitted=True)
    with httpx.Client(verify=ssl.create_default_context(cafile=str(emulator.certificate)), trust_env=False) as client:
        assert client.get(f"{emulator.api_url(api)}/").status_code == 200
        functions.put_function_concurrency(FunctionName=arn, ReservedConcurrentExecutions=0)
        assert client.get(f"{emulator.api_url(api)}/").status_code == 429
        functions.delete_function_concurrency(FunctionName=arn)
        assert client.get(f"{emulator.api_url(api)}/").status_code == 200


def test_a_burst_waits_for_the_processes_there_are(
    make_function: Callable[..., str], holds_only_when_mended: Callable[[Callable[[Clients], bool]], None]
) -> None:
    source = "import os, time\n\ndef handler(event, context):\n    time.sleep(0.2)\n    return os.getpid()\n"

    def bounded(client: Clients) -> bool:
        arn = make_function(client, f"burst-{uuid.uuid4()}", source)
        functions = client("lambda")
        with ThreadPoolExecutor(2 * MOST_WORKERS) as pool:
            answers = list(pool.map(lambda _: functions.invoke(FunctionName=arn), range(2 * MOST_WORKERS)))
        assert all("FunctionError" not in answer for answer in answers)
        return len({json.load(answer["Payload"]) for answer in answers}) <= MOST_WORKERS

    holds_only_when_mended(bounded)


def test_who_waits_for_a_process_too_long_is_throttled(make_function: Callable[..., str], mended: Clients) -> None:
    source = "import time\n\ndef handler(event, context):\n    time.sleep(event)\n"
    arn = make_function(mended, f"busy-{uuid.uuid4()}", source)
    # Once: a client of boto3's would come again until it is served.
    functions = mended("lambda", config=Config(retries={"total_max_attempts": 1}))
    functions.invoke(FunctionName=arn, Payload=b"0")
    with ThreadPoolExecutor(MOST_WORKERS) as pool:
        busy = [pool.submit(functions.invoke, FunctionName=arn, Payload=b"8") for _ in range(MOST_WORKERS)]
        time.sleep(1)
        with pytest.raises(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=arn, Payload=b"0")
        assert all("FunctionError" not in call.result() for call in busy)
    assert functions.invoke(FunctionName=arn, Payload=b"0")["StatusCode"] == 200
