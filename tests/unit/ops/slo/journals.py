"""Journals of made-up drills, as `hdr drill` leaves them."""

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
    """A drill that took `rto` seconds to recover; None: never. `failover` is whether DNS left the region in time.

    The fault was at 20 s, and the events tell that it was undone at 65 s.
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
    """A folder of drills with these journals; gives it."""
    for number, one in enumerate(journals):
        place = folder / f"2026-11-24T0{number}"
        place.mkdir(parents=True)
        one.write(place)
    return folder


def damaged(folder: Path, **changes: Any) -> Path:
    """A folder of one drill whose journal has other values; gives it."""
    left(folder, journal())
    path = next(folder.glob("*/journal.json"))
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return folder
