"""Measure the capacity that calls consume while tables grow, and draw `docs/figures/capacity.svg`.

Tables are filled in batches with items of the API's own code. The numbers are those that the embedded DynamoDB returns
for the API's requests. `measure` runs this module as a program, with the environment of a Lambda function.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Final
from uuid import UUID

import boto3
import matplotlib as mpl
from botocore.config import Config
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench import functions
from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, BenchError, embedded_aws, python
from patient_api.audit.trail import AuditTrail
from patient_api.clock import Stamp
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.contract.functions import VARIABLES
from patient_api.http.dispatcher import Dispatcher
from patient_api.search.parameters import LONG_PREFIX, Tokenizer
from patient_api.secrets import Secrets
from patient_api.store.model import Method, Version, head_item, lineage_item, token_item, version_item, version_of

FIGURE = CHECKOUT / "docs" / "figures" / "capacity.svg"
GROWING = {"records": "records", "versions": "versions of the record", "events": "audit items of the record"}
SIZES: Final = (10, 1_000, 100_000)
# One less than the smallest size, so that a full page and a next page exist at every size.
PAGE: Final = 9
BATCH: Final = 25
LOADERS: Final = 3
FAMILY: Final = "Fictitious"

Item = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One measured call. `flat` operations must cost the same at every size."""

    name: str
    title: str
    what: str
    flat: bool = True


OPERATIONS = {
    "read": Operation("read", "read", "GET /fhir/Patient/{id}: a Query of one version, and an audit item."),
    "update": Operation(
        "update",
        "update",
        "PUT /fhir/Patient/{id} with If-Match: version, lineage, head, index and audit items in one transaction.",
    ),
    "history": Operation("history", "history, a page", "A page of 9 versions."),
    "trail": Operation(
        "trail",
        "audit trail, a page",
        "A page of the 9 latest audit events about a patient: at most 101 are read, for any page size.",
        flat=False,
    ),
    "search by name": Operation(
        "search", "search by name, a page", "A page of 9 records of all, which have the same name."
    ),
    "list by last update": Operation("list", "list by _lastUpdated, a page", "A page of the 9 records changed last."),
    "search by name, none matches": Operation(
        "search-no-match",
        "search by name and gender, none matches",
        "All records have the name, none has the gender: a page reads about 500 and returns a cursor.",
        flat=False,
    ),
}


# Half-way between white and black, so that the figure is readable on light and dark pages.
INK: Final = "#7d8590"
COLOURS: Final = ("#0f8fd1", "#d9730d", "#1a9e6c", "#c55aa3", "#a38a00", "#8a6fe0", "#e0455a")
MARKERS: Final = "os^Dv<x"
STYLE: Final[Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "legend.labelcolor": INK,
    # Text stays text, and the names of elements are the same in every run.
    "svg.fonttype": "none",
    "svg.hashsalt": "healthcare-dr",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def measure(say: Say) -> list[Measurement]:
    """Fill tables of three sizes for each growing number, and measure each operation."""
    with embedded_aws() as emulator:
        functions.create_resources(emulator)
        say("capacity: filling tables, about three minutes")
        points = json.loads(python("bench.capacity", environment=functions.environment(emulator)).output)
    curves = {
        growing: {operation.title: _curve(points, growing, kind) for kind, operation in OPERATIONS.items()}
        for growing in GROWING
    }
    draw({GROWING[growing]: lines for growing, lines in curves.items()}, FIGURE)
    return [_measurement(points, kind, operation) for kind, operation in OPERATIONS.items()]


def _curve(points: list[dict[str, Any]], growing: str, kind: str) -> dict[int, float]:
    return {
        point["size"]: point["read_units"] + point["write_units"]
        for point in points
        if (point["growing"], point["operation"]) == (growing, kind)
    }


def _measurement(points: list[dict[str, Any]], kind: str, operation: Operation) -> Measurement:
    curves = [_curve(points, growing, kind) for growing in GROWING]
    small, large = min(curves[0]), max(curves[0])
    return Measurement(
        name=f"capacity-{operation.name}",
        unit="units",
        measured=Series(f"at {large:,}", (max(curve[large] for curve in curves),)),
        reference=Series(f"at {small:,}", (curves[0][small],)),
        aim=Aim("ratio", "most", 1.0) if operation.flat else None,
        embedded=True,
        note=f"{operation.what} Read and write units added; the highest of many records, versions, audit items.",
    )


def draw(panels: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """Draw a panel for each growing number, with a line for each operation from size to capacity units.

    The same numbers give the same bytes.
    """
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(10, 4.2), layout="constrained")
        axes = drawing.subplots(1, len(panels), sharey=True)
        for axis, (growing, lines) in zip(axes, panels.items(), strict=True):
            for (operation, curve), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=True):
                axis.plot(list(curve), list(curve.values()), color=colour, marker=marker, markersize=5, label=operation)
            axis.set(xscale="log", yscale="log", xlabel=growing, ylim=(1, 1000), xticks=list(curve))
            for ticks in (axis.xaxis, axis.yaxis):
                ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.minorticks_off()
            axis.grid(color=INK, alpha=0.25, linewidth=0.6)
        axes[0].set_ylabel("capacity units of one call")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


