"""Figures for `docs/`: SVG that is the same for the same numbers, and can be read on light and on dark ground."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# In the middle between white and black, as the lines are.
INK: Final = "#7d8590"
COLOURS: Final = ("#0f8fd1", "#d9730d", "#1a9e6c", "#c55aa3", "#a38a00", "#8a6fe0", "#e0455a")
MARKERS: Final = "os^Dv<x"
STYLE: Final[Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "legend.labelcolor": INK,
    # Letters stay letters, and names of elements do not change from run to run.
    "svg.fonttype": "none",
    "svg.hashsalt": "healthcare-dr",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(panels: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """A panel for each thing that grows; in it a line for each operation, from size to capacity units."""
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(10, 4.2), layout="constrained")
        axes = drawing.subplots(1, len(panels), sharey=True)
        for axis, (growing, lines) in zip(axes, panels.items(), strict=True):
            for (operation, curve), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=True):
                axis.plot(list(curve), list(curve.values()), color=colour, marker=marker, markersize=5, label=operation)
            axis.set(xscale="log", yscale="log", xlabel=growing, ylim=(1, 1000), xticks=list(curve))
            for ticks in (axis.xaxis, axis.yaxis):
                ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.minorticks_off()
            axis.grid(color=INK, alpha=0.25, linewidth=0.6)
        axes[0].set_ylabel("capacity units of one call")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
