"""Format reports as tables and text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from healthcare_dr.naming import DEFAULT_SUFFIX, SUFFIX_VARIABLE
from healthcare_dr.ops.deploy import Changes
from healthcare_dr.ops.lifecycle import Demo
from healthcare_dr.ops.status import Status
from healthcare_dr.ops.terraform.runner import Plan

SIGNS = {"create": ("+", "green"), "delete": ("-", "red"), "update": ("~", "yellow"), "replace": ("±", "magenta")}
STYLES = {"healthy": "green", "serving": "green", "draining": "yellow", "unhealthy": "red", "unreachable": "red"}
LISTED = 12


def print_plans(console: Console, plans: Sequence[Plan]) -> None:
    """A table of numbers per stack; then each resource that is changed, replaced or destroyed, and what is added."""
    table = Table(title="Plan", title_justify="left")
    table.add_column("stack", no_wrap=True)
    for column in ("add", "change", "destroy"):
        table.add_column(column, justify="right")
    for plan in plans:
        table.add_row(plan.stack, str(plan.add), str(plan.change), str(plan.remove))
    console.print(table)
    for plan in plans:
        _print_changes(console, plan)


def _print_changes(console: Console, plan: Plan) -> None:
    created = Counter(change.address.rpartition(".")[0] for change in plan.changes if change.action == "create")
    for change in plan.changes:
        if change.action != "create":
            sign, style = SIGNS.get(change.action, ("·", "cyan"))
            console.print(f"  {sign} {plan.stack}: {change.address} ({change.action})", style=style, highlight=False)
    shown = created.most_common(LISTED)
    if shown:
        kinds = ", ".join(f"{number} {kind}" for kind, number in shown)
        rest = created.total() - sum(number for _, number in shown)
        console.print(f"  + {plan.stack}: {kinds}{f' and {rest} more' if rest else ''}", style="green", highlight=False)
    for output in plan.outputs:
        if not created:
            console.print(f"  · {plan.stack}: output {output.name} ({output.action})", style="cyan", highlight=False)


def print_status(console: Console, status: Status) -> None:
    """One row a region, and what spans both."""
    table = Table(title=f"{status.name} ({status.target}, suffix {status.suffix})", title_justify="left")
    for column in ("region", "resources", "health", "drain", "weight"):
        table.add_column(column)
    for region in status.regions:
        table.add_row(
            region.region,
            str(region.resources),
            f"[{STYLES.get(region.health, 'dim')}]{region.health}[/]",
            f"[{STYLES.get(region.drain, 'dim')}]{region.drain}[/]",
            "-" if region.weight is None else str(region.weight),
        )
    console.print(table)
    if status.weights_unread is not None:
        line = f"the weights cannot be read from Route 53: {status.weights_unread}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for region in status.regions:
        if region.endpoint:
            console.print(f"{region.region}: {region.endpoint}", highlight=False, soft_wrap=True)
    console.print(f"global stack: {status.global_resources} resources", highlight=False)
    console.print(f"token issuer: {status.issuer or 'none, the APIs demand IAM signatures'}", highlight=False)
    if status.running is not None:
        console.print(f"embedded AWS: {'running' if status.running else 'stopped'}", highlight=False)


def print_outputs(console: Console, flat: Mapping[str, str]) -> None:
    """Name and value, one a line, ready to be cut."""
    for name, value in flat.items():
        console.print(f"{name}={value}", markup=False, highlight=False, soft_wrap=True)


def summary_lines(status: Status, demo: Demo, *, certificate: str, hdr: str, curl: str = "curl") -> Iterator[str]:
    """Return the summary after `hdr up`, with commands to try that can be copied as they are."""
    if status.suffix != DEFAULT_SUFFIX:
        hdr = f"{SUFFIX_VARIABLE}={status.suffix} {hdr}"
    yield f"A fictitious patient, written in {demo.written_in}, was read in {demo.read_in}:"
    yield (
        f"  {demo.patient_id}, written in {demo.write_seconds:.3f} s, read {demo.seen_after_seconds:.3f} s later "
        f"({status.target})"
    )
    yield ""
    yield "Try next:"
    token = f'-H "Authorization: Bearer $({hdr} token)"'
    for region in status.regions:
        yield f"  {curl} --cacert {certificate} {region.endpoint}/health    # {region.region}"
    yield f"  {curl} --cacert {certificate} {token} {status.regions[-1].endpoint}/fhir/Patient/{demo.patient_id}"
    yield f"  {hdr} drill region-refused --time-scale 10    # break a region, and see recovery measured"
    yield f"  {hdr} verify"
    yield f"  {hdr} status"
    yield f"  {hdr} down"


def print_done(console: Console, changes: Changes, seconds: float) -> None:
    """The last line of whatever changed resources."""
    numbers = f"{changes.add} added, {changes.change} changed, {changes.remove} destroyed"
    console.print(f"{numbers} in {seconds:.1f} s", highlight=False)
