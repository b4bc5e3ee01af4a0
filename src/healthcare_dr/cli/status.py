"""`hdr status` and `hdr outputs`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, out, print_plain, report
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.status import Status, write_outputs
from healthcare_dr.settings import load_settings

STYLES: Final = {
    "healthy": "green", "serving": "green", "draining": "yellow", "unhealthy": "red", "unreachable": "red",
}  # fmt: skip


@command
def status(target: TargetOption = TargetName.EMBEDDED, as_json: JsonOption = False) -> None:
    """Show endpoints, stacks, health, weights and drain state; exits with 1 unless both regions are healthy."""
    settings = load_settings()
    chosen = bootstrap.target_of(settings, target)
    if target is TargetName.AWS:
        chosen.preflight()
    found = bootstrap.status_of(settings, chosen)
    if as_json:
        report(asdict(found) | {"healthy": found.healthy})
    else:
        print_status(found)
    if not found.healthy:
        raise typer.Exit(1)


@command
def outputs(
    target: TargetOption = TargetName.EMBEDDED,
    outputs_file: Annotated[
        Path | None, typer.Option("--outputs-file", help="Write them here, such as cfn-outputs/flat-outputs.json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the outputs of all three stacks as one flat list, or write them to a file.

    Exits with 1, and writes nothing, when nothing is deployed.
    """
    settings = load_settings()
    flat = bootstrap.outputs_of(settings, bootstrap.target_of(settings, target))
    if not flat:
        begin = "`hdr up`" if target is TargetName.EMBEDDED else "`hdr deploy --target aws`"
        raise DeploymentError(
            f"nothing is deployed to {target.value} with the suffix {settings.environment_suffix}: begin with {begin}, "
            "or name another with ENVIRONMENT_SUFFIX"
        )
    if outputs_file is not None:
        write_outputs(flat, outputs_file)
    if as_json:
        report(flat)
    elif outputs_file is None:
        print_outputs(flat)


def print_status(status: Status) -> None:
    """Print a row for each region, and the state of the whole platform."""
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
    out.print(table)
    if status.weights_unread is not None:
        print_plain(f"the weights cannot be read from Route 53: {status.weights_unread}", style="yellow")
    for region in status.regions:
        if region.endpoint:
            print_plain(f"{region.region}: {region.endpoint}")
    print_plain(f"global stack: {status.global_resources} resources")
    print_plain(f"token issuer: {status.issuer or 'none, the APIs require IAM signatures'}")
    if status.running is not None:
        print_plain(f"embedded AWS: {'running' if status.running else 'stopped'}")


def print_outputs(flat: Mapping[str, str]) -> None:
    """Print a line for each name and value."""
    for name, value in flat.items():
        print_plain(f"{name}={value}")
