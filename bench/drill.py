"""The recovery time of a real-time drill, against the least that its settings allow."""

import json
from pathlib import Path
from typing import Any

from bench.deployed import deployed
from bench.model import Aim, Measurement, Say, Series
from bench.running import BenchError

EXPERIMENT = "region-refused"
ENDED = (0, 1)
"""Exit codes of a drill that was played: every promise kept, or one not."""


def measure(say: Say) -> list[Measurement]:
    """Deploys a platform of its own and plays one drill on it, in real time."""
    say("drill: deploying, about three minutes")
    with deployed() as platform:
        say(f"drill: {EXPERIMENT}, in real time, about three minutes")
        platform.hdr("drill", EXPERIMENT, "--json", codes=ENDED)
        return [measurement(journal_under(platform.home / "drills"))]


def journal_under(folder: Path) -> dict[str, Any]:
    """The only journal under a folder of drills.

    Raises:
        BenchError: there is not exactly one.
    """
    found = sorted(folder.glob("*/journal.json"))
    if len(found) != 1:
        raise BenchError(f"the drill left {len(found)} journals under {folder}, not one")
    journal: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8"))
    return journal


def measurement(journal: dict[str, Any]) -> Measurement:
    """Recovery time over its floor, both from one journal.

    Raises:
        BenchError: the drill measured no recovery, or was sped up.
    """
    milestones, settings = journal["milestones"] or {}, journal["settings"]
    if milestones.get("rto_seconds") is None:
        raise BenchError(f"the drill measured no recovery time: {journal['outcome']}, {journal['reason']}")
    if settings["time_scale"] != 1:
        raise BenchError(f"the drill ran {settings['time_scale']:g} times faster: its times are no recovery times")
    return Measurement(
        name="recovery-time",
        unit="s",
        measured=Series(f"{EXPERIMENT}: fault to steady success", (milestones["rto_seconds"],)),
        reference=Series("threshold x interval + TTL", (journal["floor_seconds"],)),
        aim=Aim("ratio", "most", 1.3),
        embedded=journal["label"] == "embedded",
        note="One drill in real time, as its clients saw it. The floor is what the settings make of a client whose "
        "answer was fetched just before the last check failed; a drill may be luckier, and be below it.",
    )
