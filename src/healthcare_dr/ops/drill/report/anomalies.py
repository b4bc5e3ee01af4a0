"""Describe the anomalies of a history as text: what contradicts what, and the operations that show it."""

from collections.abc import Iterator, Sequence

from healthcare_dr.ops.drill.journal import Anomaly, Operation


def explained(anomalies: Sequence[Anomaly]) -> Iterator[str]:
    """Return a line for each anomaly, and an indented one for each of its operations."""
    for anomaly in anomalies:
        where = "" if anomaly.region is None else f" in {anomaly.region}"
        yield f"{anomaly.name}, Patient/{anomaly.record}{where}: {anomaly.explanation}"
        for operation in anomaly.operations:
            by = f"client {operation.client}  {operation.region or 'no region'}"
            yield f"  {times(operation)}  {by}  {described(operation)}"


def times(operation: Operation) -> str:
    """Return when an operation began and ended, in seconds of the drill."""
    return f"{operation.began:.3f}-{operation.ended:.3f} s"


def described(operation: Operation) -> str:
    """Return what a client asked for, and the response."""
    value = "" if operation.value is None else f" {operation.value}"
    header = "Minimum-Version" if operation.kind == "read" else "If-Match"
    named = "" if operation.named is None else f" with {header} {operation.named}"
    response = "no response" if operation.status is None else str(operation.status)
    version = "" if operation.version is None else f", version {operation.version}"
    unknown = "; it may have had an effect" if operation.indeterminate and operation.kind != "read" else ""
    return f"{operation.kind}{value}{named}: {response}{version}{unknown}"
