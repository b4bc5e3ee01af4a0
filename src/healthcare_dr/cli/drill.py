"""`hdr drill`: inject faults, and measure recovery as clients see it."""

import os
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, err, out, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.bootstrap import Session
from healthcare_dr.settings import TOKEN_VARIABLE

if TYPE_CHECKING:
    from healthcare_dr.ops.drill.experiment import Experiment
    from healthcare_dr.ops.drill.journal import Journal
    from healthcare_dr.ops.drill.run import Drill

EXIT_CODES = {"passed": 0, "failed": 1, "not started": 3, "inconclusive": 4}
UNDOING = "Undoing the faults of the drill first; if that hangs, kill it and run `hdr drill heal`"
REPORTED = (
    "label", "outcome", "reason", "milestones", "floor_seconds", "promises", "requests", "conflicts", "error_budget",
    "instrument_health", "consistency",
)  # fmt: skip


@command
def drill(
    experiment: Annotated[
        str,
        typer.Argument(
            help="An experiment that `list` names, or a YAML file; or `list`, `schema` (of that file), or `heal`: undo "
            "the faults that a killed drill has left."
        ),
    ] = "region-refused",
    time_scale: Annotated[
        float,
        typer.Option(
            "--time-scale", min=1, max=20, help="How many times faster health checks and TTLs run. Embedded only."
        ),
    ] = 1.0,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=1,
            max=1000,
            help="Requests per second. By default the experiment's rate, at most half of what this machine serves.",
        ),
    ] = None,
    target: TargetOption = TargetName.EMBEDDED,
    yes: Annotated[bool, typer.Option("--yes", help="Inject faults on AWS without confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment, and write a journal and a report below `drills` of the home folder.

    Exits with 0 when every promise was kept, 1 when one was not, 3 when the steady state did not hold before the fault,
    and 4 when the result is inconclusive because the machine was too busy. On AWS the clients use the token in
    HDR_TOKEN, and a confirmation is required: docs/fault-injection.md.
    """
    if experiment == "list":
        _list(as_json=as_json)
    elif experiment == "schema":
        from healthcare_dr.ops.drill.experiment import schema

        report(schema())
    elif experiment == "heal":
        _heal(target, as_json=as_json)
    else:
        _run(experiment, time_scale, rate, target, yes=yes, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from healthcare_dr.ops.drill.experiment import load, shipped  # pydantic and yaml are slow to import

    found = {name: load(name) for name in shipped()}
    if as_json:
        report([{"name": name, "title": each.title, "expect": each.expect} for name, each in found.items()])
        return
    width = max(map(len, found))
    for name, each in found.items():
        out.print(f"{name:{width}}  {each.title}", highlight=False, soft_wrap=True)


def _heal(target: TargetName, *, as_json: bool) -> None:
    with session() as at_work, bootstrap.claim_of(at_work.settings, target, drills=True):
        if target is TargetName.AWS:
            from healthcare_dr.ops.drill.bootstrap import heal_aws

            healed = heal_aws(at_work.settings, progress=at_work.progress)
        else:
            from healthcare_dr.ops.drill.bootstrap import heal

            healed = heal(at_work.settings)
    if as_json:
        report({"healed": healed})
    else:
        out.print(f"healed: {', '.join(healed)}" if healed else "nothing is broken by a drill", highlight=False)


def _run(
    experiment: str, time_scale: float, rate: float | None, target: TargetName, *, yes: bool, as_json: bool
) -> None:
    from healthcare_dr.ops.drill.capabilities import require_supported
    from healthcare_dr.ops.drill.experiment import load
    from healthcare_dr.ops.drill.report.page import write_report

    # A secret: it is no setting and no option, and is not passed to other programs.
    token = os.environ.pop(TOKEN_VARIABLE, "")
    with session() as at_work:
        chosen = load(experiment)
        if rate is not None:
            chosen = chosen.model_copy(update={"load": chosen.load.model_copy(update={"rate": rate})})
        require_supported(chosen, target, time_scale=time_scale)
        settings = at_work.settings
        folder = settings.home.absolute() / "drills" / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        with (
            bootstrap.claim_of(settings, target, drills=True),
            _composed(at_work, chosen, time_scale, target, token=token, yes=yes) as composed,
        ):
            journal, history = composed.run(), composed.load_generator.history()
        folder.mkdir(parents=True)
        journal.write(folder)
        history.write(folder)
        page = write_report(journal, folder)
    if as_json:
        found = journal.document()
        report({name: found[name] for name in REPORTED} | {"report": str(page)})
    else:
        _print(journal, time_scale)
        out.print(f"report: {page}", highlight=False, soft_wrap=True)
    code = at_work.interrupts.exit_code() if journal.outcome == "interrupted" else EXIT_CODES[journal.outcome]
    if code:
        err.print(f"hdr: the drill ended with: {journal.outcome}", highlight=False)
        raise typer.Exit(code)


def _composed(
    at_work: Session, chosen: "Experiment", time_scale: float, target: TargetName, *, token: str, yes: bool
) -> AbstractContextManager["Drill"]:
    settings, progress = at_work.settings, at_work.progress
    hold_interrupts = partial(at_work.interrupts.held, UNDOING)
    if target is TargetName.AWS:
        from healthcare_dr.ops.confirm import drill_consent
        from healthcare_dr.ops.drill.bootstrap import aws_drill

        return aws_drill(
            settings,
            chosen,
            token=token,
            consent=drill_consent(err, progress, yes=yes),
            progress=progress,
            hold_interrupts=hold_interrupts,
        )
    from healthcare_dr.ops.drill.bootstrap import embedded_drill

    return embedded_drill(settings, chosen, time_scale=time_scale, progress=progress, hold_interrupts=hold_interrupts)


def _print(journal: "Journal", time_scale: float) -> None:
    from healthcare_dr.ops.drill.report.anomalies import explained

    speed = f", {time_scale:g} times faster" if time_scale != 1 else ""
    out.print(f"{journal.outcome} ({journal.label}{speed}): {journal.reason}", highlight=False, soft_wrap=True)
    if reason := journal.settings.get("rate_reason"):
        out.print(
            f"  load: {journal.settings['rate']:g} requests per second: {reason}", highlight=False, soft_wrap=True
        )
    for promise in journal.promises:
        sign = {True: "kept", False: "BROKEN" if promise.binding else "missed", None: "not judged"}[promise.kept]
        text = f"  {promise.name}: {promise.measured} ({promise.limit}): {sign}"
        out.print(text, highlight=False, soft_wrap=True)
    for line in explained(journal.consistency.anomalies if journal.consistency else ()):
        out.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
