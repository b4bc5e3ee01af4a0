"""`hdr drill`: break a region, and measure what recovery takes."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from healthcare_dr.cli.frame import JsonOption, err, out, report, session
from healthcare_dr.ops import wiring

EXIT_CODES = {"passed": 0, "failed": 1, "not started": 3, "interrupted": 130}


def drill(
    experiment: Annotated[
        str,
        typer.Argument(help="One that `hdr drill list` names, or a YAML file; `list`, `schema` show what there is."),
    ] = "region-refused",
    time_scale: Annotated[
        float, typer.Option("--time-scale", min=1, max=20, help="How much faster health checks and TTLs go.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Play an experiment on the embedded AWS and leave a journal and a report under `drills` of the home.

    Exits with 0 when every promise was kept, 1 when one was not, 3 when the steady state did not hold before.
    """
    # pydantic, httpx and the like are slow to import.
    from healthcare_dr.ops.drill.experiment import load, schema, shipped

    if experiment == "list":
        for name, path in shipped().items():
            out.print(f"{name}: {load(str(path)).title}", highlight=False)
        return
    if experiment == "schema":
        typer.echo(json.dumps(schema(), indent=2))
        return
    from healthcare_dr.ops.drill.assembly import assembled
    from healthcare_dr.ops.drill.report import write_report

    played = load(experiment)
    with session() as at_work:
        settings = at_work.settings
        folder = settings.home.absolute() / "drills" / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        with (
            wiring.claim_of(settings, "embedded"),
            assembled(settings, played, time_scale=time_scale, say=at_work.progress.say) as drilled,
        ):
            journal = drilled.run()
        folder.mkdir(parents=True)
        journal.write(folder)
        page = write_report(journal, folder)
    if as_json:
        found = journal.document()
        report({name: found[name] for name in ("label", "outcome", "reason", "milestones", "promises", "requests")})
    else:
        speed = f", {time_scale:g} times faster" if time_scale != 1 else ""
        out.print(f"{journal.outcome} ({journal.label}{speed}): {journal.reason}", highlight=False)
        for promise in journal.promises:
            sign = "kept" if promise.kept else "missed" if not promise.binding else "BROKEN"
            out.print(f"  {promise.name}: {promise.measured} ({promise.limit}): {sign}", highlight=False)
        out.print(f"report: {page}", highlight=False, soft_wrap=True)
    if code := EXIT_CODES[journal.outcome]:
        err.print(f"hdr: the drill ended with: {journal.outcome}", highlight=False)
        raise typer.Exit(code)
