"""`hdr slo`: assess whether measured recovery times support the availability target."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from healthcare_dr.cli.common import JsonOption, command, out, report
from healthcare_dr.errors import SettingsError
from healthcare_dr.settings import Settings, load_settings

if TYPE_CHECKING:
    from healthcare_dr.ops.slo.assumptions import Assumptions, Overrides
    from healthcare_dr.ops.slo.measured import RecoveryTimes


@command
def slo(
    drills: Annotated[
        Path | None,
        typer.Option("--drills", help="Folder of drills with their journals. By default `drills` in the home folder."),
    ] = None,
    recovery_seconds: Annotated[
        list[float] | None,
        typer.Option("--recovery-seconds", help="A recovery time, instead of drills; repeatable."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="YAML file with inputs, promises, history, recoveries."),
    ] = None,
    assigned: Annotated[
        list[str] | None, typer.Option("--set", help="An input, such as idp_share=0.2; repeatable.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the simulation; the same seed gives the same numbers.")
    ] = 1,
    runs: Annotated[int, typer.Option("--runs", min=100, max=1_000_000, help="Number of simulated years.")] = 10_000,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write a figure as SVG to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Assess from measured recovery times and stated assumptions whether 99.99 % availability is supported.

    Exits with 0 when it is, and with 1 when it is not or nothing was measured.
    """
    # pydantic and the like are slow to import.
    from healthcare_dr.ops.slo.assessment import PERCENT, assess
    from healthcare_dr.ops.slo.assumptions import Overrides, assignments, overrides
    from healthcare_dr.ops.slo.figure import figure as drawn
    from healthcare_dr.ops.slo.report import print_assessment

    settings = load_settings()
    stated = Overrides() if inputs is None else overrides(inputs)
    assumptions = _assumptions(settings, stated, assignments(assigned or []))
    measured = _measured(settings, drills, recovery_seconds or [], stated)
    found = assess(measured, assumptions, seed=seed, runs=runs)
    if figure is not None:
        try:
            figure.parent.mkdir(parents=True, exist_ok=True)
            figure.write_text(drawn(assumptions, measured, percent=PERCENT), encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{figure} cannot be written; name a file for --figure that can be") from error
    if as_json:
        report(found.document())
    else:
        print_assessment(out, found)
    if not found.carried:
        raise typer.Exit(1)


def _assumptions(settings: Settings, stated: "Overrides", assigned: dict[str, float]) -> "Assumptions":
    from healthcare_dr.ops.slo.assumptions import defaults

    share = settings.primary_weight / (settings.primary_weight + settings.secondary_weight)
    found = defaults()
    found = found.with_values({"primary_share": share}, source=found.inputs["primary_share"].source)
    return found.with_stated(stated).with_values(assigned, source="--set")


def _measured(settings: Settings, drills: Path | None, seconds: list[float], stated: "Overrides") -> "RecoveryTimes":
    from healthcare_dr.ops.slo.measured import given, of_journals, of_trials

    if seconds and drills is not None:
        raise SettingsError("--recovery-seconds and --drills exclude each other: give one of them")
    if seconds:
        return given(seconds, date=datetime.now(UTC).date().isoformat())
    if drills is not None:
        if not drills.is_dir():
            raise SettingsError(f"{drills} is not a folder; name one that holds drills, such as .hdr/drills")
        return of_journals(drills)
    return of_journals(settings.home / "drills") if stated.recoveries is None else of_trials(stated.recoveries)
