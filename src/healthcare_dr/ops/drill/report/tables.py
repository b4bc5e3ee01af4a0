"""The tables of a report."""

import json
from collections.abc import Iterator, Mapping

from healthcare_dr.ops.charts import escaped
from healthcare_dr.ops.drill.journal import Journal, Missing
from healthcare_dr.ops.drill.report.figures import result
from healthcare_dr.ops.drill.report.markup import seconds, table
from healthcare_dr.ops.drill.self_monitor import THRESHOLDS

SHOWN = 12


def tables(journal: Journal) -> str:
    """All tables, each under its heading."""
    parts = (
        ("Milestones", _milestones(journal)),
        ("Promises", _promises(journal)),
        ("Missing writes", _missing(journal)),
        ("Instrument health", _instrument_health(journal)),
        ("Steady state", _steady_state(journal)),
        ("Events", _events(journal)),
        ("Settings", _settings(journal)),
        ("Experiment", _experiment(journal)),
    )
    return "".join(f"<section><h2>{title}</h2>{body}</section>" for title, body in parts)


def _milestones(journal: Journal) -> str:
    way = journal.milestones
    if way is None:
        return "<p>The drill did not come so far that there are milestones.</p>"
    rows: list[tuple[str, float | None]] = [("fault", way.fault), ("first failure", way.first_failure)]
    rows += [(f"check {name} changed", at) for name, at in sorted(way.checks.items(), key=lambda pair: pair[1])]
    rows += [
        ("DNS changed", way.dns_changed),
        ("first success", way.first_success),
        ("steady success", way.steady_success),
    ]
    return table(
        ("Milestone", "At", "Since the fault"),
        [
            (name, seconds(at, none="did not happen"), "" if at is None else f"{at - way.fault:+.1f} s")
            for name, at in rows
        ],
        none="",
    )


def _promises(journal: Journal) -> str:
    rows = [
        (
            promise.name,
            promise.limit,
            promise.measured,
            result(promise),
            "decides the verdict" if promise.binding else "an aim",
        )
        for promise in journal.promises
    ]
    return table(("Promise", "Limit", "Measured", "Result", "Weight"), rows, none="Nothing was promised.")


def _missing(journal: Journal) -> str:
    rows = [
        (
            seconds(found.at),
            found.region,
            found.looked_for,
            len(found.numbers),
            _numbers(found),
            seconds(found.seconds),
            len(found.unanswered),
        )
        for found in journal.missing
    ]
    heads = ("At", "Looked for in", "Looked for", "Missing", "Numbers in the ledger", "Reaches back", "Unanswered")
    return table(heads, rows, none="Missing writes were not looked for.") + _after_healing(journal)


def _after_healing(journal: Journal) -> str:
    found = journal.conflicts
    if found is None:
        return ""
    late = f"{len(journal.unfinished)} documents were not final" if journal.unfinished else "every document was final"
    return (
        f"<p>After healing {late} in both regions; {found.found} records had been changed in both regions at once, "
        f"{found.merged} of them were merged, {found.left} are still open.</p>"
    )


def _instrument_health(journal: Journal) -> str:
    found = journal.instrument_health
    if found is None:
        return "<p>The drill ended before its own lateness was judged.</p>"
    said = (
        f"The machine did not carry the measurement: {found.reason}."
        if not found.sufficient
        else f"The machine carried the measurement: {found.late} of {found.readings} readings were late."
    )
    rows = [
        (
            each.what,
            "not measured" if each.field not in found.worst else f"{found.worst[each.field]:.2f} {each.unit}",
            f"{each.limit:g} {each.unit}",
            each.reason,
        )
        for each in THRESHOLDS
    ]
    return f"<p>{escaped(said)}</p>" + table(("Instrument", "Worst", "Late above", "Why"), rows, none="")


def _numbers(found: Missing) -> str:
    shown = ", ".join(str(number) for number in found.numbers[:SHOWN])
    more = len(found.numbers) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _steady_state(journal: Journal) -> str:
    rows = [
        (when, condition.name, "held" if condition.held else "did not hold", condition.seen)
        for when, conditions in journal.steady_state.items()
        for condition in conditions
    ]
    return table(("When", "Condition", "Result", "Seen"), rows, none="The steady state was not looked at.")


def _events(journal: Journal) -> str:
    rows = [
        (seconds(event.at), event.kind, event.region or "", event.text)
        for event in sorted(journal.events, key=lambda event: event.at)
    ]
    undone = ", ".join(journal.rolled_back)
    after = f"<p>Undone: {escaped(undone)}.</p>" if undone else ""
    return table(("At", "Kind", "Region", "Event"), rows, none="Nothing happened.") + after


def _settings(journal: Journal) -> str:
    return table(("Setting", "Value"), _flat(journal.settings), none="No settings were noted.")


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)


def _experiment(journal: Journal) -> str:
    if not journal.experiment:
        return "<p>No experiment was noted.</p>"
    return f"<pre>{escaped(json.dumps(journal.experiment, indent=2, ensure_ascii=False, default=str))}</pre>"
