"""Journals of simulated drills, in the folders that `hdr drill` writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from healthcare_dr.ops.drill.experiment import load
from healthcare_dr.ops.drill.journal import Journal, Milestones, Promise
from unit.ops.drill import sample_journal


def journal(
    *,
    rto: float | None = 42.0,
    experiment: str = "region-refused",
    time_scale: float = 1.0,
    failover: bool = True,
    healed: float | None = 1000.0,
    **other: Any,
) -> Journal:
    """Return a drill with a recovery time of `rto` seconds; None: without one. `failover`: whether DNS left the region.

    The fault was at 20 s, and an event states that it was undone at 65 s.
    """
    made = sample_journal.journal()
    return replace(
        made,
        experiment=load(experiment).document(),
        settings={**made.settings, "time_scale": time_scale},
        milestones=Milestones(fault=20.0, steady_success=None if rto is None else 20.0 + rto),
        promises=(Promise(name="failover", limit="", measured="", kept=failover),),
        samples=(),
        observations=(),
        healed=healed,
        **other,
    )


def left(folder: Path, *journals: Journal) -> Path:
    """Write journals into folders of drills, and return `folder`."""
    for number, one in enumerate(journals):
        place = folder / f"2026-11-24T0{number}"
        place.mkdir(parents=True)
        one.write(place)
    return folder


def changed(folder: Path, *, drill: Journal | None = None, without: tuple[str, ...] = (), **changes: Any) -> Path:
    """Return a folder with one drill, in whose journal fields are changed or removed."""
    left(folder, drill or journal())
    path = next(folder.glob("*/journal.json"))
    document = json.loads(path.read_text(encoding="utf-8")) | changes
    fields = {name: value for name, value in document.items() if name not in without}
    path.write_text(json.dumps(fields), encoding="utf-8")
    return folder
