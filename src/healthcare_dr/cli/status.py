"""`hdr status` and `hdr outputs`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, print_outputs, print_status, report
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.status import write_outputs
from healthcare_dr.settings import load_settings


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
