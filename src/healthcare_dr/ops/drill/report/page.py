"""The page: `report.html`, made from a journal alone."""

from pathlib import Path
from typing import Final

from healthcare_dr.ops.charts import escaped
from healthcare_dr.ops.drill.journal import Journal
from healthcare_dr.ops.drill.report.charts import Charts
from healthcare_dr.ops.drill.report.figures import figures, measured, verdict
from healthcare_dr.ops.drill.report.markup import seconds
from healthcare_dr.ops.drill.report.style import STYLE
from healthcare_dr.ops.drill.report.tables import tables

# Nothing may be fetched and nothing may run, whatever a journal says.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(journal: Journal, folder: Path) -> Path:
    """Write `report.html` into `folder`, which exists; gives its path."""
    path = folder / "report.html"
    path.write_text(page(journal), encoding="utf-8")
    return path


def page(journal: Journal) -> str:
    """The report as one HTML document that refers to nothing outside itself."""
    title = str(journal.experiment.get("title") or "Drill")
    charts = Charts(journal)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escaped(f'{title}: {journal.outcome} ({journal.label})')}</title><style>{STYLE}</style></head><body>"
        f"<main>{measured(journal)}<h1>{escaped(title)}</h1>"
        f'<p class="from">Began {escaped(journal.started)}, took {seconds(journal.seconds)}; '
        f"regions {escaped(', '.join(journal.regions))}.</p>"
        f"{verdict(journal)}{figures(journal)}<h2>What happened</h2>{_moments(charts)}{charts.html()}"
        f"{tables(journal)}</main></body></html>\n"
    )


def _moments(charts: Charts) -> str:
    if not charts.marks:
        return "<p>Nothing is marked: there was no fault.</p>"
    lines = "".join(
        f'<li class="{escaped(mark.kind)}">{escaped(mark.name)}, {seconds(mark.at)}</li>' for mark in charts.marks
    )
    return f'<p>Numbered lines in every chart, in seconds since the drill began:</p><ol class="moments">{lines}</ol>'
