"""Write `report.html` from a journal alone."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from healthcare_dr.ops.charts import environment, number
from healthcare_dr.ops.drill.journal import Journal, Promise
from healthcare_dr.ops.drill.report.anomalies import described, times
from healthcare_dr.ops.drill.report.charts import Charts
from healthcare_dr.ops.drill.self_monitor import THRESHOLDS

RECOVERIES: Final = ("recovery time", "recovery after healing")
"""The promises about recovery time: of a failover, and of an outage."""
PLACES: Final = {"embedded": "embedded AWS on one machine, not AWS's own figures", "aws": "AWS accounts"}

Card = tuple[str, str, str]
"""A key figure: its name, its value, and a note."""


def write_report(journal: Journal, folder: Path) -> Path:
    """Write `report.html` into `folder`, which exists, and return its path."""
    templates = environment(__package__)
    templates.filters |= {"seconds": seconds, "result": result, "times": times, "described": described}
    page = templates.get_template("report.html.j2").render(
        journal=journal,
        title=str(journal.experiment.get("title") or "Drill"),
        measured=measured(journal),
        load=load(journal),
        cards=(_rto(journal), _floor(journal), _rpo(journal), _failed(journal), _budget(journal)),
        charts=Charts(journal),
        milestones=_milestones(journal),
        thresholds=THRESHOLDS,
        conditions=[(when, each) for when, found in journal.steady_state.items() for each in found],
        settings=list(_flat(journal.settings)),
        experiment=json.dumps(journal.experiment, indent=2, ensure_ascii=False, default=str),
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def seconds(value: float | None, *, empty: str = "not measured") -> str:
    """Return `12.3 s`, or `empty` without a value."""
    return empty if value is None or not math.isfinite(value) else f"{value:.1f} s"


def result(promise: Promise) -> str:
    """Return whether a promise was kept, in words; an aim is missed rather than broken."""
    if promise.kept is None:
        return "not judged"
    return "kept" if promise.kept else "broken" if promise.binding else "missed"


def measured(journal: Journal) -> str:
    """Return what was measured, where, and what ran faster than real time."""
    lost = " and ".join(journal.lost)
    what = f"recovery from the loss of {lost}" if lost else "a fault that takes no region away"
    line = f"Measured: {what}, as simulated clients saw it. Label: {journal.label} ({PLACES[journal.label]})."
    scale, regions = journal.settings.get("time_scale", 1), journal.settings.get("checker_regions")
    if isinstance(scale, int | float) and scale != 1:
        line += f" Ran {number(scale)} times faster: health checks and TTLs only."
    if isinstance(regions, int):
        line += f" Health checks were sent from {regions} checker regions."
    return line


def load(journal: Journal) -> str:
    """Return the request rate and how it was determined; empty when the settings do not contain it."""
    rate, reason = journal.settings.get("rate"), journal.settings.get("rate_reason")
    if not isinstance(rate, int | float) or reason is None:
        return ""
    return f"Load: {number(rate)} requests per second: {reason}."


def _rto(journal: Journal) -> Card:
    name, way = "Recovery time (RTO)", journal.milestones
    promised = {promise.name: promise for promise in journal.promises}
    judged = next((promised[given] for given in RECOVERIES if given in promised), None)
    if judged is not None:
        aim = promised.get(f"{judged.name}, aim")
        note = f"limit {judged.limit}: {result(judged)}"
        if aim is not None:
            note += f"; aim {aim.limit}: {'reached' if aim.kept else result(aim)}"
        return name, judged.measured, note
    if way is None:
        return name, "not measured", "the drill did not come so far"
    return name, seconds(way.rto_seconds, empty="not reached"), "no recovery time is promised here"


def _floor(journal: Journal) -> Card:
    return "Floor", seconds(journal.floor_seconds), "threshold x interval + TTL: what the settings alone take"


def _rpo(journal: Journal) -> Card:
    if not journal.missing:
        return "Recovery point (RPO)", "not measured", "acknowledged writes were not looked for"
    numbers = {number for missing in journal.missing for number in missing.numbers}
    note = f"{len(numbers)} acknowledged writes were missing at some time" if numbers else "no acknowledged write lost"
    return "Recovery point (RPO)", seconds(max(missing.seconds for missing in journal.missing)), note


def _failed(journal: Journal) -> Card:
    found = journal.requests
    if found is None:
        return "Failed requests", "not measured", "requests were not counted"
    share = f"{found.failed / found.total:.1%} of" if found.total else "of"
    note = f"{share} {found.total} since the fault; {found.refused} were refused, {found.slow} others were slow"
    return "Failed requests", str(found.failed), note


def _budget(journal: Journal) -> Card:
    found = journal.error_budget
    if found is None:
        return "Error budget", "not measured", "of 30 days"
    value = f"{found.spent_seconds / found.budget_seconds:.1%}" if found.budget_seconds > 0 else "none allowed"
    allowed = f"{seconds(found.budget_seconds)} that {number(found.availability_percent)} % allows in 30 days"
    return "Error budget spent", value, f"{seconds(found.spent_seconds)} of the {allowed}"


def _milestones(journal: Journal) -> list[tuple[str, float | None]]:
    way = journal.milestones
    if way is None:
        return []
    return [
        ("fault", way.fault),
        ("first failure", way.first_failure),
        *((f"check {name} changed", at) for name, at in sorted(way.checks.items(), key=lambda pair: pair[1])),
        ("DNS changed", way.dns_changed),
        ("first success", way.first_success),
        ("steady success", way.steady_success),
    ]


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)
