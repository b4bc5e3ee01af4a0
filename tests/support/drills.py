"""Run drills and read their journals."""

import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from types import MappingProxyType
from typing import Any

from support.platform import Deployed

SCALE = 10
FAST = ("--time-scale", str(SCALE))
INCONCLUSIVE = "inconclusive"
Journal = dict[str, Any]


def drill(
    deployed: Deployed,
    name: str,
    *options: str,
    outcome: str = "passed",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Journal:
    """Run an experiment and return its journal. An inconclusive drill is repeated once.

    `environment` contains the settings of another environment than that of `deployed`.

    For an experiment that passes, it also checks that the steady state returned, that nothing is missing after healing,
    that no document is unfinished, and that the histories of the clients were checked.
    """
    journal, finished = run_once(deployed, name, *options, environment=environment)
    if journal["outcome"] == INCONCLUSIVE:
        journal, finished = run_once(deployed, name, *options, environment=environment)
    output = finished.stdout + finished.stderr
    assert journal["outcome"] == outcome, output
    assert (finished.returncode == 0) is (outcome == "passed"), output
    assert journal["label"] == "embedded"
    if outcome == "passed":
        assert_nothing_was_lost(journal)
        assert_history_was_checked(journal)
    return journal


def assert_nothing_was_lost(journal: Journal) -> None:
    """Check what holds for every drill that passed."""
    assert all(condition["held"] for condition in journal["steady_state"]["after"]), journal["steady_state"]
    assert all(missing["numbers"] == [] for missing in journal["missing"][-2:])
    assert journal["unfinished"] == []


def assert_history_was_checked(journal: Journal) -> None:
    """Check that there was something to check, and that it was consistent."""
    found = journal["consistency"]
    assert found["anomalies"] == []
    assert found["unanswered"] == []
    assert found["operations"] > found["appends"] > 0
    assert found["session_reads"] > 0
    assert found["records"] > 0


def run_once(
    deployed: Deployed, name: str, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[Journal, CompletedProcess[str]]:
    """Run an experiment once. `hdr drill heal` undoes the faults that a drill without success may have left."""
    before = folders(deployed)
    finished = deployed.hdr("drill", name, *options, **environment)
    journal = journal_in(deployed, before, output=finished.stdout + finished.stderr)
    if journal["outcome"] != "passed":
        deployed.hdr("drill", "heal", **environment)
    return journal, finished


def journal_in(deployed: Deployed, before: set[Path], *, output: str = "") -> Journal:
    """Return the journal in the folder that is new since `before`."""
    made = folders(deployed) - before
    assert len(made) == 1, f"the drill left no journal: {output}"
    (folder,) = made
    assert (folder / "report.html").stat().st_size > 0
    assert (folder / "history.jsonl").exists()
    journal: Journal = json.loads((folder / "journal.json").read_text(encoding="utf-8"))
    return journal


def folders(deployed: Deployed) -> set[Path]:
    """Return the folders of all drills so far."""
    drills = deployed.home / "drills"
    return set(drills.iterdir()) if drills.exists() else set()


def undone(journal: Journal) -> float:
    """Return when the first fault was undone, in seconds on the drill's clock."""
    return min(float(event["at"]) for event in journal["events"] if event["kind"] == "undo")


def answered_from(journal: Journal, *, after: float, before: float) -> set[str]:
    """Return the regions that answered clients between two times on the drill's clock."""
    return {
        sample["region"]
        for sample in journal["samples"]
        if after <= sample["at"] < before and sample["status"] is not None and sample["status"] < 300
    }
