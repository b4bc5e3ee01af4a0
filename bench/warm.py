"""Measure a warm read, update and search through the handler, compared with direct boto3 calls.

The direct side sends the requests that the handler was observed to send, with new keys, through a plain boto3 client.
Like the handler, it reads the record and writes the audit item concurrently; otherwise the ratio would hide the
handler's cost.

`measure` runs this module as a program, with the environment of a Lambda function.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from bench import functions
from bench.model import Aim, Measurement, Say, Series
from bench.running import BenchError, embedded_aws, python
from patient_api.aws import Clients
from patient_api.clock import Stamp
from patient_api.http.dispatcher import Dispatcher

NOTES = {
    "read": "GET /fhir/Patient/{id}: one Query and one PutItem to the audit trail, at the same time on both sides.",
    "update": "PUT /fhir/Patient/{id} with If-Match: one TransactWriteItems of version, head, index and audit items.",
    "search": "GET /fhir/Patient by name, which finds 20: one Query, one BatchGetItem, one TransactWriteItems of 20 "
    "audit items.",
}
WARM_UP, ROUNDS = 50, 300
FOUND = 20
FAMILY = "Twentyfold"

Call = dict[str, Any]
# Prepares one call, and returns the function to be timed.
Side = Callable[[], Callable[[], object]]


def measure(say: Say) -> list[Measurement]:
    """Run both sides in one process, against the same embedded AWS."""
    with embedded_aws() as emulator:
        functions.create_resources(emulator)
        say("warm calls: about a minute")
        samples = json.loads(python("bench.warm", environment=functions.environment(emulator)).output)
    return [
        Measurement(
            name=f"warm-{kind}",
            unit="ms",
            measured=Series("handler", tuple(found["handler"])),
            reference=Series("boto3 directly", tuple(found["boto3"])),
            aim=Aim("ratio", "most", 1.3),
            embedded=True,
            note=NOTES[kind],
        )
        for kind, found in samples.items()
    ]


def main() -> None:
    """Print the milliseconds of each call. Both sides alternate, and so does which of them begins."""
    with Path(os.devnull).open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        clients = Clients(region=os.environ["AWS_REGION"])
        api, dynamodb = functions.serve(os.environ, clients), clients.dynamodb()
        races = {"read": _read, "update": _update, "search": _search}
        results = {name: _race(*prepare(api, dynamodb)) for name, prepare in races.items()}
    print(json.dumps(results))


def _race(handler: Side, direct: Side) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {"handler": [], "boto3": []}
    sides = [("handler", handler), ("boto3", direct)]
    for number in range(WARM_UP + ROUNDS):
        for name, side in sides if number % 2 else reversed(sides):
            act = side()
            began = time.perf_counter()
            act()
            if number >= WARM_UP:
                samples[name].append((time.perf_counter() - began) * 1000)
    return samples


def _read(api: Dispatcher, dynamodb: object) -> tuple[Side, Side]:
    call = functions.call("GET")
    sent = _requests_of(dynamodb, lambda: _expect(api, call, 200), {"Query", "PutItem"})
    client, pool = boto3.client("dynamodb"), ThreadPoolExecutor(1)

    def direct() -> Callable[[], object]:
        put = {**sent["PutItem"], "Item": _another(sent["PutItem"]["Item"])}

        def act() -> None:
            audited = pool.submit(client.put_item, **put)
            assert client.query(**sent["Query"])["Items"]
            audited.result()

        return act

    return lambda: lambda: _expect(api, call, 200), direct


def _update(api: Dispatcher, dynamodb: object) -> tuple[Side, Side]:
    """Each side updates its own record repeatedly."""
    (patient_id, first), (other, begun) = _created(api), _created(api)
    stamps = [first]

    def handler() -> Callable[[], object]:
        resource, etag = functions.PATIENT | {"id": patient_id}, f'W/"{stamps[-1]}"'
        call = functions.call("PUT", f"/fhir/Patient/{patient_id}", resource=resource, if_match=etag)
        return lambda: stamps.append(_stamp(_expect(api, call, 200)))

    sent = _requests_of(dynamodb, handler(), {"TransactWriteItems"})
    template = json.dumps(sent["TransactWriteItems"]["TransactItems"]).replace(patient_id, other)
    client, expected, made, own = boto3.client("dynamodb"), str(first), str(stamps[-1]), [begun]

    def direct() -> Callable[[], object]:
        own.append(Stamp(own[-1].millis + 1, 0, functions.REGION))
        items = json.loads(template.replace(made, str(own[-1])).replace(expected, str(own[-2])))
        items[-1]["Put"]["Item"] = _another(items[-1]["Put"]["Item"])
        token = str(uuid4())
        return lambda: client.transact_write_items(TransactItems=items, ClientRequestToken=token)

    return handler, direct


def _search(api: Dispatcher, dynamodb: object) -> tuple[Side, Side]:
    """A search that finds a full page."""
    for _ in range(FOUND):
        resource = functions.PATIENT | {"name": [{"family": FAMILY}]}
        _expect(api, functions.call("POST", "/fhir/Patient", resource=resource), 201)
    call = functions.call("GET", "/fhir/Patient", query=f"name={FAMILY}")

    def found() -> None:
        assert len(json.loads(_expect(api, call, 200)["body"])["entry"]) == FOUND

    sent = _requests_of(dynamodb, found, {"Query", "BatchGetItem", "TransactWriteItems"})
    puts = [put["Put"] for put in sent["TransactWriteItems"]["TransactItems"]]
    client = boto3.client("dynamodb")

    def direct() -> Callable[[], object]:
        items, token = [{"Put": {**put, "Item": _another(put["Item"])}} for put in puts], str(uuid4())

        def act() -> None:
            assert len(client.query(**sent["Query"])["Items"]) == FOUND
            client.batch_get_item(**sent["BatchGetItem"])
            client.transact_write_items(TransactItems=items, ClientRequestToken=token)

        return act

    return lambda: lambda: _expect(api, call, 200), direct


def _requests_of(dynamodb: object, act: Callable[[], object], expected: set[str]) -> dict[str, dict[str, Any]]:
    """Return the requests of one call by operation. Raises BenchError unless it sends each expected operation once."""
    with functions.sent_to(dynamodb) as sent:
        act()
    names = sorted(name for name, _ in sent)
    if names != sorted(expected):
        raise BenchError(f"one call sent {', '.join(names)} instead of {', '.join(sorted(expected))}")
    return dict(sent)


def _created(api: Dispatcher) -> tuple[str, Stamp]:
    """Create a record and return its id and version."""
    answer = _expect(api, functions.call("POST", "/fhir/Patient", resource=functions.PATIENT), 201)
    return answer["headers"]["location"].partition("/fhir/Patient/")[2].partition("/")[0], _stamp(answer)


def _stamp(answer: Call) -> Stamp:
    stamp = Stamp.parse(answer["headers"]["etag"].removeprefix('W/"').rstrip('"'))
    assert stamp
    return stamp


def _expect(api: Dispatcher, call: Call, status: int) -> Call:
    answer = api(call, None)
    if answer["statusCode"] != status:
        raise BenchError(f"{call['routeKey']} returned {answer['statusCode']}: {answer['body']}")
    return answer


def _another(event: dict[str, Any]) -> dict[str, Any]:
    """Return the audit item with another key."""
    name = str(uuid4())
    return {**event, "event": {"S": name}, "sk": {"S": f"{event['at']['S']}#{name}"}}


if __name__ == "__main__":
    main()
