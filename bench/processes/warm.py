"""`python -m bench.processes.warm`: prints milliseconds of warm calls, through the handler and made directly.

Made directly means: a plain boto3 client sends the same requests that the handler was seen to send, with new keys. Like
the handler it reads record and puts the audit item at the same time, or the ratio would hide what the handler costs.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from bench import lambdas
from patient_api.api import Api
from patient_api.aws import Clients
from patient_api.environment import Environment
from patient_api.wiring import build

WARM_UP, ROUNDS = 50, 400


def main() -> None:
    """Both ways take turns, and who begins changes."""
    with Path(os.devnull).open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        environment = Environment.of(os.environ)
        clients = Clients(region=environment.region)
        logger = Logger(utc=True, use_rfc3339=True)
        api = build(environment=environment, clients=clients, logger=logger, metrics=EphemeralMetrics())
        results = {
            "read": _race(_handler(api, lambdas.read_call(), 200), _direct_read(_seen(clients, api, "read"))),
            "write": _race(_handler(api, lambdas.create_call(), 201), _direct_write(_seen(clients, api, "write"))),
        }
    print(json.dumps(results))


def _race(handler: Callable[[], None], direct: Callable[[], None]) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {"handler": [], "boto3": []}
    sides = [("handler", handler), ("boto3", direct)]
    for number in range(WARM_UP + ROUNDS):
        for name, act in sides if number % 2 else reversed(sides):
            began = time.perf_counter()
            act()
            if number >= WARM_UP:
                samples[name].append((time.perf_counter() - began) * 1000)
    return samples


def _handler(api: Api, call: dict[str, Any], status: int) -> Callable[[], None]:
    context = LambdaContext()

    def act() -> None:
        answer = api(call, context)
        assert answer["statusCode"] == status, answer

    return act


def _seen(clients: Clients, api: Api, kind: str) -> dict[str, dict[str, Any]]:
    """The requests that the handler sends for one call, by operation."""
    seen: dict[str, dict[str, Any]] = {}
    client: Any = clients.dynamodb()

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        seen[model.name] = deepcopy(params)

    client.meta.events.register("provide-client-params.dynamodb", note)
    api(lambdas.read_call() if kind == "read" else lambdas.create_call(), LambdaContext())
    client.meta.events.unregister("provide-client-params.dynamodb", note)
    return seen


def _direct_read(seen: dict[str, dict[str, Any]]) -> Callable[[], None]:
    client, pool = boto3.client("dynamodb"), ThreadPoolExecutor(1)
    get, put = seen["GetItem"], seen["PutItem"]

    def act() -> None:
        item = {**put["Item"], "sk": {"S": f"{put['Item']['at']['S']}#{uuid4()}"}}
        audited = pool.submit(client.put_item, **{**put, "Item": item})
        assert client.get_item(**get)["Item"]
        audited.result()

    return act


def _direct_write(seen: dict[str, dict[str, Any]]) -> Callable[[], None]:
    client = boto3.client("dynamodb")
    (request,) = seen.values()

    def act() -> None:
        puts = [{**put["Put"], "Item": _renamed(put["Put"]["Item"])} for put in request["TransactItems"]]
        client.transact_write_items(TransactItems=[{"Put": put} for put in puts], ClientRequestToken=str(uuid4()))

    return act


def _renamed(item: dict[str, Any]) -> dict[str, Any]:
    """The same item in another partition."""
    return {**item, "pk": {"S": f"{lambdas.TENANT}#Patient#{uuid4()}"}}


if __name__ == "__main__":
    main()
