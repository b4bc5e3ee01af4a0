"""The top of a report: what was measured, the verdict, and the key figures."""

from typing import Final

from healthcare_dr.ops.charts import escaped, number
from healthcare_dr.ops.drill.journal import Journal, Promise
from healthcare_dr.ops.drill.report.markup import seconds

RECOVERIES: Final = ("recovery time", "recovery after healing")
"""The promises that speak of recovery time: of a failover, and of an outage."""
PLACES: Final = {"embedded": "embedded AWS on one machine, not AWS's own figures", "aws": "AWS accounts"}


def measured(journal: Journal) -> str:
    """The first line: what was measured, where, and what was played faster."""
    lost = " and ".join(journal.lost)
    what = f"recovery from the loss of {lost}" if lost else "a fault that takes no region away"
    line = f"Measured: {what}, as simulated clients saw it. Label: {journal.label} ({PLACES[journal.label]})."
    scale = time_scale(journal)
    if scale != 1:
        line += f" Played {number(scale)} times faster: health checks and TTLs only."
    regions = journal.settings.get("checker_regions")
    if isinstance(regions, int):
        line += f" Health checks were sent from {regions} checker regions."
    return f'<p class="measured">{escaped(line)}</p>{load(journal)}'


def load(journal: Journal) -> str:
    """Return the number of requests, and how the rate was determined."""
    rate, reason = journal.settings.get("rate"), journal.settings.get("rate_reason")
    if not isinstance(rate, int | float) or reason is None:
        return ""
    return f'<p class="measured">{escaped(f"Load: {number(rate)} requests per second: {reason}.")}</p>'


def time_scale(journal: Journal) -> float:
    """Return how many times faster health checks and TTLs ran; 1 when the settings do not contain it."""
    found = journal.settings.get("time_scale", 1)
    return float(found) if isinstance(found, int | float) else 1.0


def verdict(journal: Journal) -> str:
    """The outcome, big, and its reason."""
    style = journal.outcome if journal.outcome in ("passed", "failed") else "open"
    return (
        f'<section class="verdict {style}"><strong>{escaped(journal.outcome.capitalize())}</strong>'
        f"<p>{escaped(journal.reason)}</p></section>"
    )


def figures(journal: Journal) -> str:
    """The key figures as cards."""
    cards = (_rto(journal), _floor(journal), _rpo(journal), _failed(journal), _budget(journal))
    return (
        '<dl class="figures">'
        + "".join(
            f"<div><dt>{escaped(name)}</dt><dd><b>{escaped(value)}</b><small>{escaped(note)}</small></dd></div>"
            for name, value, note in cards
        )
        + "</dl>"
    )


def _rto(journal: Journal) -> tuple[str, str, str]:
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
    return name, seconds(way.rto_seconds, none="not reached"), "no recovery time is promised here"


def result(promise: Promise) -> str:
    """Return whether a promise was kept, in words; an aim is missed rather than broken."""
    if promise.kept is None:
        return "not judged"
    return "kept" if promise.kept else "broken" if promise.binding else "missed"


def _floor(journal: Journal) -> tuple[str, str, str]:
    return "Floor", seconds(journal.floor_seconds), "threshold x interval + TTL: what the settings alone take"


def _rpo(journal: Journal) -> tuple[str, str, str]:
    if not journal.missing:
        return "Recovery point (RPO)", "not measured", "acknowledged writes were not looked for"
    numbers = {number for missing in journal.missing for number in missing.numbers}
    note = f"{len(numbers)} acknowledged writes were missing at some time" if numbers else "no acknowledged write lost"
    return "Recovery point (RPO)", seconds(max(missing.seconds for missing in journal.missing)), note


def _failed(journal: Journal) -> tuple[str, str, str]:
    found = journal.requests
    if found is None:
        return "Failed requests", "not measured", "requests were not counted"
    share = f"{found.failed / found.total:.1%} of" if found.total else "of"
    note = f"{share} {found.total} since the fault; {found.refused} were refused, {found.slow} others were slow"
    return "Failed requests", str(found.failed), note


def _budget(journal: Journal) -> tuple[str, str, str]:
    found = journal.error_budget
    if found is None:
        return "Error budget", "not measured", "of 30 days"
    value = f"{found.spent_seconds / found.budget_seconds:.1%}" if found.budget_seconds > 0 else "none allowed"
    note = (
        f"{seconds(found.spent_seconds)} of the {seconds(found.budget_seconds)} that "
        f"{number(found.availability_percent)} % allows in 30 days"
    )
    return "Error budget spent", value, note
