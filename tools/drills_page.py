"""Fills docs/drills.md with what the code says: experiments, their schema, limits, the journal, exit codes.

`.venv/bin/python tools/drills_page.py` rewrites what stands between `<!-- name -->` and `<!-- end -->`.
"""

import ast
import inspect
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import blocks
import yaml
from blocks import table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from healthcare_dr.cli.drill import EXIT_CODES
from healthcare_dr.ops.drill import (
    experiment,
    hypothesis,
    journal,
    recovery_checks,
    run,
    self_monitor,
    verdict,
    waiting,
)
from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.drill.load import calibration, ledger

PAGE: Final = Path(__file__).parents[1] / "docs" / "drills.md"

PARTS: Final[tuple[type, ...]] = (
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
    journal.ErrorBudget,
    journal.Promise,
)
"""What a journal is made of, in the order in which a reader meets it."""
COMPUTED: Final[dict[str, dict[str, Any]]] = {"Milestones": {"rto_seconds": journal.Milestones.rto_seconds}}
"""What `journal.json` holds beside the fields."""

# What fields mean that have no docstring of their own.
MEANINGS: Final[Mapping[str, str]] = {
    "Journal.schema": "The version of this form; see above.",
    "Journal.label": "Where the drill ran.",
    "Journal.outcome": "See *Exit codes*.",
    "Journal.seconds": "How long the drill took.",
    "Journal.regions": "The primary, then the secondary region.",
    "Journal.events": "What happened, in order.",
    "Journal.samples": "Every request of every client.",
    "Journal.observations": "What health checks, DNS and replication showed: once a second, more often when sped up.",
    "Journal.writes": "The ledger: every write that was acknowledged.",
    "Journal.milestones": "The way to recovery; null when there was no fault.",
    "Journal.requests": "What became of the requests meanwhile; null when there was no fault.",
    "Journal.error_budget": "What it cost; null when there was no fault.",
    "Journal.promises": "The verdict, line by line.",
    "Condition.name": "Which condition of the steady state.",
    "Condition.held": "Whether it held.",
    "Condition.seen": "What was seen, for people.",
    "Event.at": "When.",
    "Event.kind": "What sort of thing happened.",
    "Event.text": "What, for people.",
    "Event.region": "Where, when it was in one region.",
    "Sample.at": "When it was due, not when it could be sent.",
    "Sample.seconds": "From then to its end.",
    "Sample.kind": "What was asked for.",
    "Sample.client": "Which client, from 0.",
    "Sample.attempts": "How often it was sent, retries included.",
    "Observation.at": "When.",
    "Reading.at": "When.",
    "Write.number": "The number of the request that made it.",
    "Write.kind": "What was written.",
    "Write.region": "Which region acknowledged it.",
    "Milestones.fault": "When the first region broke, or else the first step of the method.",
    "Milestones.first_failure": "When the first request was due that failed.",
    "Requests.total": "All.",
    "Requests.failed": "Those that failed for good, after all retries.",
    "Requests.by_region": "By where they went last; `nowhere` found no address.",
    "Conflicts.found": "All.",
    "Missing.at": "When it was looked for.",
    "Missing.looked_for": "How many acknowledged writes were.",
    "ErrorBudget.availability_percent": "What is promised.",
    "ErrorBudget.budget_seconds": "What that allows in 30 days, in seconds of all traffic.",
    "Promise.name": "What is promised.",
    "Promise.limit": "How much, for people.",
    "Promise.measured": "What was measured, for people.",
    "Promise.kept": "Whether it was kept.",
    "Step.fault": "What breaks; see *Faults*.",
    "Load.clients": "How many clients share the rate.",
    "Load.write_percent": "Of all requests: a new patient.",
    "Load.document_percent": "Of all requests: a new document of a patient.",
    "Load.update_percent": "Of all requests: another version of a patient.",
    "Load.retries": "How often a client repeats what got no answer, 429, 502, 503 or 504.",
    "Load.timeout_seconds": "How long a client waits for an answer.",
    "Experiment.title": "One line, for people.",
    "Experiment.description": "Why, and what should happen.",
    "Experiment.method": "The steps.",
    "Experiment.expect": "What should come of it; see *Expectations*.",
    "Experiment.load": "The clients.",
}
OUTCOMES: Final = {
    "passed": "every binding promise was kept",
    "failed": "a promise was broken, or the drill could not be played to its end; `reason` says which",
    "not started": "the steady state did not hold before, so nothing was broken",
    "inconclusive": "the machine did not carry the measurement, or a region was busy for as long as it was asked: no "
    "promise is shown as broken; never counts as passed. `reason` says what was late, by how much, and what to do",
    "interrupted": "stopped by Ctrl-C; every fault was undone. Other signals: 128 and their number, such as 143",
}


