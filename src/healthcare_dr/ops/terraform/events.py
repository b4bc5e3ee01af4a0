"""The events of Terraform's `-json` stream that matter to an operator.

Source: Terraform's "Machine-Readable UI" (format version 1.x): one JSON object per line with a `type`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["start", "progress", "complete", "errored"]
PHASES: dict[str, Phase] = {
    "apply_start": "start",
    "apply_progress": "progress",
    "apply_complete": "complete",
    "apply_errored": "errored",
}


@dataclass(frozen=True)
class PlannedChange:
    """A resource that a plan would change; `action` is create, update, delete, replace, move, import or forget."""

    address: str
    action: str


@dataclass(frozen=True)
class ResourceEvent:
    """A resource being changed; `seconds` since it began."""

    phase: Phase
    address: str
    action: str
    seconds: float


@dataclass(frozen=True)
class ChangeSummary:
    """How many resources a plan would change, or an operation has changed."""

    add: int
    change: int
    remove: int


@dataclass(frozen=True)
class Diagnostic:
    """An error or a warning."""

    severity: str
    summary: str
    detail: str
    address: str


@dataclass(frozen=True)
class OutputChange:
    """An output that a plan would change."""

    name: str
    action: str


@dataclass(frozen=True)
class Text:
    """A line that is no event: what a crash or an older program prints."""

    line: str


Event = PlannedChange | ResourceEvent | ChangeSummary | Diagnostic | Text | tuple[OutputChange, ...]


def parse(line: str) -> Event | None:
    """Return the event of one line; None for one that operators do not need (versions, refreshes, blank lines)."""
    line = line.strip()
    if not line:
        return None
    try:
        message = json.loads(line)
    except ValueError:
        return Text(line)
    if not isinstance(message, dict):
        return Text(line)
    return _event(message)


def diagnostic(raw: dict[str, Any]) -> Diagnostic:
    """A diagnostic as the stream and `validate -json` write it."""
    return Diagnostic(
        severity=str(raw.get("severity", "error")),
        summary=str(raw.get("summary", "")),
        detail=str(raw.get("detail", "")),
        address=str(raw.get("address", "")),
    )


def _event(message: dict[str, Any]) -> Event | None:
    kind = message.get("type")
    if kind in PHASES:
        hook = message["hook"]
        return ResourceEvent(
            phase=PHASES[kind],
            address=hook["resource"]["addr"],
            action=hook["action"],
            seconds=float(hook.get("elapsed_seconds", 0)),
        )
    if kind == "planned_change":
        return PlannedChange(address=message["change"]["resource"]["addr"], action=message["change"]["action"])
    if kind == "change_summary":
        changes = message["changes"]
        return ChangeSummary(add=changes["add"], change=changes["change"], remove=changes["remove"])
    if kind == "diagnostic":
        return diagnostic(message["diagnostic"])
    if kind == "outputs":
        return tuple(
            OutputChange(name=name, action=value["action"])
            for name, value in message["outputs"].items()
            if value.get("action", "noop") != "noop"
        )
    return None
