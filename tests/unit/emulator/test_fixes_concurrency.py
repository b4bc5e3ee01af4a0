"""Reserved concurrency, behind an HTTP API."""

import ssl
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from healthcare_dr.emulator import Emulator

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
