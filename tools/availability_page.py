"""Fills docs/availability.md with what `hdr slo` says of docs/availability.yaml, and draws its figure.

`.venv/bin/python tools/availability_page.py` rewrites what stands between `<!-- name -->` and `<!-- end -->`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import blocks
from blocks import table

from healthcare_dr.ops.slo.assessment import Budget
from healthcare_dr.ops.slo.report import afforded, number

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "availability.md"
INPUTS: Final = DOCS / "availability.yaml"
FIGURE: Final = DOCS / "figures" / "availability.svg"

SUPPOSED: Final = {
    "idp_outages_per_year": 0.1,
    "bad_changes_per_year": 0.1,
    "dns_outages_per_year": 0.01,
    "both_regions_share": 0.01,
    "failover_fails": 0.015,
}
"""A world in which the claim is carried, by `FAILOVERS` that were drilled without a miss and took `SECONDS` each."""
FAILOVERS: Final = 70
SECONDS: Final = 60

Found = Mapping[str, Any]


def told(inputs: Path, figure: Path) -> Found:
    """What the command prints for `inputs`; it draws `figure`.

    Raises:
        RuntimeError: the command failed.
    """
    command = [str(Path(sys.executable).with_name("hdr")), "slo", "--json", "--inputs", str(inputs), "--figure"]
    # Settings of whoever runs this must not show: a folder without `.env`, an environment without variables.
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run([*command, str(figure)], cwd=folder, env={}, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise RuntimeError(f"hdr slo ended with {ended.returncode}: {ended.stderr.strip()}")
    found: Found = json.loads(ended.stdout)
    return found


def supposed() -> Found:
    """What the command prints for the supposed world."""
    trial = {"seconds": SECONDS, "label": "given", "date": "supposed", "experiment": "supposed"}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "supposed.yaml"
        inputs.write_text(json.dumps({"inputs": SUPPOSED, "recoveries": [trial] * FAILOVERS}), encoding="utf-8")
        return told(inputs, Path(folder) / "supposed.svg")


def filled(page: str, found: Found) -> str:
    """The page with its blocks as `found` has them. Raises KeyError when a block is not known."""
    return blocks.filled(page, {name: partial(write, found) for name, write in BLOCKS.items()})


def _verdict(found: Found) -> str:
    lines = [f"**{found['verdict']}**", *found["reasons"], *(f"Not counted: {why}." for why in found["ignored"])]
    return " ".join(lines)


def _supposed(found: Found) -> str:
    was = found["assumptions"]["inputs"]
    rows = [(f"`{name}`", number(was[name]["value"]), number(value)) for name, value in SUPPOSED.items()]
    return table(("input", "assumed here", "supposed"), rows) + f"\n\n*Supposed, not measured:* {supposed()['verdict']}"


def _budgets(found: Found) -> str:
    rows = [
        (
            f"{budget['period_days']} days",
            f"{budget['seconds']:,.1f} s",
            afforded(Budget(**budget), found["recoveries"]),
        )
        for budget in found["budgets"]
    ]
    return table(("period", "budget", "failovers at the slowest measured recovery"), rows)


def _curve(found: Found) -> str:
    heads = ("recovery time", "in 30 days", "in a year", "failovers cost a year", "everything costs a year")
    rows = [
        (
            f"{point['recovery_seconds']:g} s",
            point["failovers_in_30_days"],
            point["failovers_in_a_year"],
            f"{number(point['failovers_cost'])} s",
            f"{number(point['all_costs'])} s",
        )
        for point in found["curve"]
    ]
    return table(heads, rows)


def _costs(found: Found) -> str:
    if not found["costs"]:
        return "The shares of each are in the figure; as nothing was measured yet, there is no list."
    rows = [
        (
            cost["name"],
            number(cost["per_year"]),
            f"{number(cost['seconds_each'])} s",
            f"{number(cost['seconds_a_year'])} s",
        )
        for cost in found["costs"]
    ]
    return (
        table(("what fails", "a year", "costs each", "costs a year"), rows)
        + f"\n\nTogether that is {found['expected_percent']:.4f} % in the long run."
    )


def _spread(found: Found) -> str:
    spread = found["spread"]
    if spread is None:
        return "Nothing was measured yet, so no years are played."
    rows = [(f"{percent} %", f"{value:.4f} %") for percent, value in spread["percentiles"].items()]
    said = (
        f"{spread['runs']:,} years, seed {spread['seed']}: {spread['years_within']:.1%} within the budget of a year, "
        f"{spread['months_within']:.1%} of as many months within that of 30 days."
    )
    return f"{said}\n\n{table(('of the years', 'were no better than'), rows)}"


def _inputs(found: Found) -> str:
    swings = {swing["name"]: swing for swing in found["swings"]}
    heads = ["input", "is", "unit", "could be", "what", "source", "note"]
    rows = []
    entries = found["assumptions"]["inputs"]
    order = [name for name in swings if name in entries] or list(entries)
    for name in order:
        entry = entries[name]
        row = [
            f"`{name}`",
            number(entry["value"]),
            entry["unit"],
            f"{number(entry['low'])} to {number(entry['high'])}",
            entry["what"],
            entry["source"],
            entry["note"].strip(),
        ]
        if swings:
            swing = swings[name]
            row.append(f"{number(swing['lost_low'])} to {number(swing['lost_high'])} s a year")
        rows.append(row)
    return table([*heads, *(["at its ends everything costs"] if swings else [])], rows)


def _promises(found: Found) -> str:
    assumed = found["assumptions"]
    rows = [
        (entry["service"], f"{entry['percent']:g} %", entry["date"], entry["source"], entry["note"].strip())
        for entry in (*assumed["promises"], *assumed["shared"])
    ]
    told_of = table(("service", "promised", "as of", "source", "note"), rows)
    return f"{told_of}\n\nOne region with all of the first five at that: {found['promised_percent']:.3f} %."


def _history(found: Found) -> str:
    history = found["assumptions"]["history"]
    rows = [
        (entry["began"], f"{entry['hours']:g} h", entry["source"], entry["note"].strip())
        for entry in history["outages"]
    ]
    return f"{history['note'].strip()} From {history['since']} to {history['until']}:\n\n" + table(
        ("began", "lasted", "source", "note"), rows
    )


BLOCKS: Final[Mapping[str, Callable[[Found], str]]] = {
    "verdict": _verdict,
    "budgets": _budgets,
    "curve": _curve,
    "costs": _costs,
    "spread": _spread,
    "supposed": _supposed,
    "inputs": _inputs,
    "promises": _promises,
    "history": _history,
}


def main() -> None:
    """Write the page and the figure."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), told(INPUTS, FIGURE)), encoding="utf-8")


if __name__ == "__main__":
    main()
