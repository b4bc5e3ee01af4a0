"""Format the report of `hdr slo`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from healthcare_dr.ops.slo.assessment import Assessment, Budget, Spread

SWINGS = 8


def print_assessment(console: Console, found: Assessment) -> None:
    """Print the verdict, then its basis."""
    style = "green" if found.carried else "red"
    console.print(found.verdict, style=style, highlight=False)
    for line in (*found.reasons, *(f"Not counted: {why}" for why in found.ignored)):
        console.print(f"  {line}", highlight=False)
    console.print(_budgets(found))
    console.print(_curve(found))
    if found.spread is not None:
        console.print(_costs(found))
        console.print(_spread(found.spread))
        console.print(_swings(found))
        console.print(f"The result rests on {found.swings[0].name} more than on anything else.", highlight=False)
    console.print(_promises(found))
    allowed = f"{found.assumptions.promised_outages_per_year:.1f} outages a year as long as the past ones"
    console.print(
        f"One region whose services just meet their commitments: {found.promised_percent:.3f} %, or {allowed}.",
        highlight=False,
    )
    unconfirmed = sum(entry.source == "unconfirmed" for entry in found.assumptions.inputs.values())
    console.print(f"{unconfirmed} inputs are not published numbers; --json prints the source of each.", highlight=False)


def number(value: float) -> str:
    """Return a short number, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def afforded(budget: Budget, recoveries: Sequence[float]) -> str:
    """Return how many failovers a budget allows, in words."""
    if budget.failovers is not None:
        return str(budget.failovers)
    return "any number" if recoveries else "not measured"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0 and len(columns) > 3)
    return table


def _budgets(found: Assessment) -> Table:
    table = _table(f"Error budget of {found.percent:g} %", "period", "seconds", "failovers it affords")
    for budget in found.budgets:
        table.add_row(f"{budget.period_days} days", f"{budget.seconds:,.1f}", afforded(budget, found.recoveries))
    return table


def _curve(found: Assessment) -> Table:
    columns = ("recovery", "failovers in 30 days", "in a year", "they cost a year", "everything costs")
    table = _table("Effect of the recovery time", *columns)
    for point in found.curve:
        table.add_row(
            f"{point.recovery_seconds:g} s",
            str(point.failovers_in_30_days),
            str(point.failovers_in_a_year),
            f"{number(point.failovers_cost)} s",
            f"{number(point.all_costs)} s",
        )
    return table


def _costs(found: Assessment) -> Table:
    table = _table("Average yearly cost", "what fails", "a year", "seconds each", "seconds a year")
    for cost in found.costs:
        table.add_row(cost.name, number(cost.per_year), number(cost.seconds_each), number(cost.seconds_a_year))
    total = sum(cost.seconds_a_year for cost in found.costs)
    table.add_row(f"together: {found.expected_percent:.4f} % in the long run", "", "", number(total), style="bold")
    return table


def _spread(spread: Spread) -> Table:
    title = f"{spread.runs:,} simulated years (seed {spread.seed}): that many were no better"
    table = _table(title, *(f"{percent} %" for percent in spread.percentiles), "within budget")
    table.add_row(*(f"{value:.4f} %" for value in spread.percentiles.values()), f"{spread.years_within:.1%}")
    return table


def _swings(found: Assessment) -> Table:
    columns = ("input", "is", "could be", "seconds a year", "years within")
    table = _table("Which assumption decides the result", *columns)
    for swing in found.swings[:SWINGS]:
        table.add_row(
            swing.name,
            number(swing.value),
            f"{number(swing.low)} to {number(swing.high)}",
            f"{number(swing.lost_low)} to {number(swing.lost_high)}",
            f"{swing.within_low:.0%} to {swing.within_high:.0%}",
        )
    return table


def _promises(found: Assessment) -> Table:
    table = _table("Service commitments of AWS", "service", "percent", "as of")
    for promise in (*found.assumptions.promises, *found.assumptions.shared):
        table.add_row(promise.service, f"{promise.percent:g}", promise.date.isoformat())
    return table
