"""How much capacity calls consume while tables grow, drawn into `docs/figures/capacity.svg`."""

import json
from dataclasses import dataclass
from typing import Any

from bench import figure, lambdas
from bench.model import Aim, Measurement, Say, Series
from bench.running import CHECKOUT, embedded_aws, python, scratch_folder

FIGURE = CHECKOUT / "docs" / "figures" / "capacity.svg"
GROWING = {"records": "records", "versions": "versions of the record", "events": "audit items of the record"}


@dataclass(frozen=True)
class Operation:
    """`what` says which call it is. `flat`: it is to cost the same, however much there is."""

    name: str
    title: str
    what: str
    flat: bool = True


OPERATIONS = {
    "read": Operation("read", "read", "GET /fhir/Patient/{id}: a Query of one version, and an audit item."),
    "update": Operation(
        "update", "update", "PUT /fhir/Patient/{id} with If-Match: version, head, index and audit items in one go."
    ),
    "history": Operation("history", "history, a page", "A page of 9 versions."),
    "trail": Operation(
        "trail",
        "audit trail, a page",
        "A page of the 9 latest audit events about a patient: at most 101 are read, whatever the page.",
        flat=False,
    ),
    "search by name": Operation(
        "search", "search by name, a page", "A page of 9 records out of all, which have the same name."
    ),
    "list by last update": Operation("list", "list by _lastUpdated, a page", "A page of the 9 records changed last."),
    "search by name, none matches": Operation(
        "search-no-match",
        "search by name and gender, none matches",
        "All records have the name, none has the gender: a page looks at some 500 and hands out a cursor.",
        flat=False,
    ),
}


def measure(say: Say) -> list[Measurement]:
    """Fills tables of three sizes, three times over, and asks what calls of each kind have consumed."""
    with scratch_folder() as scratch, embedded_aws(scratch / "home") as emulator:
        lambdas.create_resources(emulator)
        say("capacity: filling tables, about three minutes")
        points = json.loads(python("capacity", environment=lambdas.environment(emulator)).output)
    curves = {
        growing: {operation.title: _curve(points, growing, kind) for kind, operation in OPERATIONS.items()}
        for growing in GROWING
    }
    figure.draw({GROWING[growing]: lines for growing, lines in curves.items()}, FIGURE)
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
        note=f"{operation.what} Read and write units added; the dearest of many records, versions, audit items.",
    )