def documented(part: type) -> dict[str, str]:
    """The fields of a class with what their docstrings, or `MEANINGS`, say; empty when nothing does."""
    body = next(node.body for node in ast.walk(ast.parse(inspect.getsource(part))) if isinstance(node, ast.ClassDef))
    said: dict[str, str] = {}
    for line, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = str(following.value.value)
            name = line.target.id
            said[name] = _in_json(text) or MEANINGS.get(f"{part.__name__}.{name}", "")
    for name, made in COMPUTED.get(part.__name__, {}).items():
        said[name] = _in_json(inspect.getdoc(made) or "")
    return said


def _in_json(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()))


def json_type(hint: Any) -> str:
    """A type as it looks in JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(json_type(one) for one in inner)
    if origin is tuple:
        # Of a fixed length, or of any.
        return f"list of {json_type(inner[0])}" if Ellipsis in inner else f"{len(inner)} of {json_type(inner[0])}"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {json_type(inner[1])}"
    plain = {
        str: "text",
        float: "number",
        int: "whole number",
        bool: "true or false",
        NoneType: "null",
        Any: "anything",
    }
    return plain.get(hint) or str(hint.__name__)


def _journal() -> str:
    parts = []
    for part in PARTS:
        hints = get_type_hints(part)
        hints |= {name: get_type_hints(made.fget)["return"] for name, made in COMPUTED.get(part.__name__, {}).items()}
        meaning = documented(part)
        first = _in_json((inspect.getdoc(part) or "").split("\n\n")[0])
        rows = [(f"`{name}`", json_type(hints[name]), said) for name, said in meaning.items()]
        parts.append(f"#### {part.__name__}\n{first}\n\n" + table(("field", "type", "meaning"), rows))
    return f"This is schema **{journal.SCHEMA}**.\n\n" + "\n\n".join(parts)


def _experiments() -> str:
    rows = []
    for name in experiment.shipped():
        found = experiment.load(name)
        rows.append((f"`{name}`", found.title, " ".join(found.description.split()), f"`{found.expect}`"))
    return table(("experiment", "title", "why, and what should happen", "expects"), rows)


def _faults() -> str:
    rows = [(f"`{name}`", fault.description, fault.place) for name, fault in FAULTS.items()]
    return table(("fault", "what breaks", "where"), rows)


def _schema() -> str:
    parts = []
    for part in (experiment.Experiment, experiment.Step, experiment.Load):
        rows = [(f"`{entry.alias or name}`", *_field(part, name, entry)) for name, entry in part.model_fields.items()]
        parts.append(f"#### {part.__name__}\n" + table(("field", "default", "allowed", "meaning"), rows))
    return "\n\n".join(parts)


def _field(part: type[BaseModel], name: str, entry: FieldInfo) -> tuple[str, str, str]:
    default = entry.default
    if entry.is_required():
        shown = "required"
    elif default is None:
        shown = "none"
    elif isinstance(default, BaseModel):
        shown = "all defaults"
    else:
        shown = f"`{yaml.safe_dump(list(default) if isinstance(default, tuple) else default, default_flow_style=True)}`"
        shown = shown.replace("\n...", "").replace("\n", "")
    bounds = [
        f"{sign} {getattr(rule, key):g}"
        for rule in _rules(entry)
        for key, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(rule, key, None) is not None
    ]
    meaning = entry.description or MEANINGS.get(f"{part.__name__}.{name}", "")
    said = meaning[:1].upper() + meaning[1:].removesuffix(".") + "." if meaning else ""
    return shown, ", ".join(bounds) or _kind(entry.annotation), said


def _rules(entry: FieldInfo) -> list[Any]:
    # An annotated type within a union keeps its rules to itself.
    inner = [rule for one in get_args(entry.annotation) for rule in getattr(one, "__metadata__", ())]
    found = [*entry.metadata, *inner]
    return [rule for one in found for rule in (one.metadata if isinstance(one, FieldInfo) else [one])]


def _kind(hint: Any) -> str:
    if hint in (experiment.FaultName, experiment.Expectation):
        return "see below"
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return "list of steps" if inner is experiment.Step else f"list of {json_type(inner)}"
    return "a mapping" if hint is experiment.Load else json_type(hint)


def _limits() -> str:
    rows = [
        ("recovery time", f"< {verdict.RTO_SECONDS:g} s", "binding"),
        ("recovery time, aim", f"≤ {verdict.AIM_SECONDS:g} s", "shown, does not decide"),
        ("recovery point", f"< {verdict.RPO_SECONDS:g} s", "binding"),
        ("missing after healing", "0 acknowledged writes", "binding"),
        ("documents after healing", "final in both regions", "binding"),
        ("conflicts after healing", "every one is found and can be merged", "binding"),
        ("requests while nothing turns them away: a drain, a slow region, paused replication", "none fails", "binding"),
        ("shortest limit of recovery time", f"{verdict.SHORTEST_LIMIT_SECONDS:g} s", "however fast a drill is played"),
        ("acknowledged writes before the fault", f"≥ {verdict.FEWEST_WRITES}", "else inconclusive, for a failover"),
        (
            "wait for a write on AWS, or for a document",
            f"{recovery_checks.ARRIVAL_SECONDS:g} s in which the region answers",
            "before it is missing; on the embedded AWS, a write is waited for until replication delivered it",
        ),
        (
            "wait for a document to become final",
            f"{recovery_checks.FINAL_SECONDS:g} s in which the region answers and no other becomes final",
            "before it is not final",
        ),
        ("wait for a busy region", f"{ledger.UNANSWERED_SECONDS:g} s without any answer", "then inconclusive"),
        ("steady success", f"every request due within {run.WINDOW_SECONDS:g} s succeeds", "its definition"),
        ("replication that has caught up", f"≤ {hypothesis.LAG_SECONDS:g} s", "steady state"),
        (
            "wait for a steady state, for replication, for conflicts",
            f"{waiting.STALL_SECONDS:g} s without progress",
            f"a steady state for {run.LONGEST_START_SECONDS:g} s at most before the method, "
            f"{run.LONGEST_HEALING_SECONDS:g} s after healing",
        ),
        (
            "load, unless given",
            f"{calibration.SHARE:.0%} of what this machine serves, {calibration.FEWEST:g} to {calibration.DEFAULT:g} "
            "requests per second",
            f"on AWS {calibration.DEFAULT:g}",
        ),
        ("error budget", f"of {run.AVAILABILITY_PERCENT:g} % in 30 days", "shown, does not decide"),
    ]
    return table(("what", "limit", ""), rows)


def _instruments() -> str:
    rows = [
        (f"`{each.field}`", each.what, f"{each.limit:g} {each.unit}", each.reason) for each in self_monitor.THRESHOLDS
    ]
    return table(("reading", "shows that", "late above", "because"), rows)


def _codes() -> str:
    # An interrupted drill ends as every command that a signal ends.
    codes = {"interrupted": 128 + signal.SIGINT, **EXIT_CODES}
    rows = {code: (f"`{outcome}`", OUTCOMES.get(outcome, "")) for outcome, code in codes.items()}
    rows[2] = ("", "wrong usage or settings, such as an experiment that is not valid; nothing was begun")
    return table(("code", "outcome", "meaning"), [(f"`{code}`", *rows[code]) for code in sorted(rows)])


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "experiments": _experiments,
    "faults": _faults,
    "schema": _schema,
    "limits": _limits,
    "instruments": _instruments,
    "journal": _journal,
    "codes": _codes,
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(blocks.filled(PAGE.read_text(encoding="utf-8"), BLOCKS), encoding="utf-8")


if __name__ == "__main__":
    main()
