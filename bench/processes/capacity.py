"""`python -m bench.processes.capacity`: prints the capacity that calls consume while tables grow, as JSON.

Tables are filled in batches, with items that the API's own code makes. What is measured is what the embedded DynamoDB
says that the API's requests have consumed.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Final
from uuid import UUID

import boto3
from botocore.config import Config

from bench import lambdas
from bench.running import BenchError
from bench.serving import serve
from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients, DynamoDB
from patient_api.clock import Stamp
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.http.dispatcher import Dispatcher
from patient_api.search.parameters import LONG_PREFIX
from patient_api.search.tokenizer import Tokenizer
from patient_api.secrets import Secrets
from patient_api.store.model import Method, Version, head_item, token_item, version_item, version_of

SIZES: Final = (10, 1_000, 100_000)
# One less than the smallest size: what a page is asked for is there at every size, and so is a next page.
PAGE: Final = 9
BATCH: Final = 25
LOADERS: Final = 3
FAMILY: Final = "Fictitious"
WRITES: Final = frozenset({"PutItem", "TransactWriteItems"})

Item = dict[str, Any]


@dataclass(frozen=True)
class Held:
    """How much there is: records, versions of the record that is asked for, and audit items about it."""

    records: int = SIZES[0]
    versions: int = SIZES[0]
    events: int = SIZES[0]


class Watched(Clients):
    """Clients that ask what each request of DynamoDB consumes.

    The embedded AWS sorts a whole partition to answer a query, which at the largest size takes longer than the API
    waits for: this client waits.
    """

    def __init__(self, *, region: str) -> None:
        super().__init__(region=region)
        config = Config(read_timeout=300, retries={"total_max_attempts": 1}, parameter_validation=False)
        self.raw: Any = boto3.client("dynamodb", config=config)
        self.raw.meta.events.register("provide-client-params.dynamodb", _ask)
        self.raw.meta.events.register("after-call.dynamodb", self._note)
        self.consumed: list[tuple[str, float]] = []

    def dynamodb(self) -> DynamoDB:
        """For records and audit."""
        client: DynamoDB = self.raw
        return client

    def _note(self, model: Any, parsed: dict[str, Any], **_: object) -> None:
        told = parsed.get("ConsumedCapacity", [])
        units = sum(one["CapacityUnits"] for one in (told if isinstance(told, list) else [told]))
        self.consumed.append((model.name, units))


def _ask(params: dict[str, Any], model: Any, **_: object) -> None:
    if model.name in {"Query", "GetItem", "BatchGetItem", *WRITES}:
        params["ReturnConsumedCapacity"] = "TOTAL"


def main() -> None:
    """One thing grows while the others stay small."""
    points = []
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        for growing in ("records", "versions", "events"):
            for size in SIZES:
                print(f"{growing}: {size:,}", file=sys.stderr, flush=True)
                with contextlib.redirect_stdout(log):
                    costs = _costs(replace(Held(), **{growing: size}), f"bench-{growing}-{size}")
                points += [{"growing": growing, "size": size, **cost} for cost in costs]
    print(json.dumps(points))


def _costs(held: Held, name: str) -> list[dict[str, Any]]:
    clients = Watched(region=lambdas.REGION)
    tables = {"RECORDS_TABLE": f"{name}-records", "AUDIT_TABLE": f"{name}-audit"}
    lambdas.create_tables(clients.raw, records=tables["RECORDS_TABLE"], audit=tables["AUDIT_TABLE"])
    finder = Tokenizer(secrets=Secrets(clients=clients, key=lambdas.INDEX_KEY))
    _load(clients.raw, tables["RECORDS_TABLE"], _records(held, finder))
    _load(clients.raw, tables["AUDIT_TABLE"], _events(held, AuditTrail(client=clients.dynamodb(), table="")))
    api = serve({**os.environ, **tables}, clients)
    found = [_cost(api, clients, operation, call) for operation, call in _calls(held).items()]
    for table in tables.values():
        clients.raw.delete_table(TableName=table)
    return found


def _calls(held: Held) -> dict[str, dict[str, Any]]:
    etag = f'W/"{_stamp(held.versions - 1)}"'
    return {
        "read": lambdas.read_call(),
        "history": lambdas.history_call(query=f"_count={PAGE}"),
        "trail": lambdas.trail_call(query=f"_count={PAGE}"),
        "search by name": lambdas.search_call(f"name={FAMILY}&_count={PAGE}"),
        "search by name, none matches": lambdas.search_call(f"name={FAMILY}&gender=other&_count={PAGE}"),
        "list by last update": lambdas.search_call(f"_sort=-_lastUpdated&_count={PAGE}"),
        "update": lambdas.update_call(lambdas.PATIENT_ID, etag),
    }


def _cost(api: Dispatcher, clients: Watched, operation: str, call: dict[str, Any]) -> dict[str, Any]:
    clients.consumed.clear()
    answer = api(call, None)
    if answer["statusCode"] != 200:
        raise BenchError(f"{operation} answered {answer['statusCode']}: {answer['body']}")
    consumed = list(clients.consumed)
    return {
        "operation": operation,
        "calls": len(consumed),
        "read_units": sum(units for name, units in consumed if name not in WRITES),
        "write_units": sum(units for name, units in consumed if name in WRITES),
    }


def _records(held: Held, finder: Tokenizer) -> Iterator[Item]:
    token = finder.token(lambdas.TENANT, "Patient", "name", FAMILY.casefold()[:LONG_PREFIX])
    for number in range(1, held.records + 1):
        patient_id = str(UUID(int=number, version=4))
        # The record that is asked for has been changed often; each of the others once, and at a time of its own.
        serials = range(held.versions) if patient_id == lambdas.PATIENT_ID else range(number, number + 1)
        for serial in serials:
            version = _version(patient_id, _stamp(serial))
            yield version_item(version)
        yield head_item(version, lambdas.REGION)
        yield token_item(version, token)


def _version(patient_id: str, stamp: Stamp) -> Version:
    return version_of(lambdas.PATIENT, key=lambdas.key_of(patient_id), stamp=stamp, method=Method.PUT)


def _stamp(serial: int) -> Stamp:
    return replace(lambdas.STAMP, millis=lambdas.STAMP.millis + serial)


def _events(held: Held, trail: AuditTrail) -> Iterator[Item]:
    for number in range(held.events):
        event = AuditEvent(
            id=str(UUID(int=number)),
            at=datetime.fromtimestamp(lambdas.STAMP.millis // 1000 + number, UTC),
            tenant=lambdas.TENANT,
            subject=lambdas.SUBJECT,
            action=Action.READ,
            interaction="read",
            record=f"Patient/{lambdas.PATIENT_ID}",
            outcome=Outcome.SUCCESS,
            status=200,
            region=lambdas.REGION,
            source_ip="192.0.2.1",
            request_id="bench",
        )
        yield trail.put_request(event)["Item"]


def _load(client: Any, table: str, items: Iterable[Item]) -> None:
    remaining, lock = iter(items), Lock()

    def fill() -> None:
        while True:
            with lock:
                batch = list(islice(remaining, BATCH))
            if not batch:
                return
            requests = [{"PutRequest": {"Item": item}} for item in batch]
            assert not client.batch_write_item(RequestItems={table: requests})["UnprocessedItems"]

    with ThreadPoolExecutor(LOADERS) as pool:
        for loader in [pool.submit(fill) for _ in range(LOADERS)]:
            loader.result()


if __name__ == "__main__":
    main()
