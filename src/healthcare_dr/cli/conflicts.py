"""`hdr conflicts`: list the open conflicts."""

from dataclasses import asdict

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, err, report
from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops import bootstrap
from healthcare_dr.settings import load_settings


@command
def conflicts(target: TargetOption = TargetName.EMBEDDED, as_json: JsonOption = False) -> None:
    """List records with concurrent versions that are not merged: tenant, record, current version, other versions.

    One line each, oldest first. To close a conflict, update or delete the current version and name the others in
    Merges. Exits with 0 whether there are conflicts or not.
    """
    from healthcare_dr.ops.conflicts import read_conflicts  # botocore is slow to import

    settings = load_settings()
    chosen = bootstrap.target_of(settings, target)
    if target is TargetName.AWS:
        chosen.preflight()
    elif not bootstrap.emulator_of(settings).running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    clients = {region: chosen.client("dynamodb", region) for region in settings.regions}
    found = read_conflicts(clients, table=settings.names.records_table)
    for region, why in found.unasked.items():
        err.print(f"hdr: {region} is left out: {why}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        report(asdict(found))
        return
    for conflict in found.open:
        typer.echo(
            f"{conflict.tenant} {conflict.record} {conflict.current} {','.join(conflict.others) or 'merged'}"
            f" since {conflict.since} in {' '.join(conflict.listed_in)}"
        )
    if not found.open:
        typer.echo("no open conflicts")
