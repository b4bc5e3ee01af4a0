"""The values of docs/availability.md, which `hdr slo` computes from docs/availability.yaml, and its figure."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from healthcare_dr.ops.slo.assessment import Budget
from healthcare_dr.ops.slo.report import afforded

DOCS: Final = Path(__file__).parents[1] / "docs"
INPUTS: Final = DOCS / "availability.yaml"
FIGURE: Final = DOCS / "figures" / "availability.svg"

SUPPOSED: Final = {
    "idp_outages_per_year": 0.1,
    "bad_changes_per_year": 0.1,
    "dns_outages_per_year": 0.01,
    "both_regions_share": 0.01,
    "failover_fails": 0.015,
}
"""Inputs with which the target is met, given `FAILOVERS` drilled failovers without a miss of `SECONDS` each."""
FAILOVERS: Final = 70
SECONDS: Final = 60

Report = Mapping[str, Any]


def slo_report(inputs: Path, figure: Path) -> Report:
    """Return the JSON report of `hdr slo` for a file of inputs, and draw the figure.

    Raises:
        RuntimeError: the command failed.
    """
    command = [str(Path(sys.executable).with_name("hdr")), "slo", "--json", "--inputs", str(inputs), "--figure"]
    # An empty environment, and a folder without `.env`: the user's settings must not affect the page.
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run([*command, str(figure)], cwd=folder, env={}, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise RuntimeError(f"hdr slo ended with {ended.returncode}: {ended.stderr.strip()}")
    report: Report = json.loads(ended.stdout)
    return report


def supposed() -> Report:
    """Return the report for the supposed inputs."""
    recovery = {"seconds": SECONDS, "label": "given", "date": "supposed", "experiment": "supposed"}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "supposed.yaml"
        inputs.write_text(json.dumps({"inputs": SUPPOSED, "recoveries": [recovery] * FAILOVERS}), encoding="utf-8")
        return slo_report(inputs, Path(folder) / "supposed.svg")


def context(inputs: Path = INPUTS, figure: Path = FIGURE) -> Report:
    """Return the values of the template."""
    report = slo_report(inputs, figure)
    entries, swings = report["assumptions"]["inputs"], {swing["name"]: swing for swing in report["swings"]}
    return {
        **report,
        "affordable": [afforded(Budget(**budget), report["recoveries"]) for budget in report["budgets"]],
        "inputs": {name: entries[name] for name in swings if name in entries} or entries,
        "swings": swings,
        "supposed": SUPPOSED,
        "supposed_verdict": supposed()["verdict"],
    }