@dataclass(frozen=True)
class Stored:
    """The numbers of records, of versions of the requested record, and of audit items about it."""

    records: int = SIZES[0]
    versions: int = SIZES[0]
    events: int = SIZES[0]


def main() -> None:
    """Print the capacity of each operation. One number grows at a time."""
    points = []
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        for growing in ("records", "versions", "events"):
            for size in SIZES:
                print(f"{growing}: {size:,}", file=sys.stderr, flush=True)
                with contextlib.redirect_stdout(log):
                    costs = _costs(replace(Stored(), **{growing: size}), f"bench-{growing}-{size}")
                points += [{"growing": growing, "size": size, **cost} for cost in costs]
    print(json.dumps(points))


def _costs(stored: Stored, name: str) -> list[dict[str, Any]]:
    # The embedded AWS sorts a whole partition for each query, which takes long at the largest size.
    config = Config(read_timeout=300, retries={"total_max_attempts": 1}, parameter_validation=False)
    clients = functions.MeteredClients(boto3.client("dynamodb", config=config), region=functions.REGION)
    records, audit = f"{name}-records", f"{name}-audit"
    functions.create_tables(clients.client, records=records, audit=audit)
    tokenizer = Tokenizer(secrets=Secrets(clients=clients, key=functions.INDEX_KEY))
    _load(clients.client, records, _records(stored, tokenizer))
    _load(clients.client, audit, _events(stored, AuditTrail(client=clients.dynamodb(), table="")))
    tables = {VARIABLES["records_table"]: records, VARIABLES["audit_table"]: audit}
    api = functions.serve({**os.environ, **tables}, clients)
    found = [_cost(api, clients, operation, call) for operation, call in _calls(stored).items()]
    for table in tables.values():
        clients.client.delete_table(TableName=table)
    return found


def _calls(stored: Stored) -> dict[str, dict[str, Any]]:
    etag = f'W/"{_stamp(stored.versions - 1)}"'
    return {
        "read": functions.call("GET"),
        "history": functions.call("GET", f"/fhir/Patient/{functions.PATIENT_ID}/_history", query=f"_count={PAGE}"),
        "trail": functions.call("GET", "/fhir/AuditEvent", query=f"patient={functions.PATIENT_ID}&_count={PAGE}"),
        "search by name": functions.call("GET", "/fhir/Patient", query=f"name={FAMILY}&_count={PAGE}"),
        "search by name, none matches": functions.call(
            "GET", "/fhir/Patient", query=f"name={FAMILY}&gender=other&_count={PAGE}"
        ),
        "list by last update": functions.call("GET", "/fhir/Patient", query=f"_sort=-_lastUpdated&_count={PAGE}"),
        "update": functions.call("PUT", resource=functions.PATIENT | {"id": functions.PATIENT_ID}, if_match=etag),
    }


def _cost(api: Dispatcher, clients: functions.MeteredClients, operation: str, call: dict[str, Any]) -> dict[str, Any]:
    clients.consumed.clear()
    answer = api(call, None)
    if answer["statusCode"] != 200:
        raise BenchError(f"{operation} returned {answer['statusCode']}: {answer['body']}")
    consumed = list(clients.consumed)
    return {
        "operation": operation,
        "calls": len(consumed),
        "read_units": sum(units for name, units in consumed if name not in functions.WRITES),
        "write_units": sum(units for name, units in consumed if name in functions.WRITES),
    }


def _records(stored: Stored, tokenizer: Tokenizer) -> Iterator[Item]:
    token = tokenizer.token(functions.TENANT, "Patient", "name", FAMILY.casefold()[:LONG_PREFIX])
    for number in range(1, stored.records + 1):
        patient_id = str(UUID(int=number, version=4))
        # The requested record has many versions; each other record has one, with its own time.
        serials = range(stored.versions) if patient_id == functions.PATIENT_ID else range(number, number + 1)
        for serial in serials:
            version = _version(patient_id, _stamp(serial))
            yield version_item(version)
            yield lineage_item(version)
        yield head_item(version, functions.REGION)
        yield token_item(version, token)


def _version(patient_id: str, stamp: Stamp) -> Version:
    return version_of(functions.PATIENT, key=functions.key_of(patient_id), stamp=stamp, method=Method.PUT)


def _stamp(serial: int) -> Stamp:
    return replace(functions.STAMP, millis=functions.STAMP.millis + serial)


def _events(stored: Stored, trail: AuditTrail) -> Iterator[Item]:
    for number in range(stored.events):
        event = AuditEvent(
            id=str(UUID(int=number)),
            at=datetime.fromtimestamp(functions.STAMP.millis // 1000 + number, UTC),
            tenant=functions.TENANT,
            subject=functions.SUBJECT,
            action=Action.READ,
            interaction="read",
            record=f"Patient/{functions.PATIENT_ID}",
            outcome=Outcome.SUCCESS,
            status=200,
            region=functions.REGION,
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
