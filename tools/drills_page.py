"""The values of docs/drills.md: experiments with their schema, faults, limits, the journal, and exit codes."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ConfigDict, TypeAdapter

from healthcare_dr.cli.drill import EXIT_CODES
from healthcare_dr.ops.drill import (
    experiment,
    hypothesis,
    journal,
    progress,
    recovery_checks,
    run,
    self_monitor,
    verdict,
)
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.load import generator, ledger

PARTS: Final[tuple[Any, ...]] = (
    journal.Journal,
    journal.InstrumentHealth,
    journal.Condition,
    journal.Event,
    journal.Sample,
    journal.Observation,
    journal.Reading,
    journal.Write,
    journal.Milestones,
    journal.Requests,
    journal.Missing,
    journal.Conflicts,
    journal.Consistency,
    journal.Anomaly,
    journal.Operation,
    journal.ErrorBudget,
    journal.Promise,
)
"""The classes of a journal, in the order of the page."""
MEANINGS: Final[Mapping[str, Mapping[str, str]]] = yaml.safe_load(
    (Path(__file__).parent / "templates" / "drills.yaml").read_text(encoding="utf-8")
)
"""By class, the meanings of fields without a docstring or description."""
TYPES: Final = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def json_type(schema: Mapping[str, Any]) -> str:
    """Return the type of a JSON Schema in words."""
    match schema:
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": choices}:
            return " or ".join(json_type(choice) for choice in choices)
        case {"prefixItems": [first, *_] as items}:
            return f"{len(items)} of {json_type(first)}"
        case {"type": "array", "items": items}:
            return f"list of {json_type(items)}"
    values = schema.get("additionalProperties")
    return f"object of {json_type(values)}" if isinstance(values, dict) else TYPES[schema["type"]]


def allowed(name: str, schema: Mapping[str, Any]) -> str:
    """Return the bounds of an experiment's field, or its type."""
    if name in ("fault", "expect"):
        return "see below"
    options = [schema, *schema.get("anyOf", ())]
    bounds = [f"{sign} {option[key]:g}" for option in options for key, sign in BOUNDS.items() if key in option]
    return ", ".join(bounds) or json_type(schema)


def default(name: str, schema: Mapping[str, Any], required: list[str]) -> str:
    """Return the default of an experiment's field as YAML."""
    value = schema.get("default")
    if name in required:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "all defaults"
    return f"`{yaml.safe_dump(value, default_flow_style=True, width=200).partition('...')[0].strip()}`"


def meaning(part: str, name: str, schema: Mapping[str, Any]) -> str:
    """Return the meaning of a field: its docstring or description, or the entry in `MEANINGS`."""
    text = str(schema.get("description") or MEANINGS.get(part, {}).get(name, "")).replace("None", "null")
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def journal_schema() -> dict[str, Any]:
    """Return the JSON Schema of each class of a journal by its name, with the docstrings of the fields."""
    for part in PARTS:
        part.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    whole = TypeAdapter(journal.Journal).json_schema(mode="serialization")
    classes: dict[str, Any] = {"Journal": whole, **whole["$defs"]}
    # `journal.json` also contains this property.
    classes["Milestones"]["properties"]["rto_seconds"] = {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "description": journal.Milestones.rto_seconds.__doc__,
    }
    return {part.__name__: classes[part.__name__] for part in PARTS}


def context() -> dict[str, Any]:
    """Return the values of the template."""
    schema = experiment.schema()
    return {
        "generator": generator,
        # An interrupted drill ends with the exit code of every command that a signal ends.
        "exit_codes": {"interrupted": 128 + signal.SIGINT, **EXIT_CODES},
        "experiments": {name: experiment.load(name) for name in experiment.shipped()},
        "experiment_schema": {"Experiment": schema, "Step": schema["$defs"]["Step"], "Load": schema["$defs"]["Load"]},
        "faults": FAULTS,
        "functions": {"allowed": allowed, "default": default, "json_type": json_type, "meaning": meaning},
        "hypothesis": hypothesis,
        "instruments": self_monitor.THRESHOLDS,
        "journal_schema": journal_schema(),
        "journal_version": journal.SCHEMA,
        "ledger": ledger,
        "recovery_checks": recovery_checks,
        "run": run,
        "verdict": verdict,
        "progress": progress,
    }
