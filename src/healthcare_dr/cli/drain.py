"""`hdr drain` and `hdr restore`: a region's traffic."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, out, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.bootstrap import Session

if TYPE_CHECKING:
    from healthcare_dr.ops.drain.bootstrap import DrainServices
    from healthcare_dr.ops.drain.drain_flag import OperatorAction
    from healthcare_dr.ops.drain.switch import SwitchResult

RegionArgument = Annotated[str, typer.Argument(help="The region, such as us-east-1.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="The reason, which is stored in the audit trail. No patient data.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it whatever speaks against it; needs --reason.")]
ByOption = Annotated[str | None, typer.Option("--by", help="The operator. By default the AWS profile, else user@host.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait until DNS has followed.")]


def drain(
    region: RegionArgument,
    reason: ReasonOption = "",
    force: ForceOption = False,
    by: ByOption = None,
    no_wait: NoWaitOption = False,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Take the traffic from a region, and wait until no client is sent there any more."""
    order = _order(by, reason, force=force)
    with session() as at_work:
        done = _moving(at_work, target, region, evacuated=True).drain().run(order, force=force, wait=not no_wait)
    _finish(done, "drained", as_json=as_json)


def restore(
    region: RegionArgument,
    reason: ReasonOption = "",
    force: ForceOption = False,
    by: ByOption = None,
    no_wait: NoWaitOption = False,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Give a drained region its traffic back, once it is healthy and its data are those of the other region."""
    order = _order(by, reason, force=force)
    with session() as at_work:
        done = _moving(at_work, target, region, evacuated=False).restore().run(order, force=force, wait=not no_wait)
    _finish(done, "restored", as_json=as_json)


def _order(by: str | None, reason: str, *, force: bool) -> "OperatorAction":
    from healthcare_dr.ops.drain.drain_flag import OperatorAction, operator  # botocore is slow to import
    from healthcare_dr.ops.drain.switch import demand_reason

    demand_reason(reason, force=force)
    return OperatorAction(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ, stated=by), reason=reason)


def _moving(at_work: Session, target: TargetName, region: str, *, evacuated: bool) -> "DrainServices":
    from healthcare_dr.ops.drain.bootstrap import DrainServices
    from healthcare_dr.ops.drain.switch import surviving_of

    settings = at_work.settings
    surviving_of(region, settings.regions)
    chosen = bootstrap.target_of(settings, target)
    # A region that has to be left may not answer: the preflight asks the state's region alone.
    if target is TargetName.AWS and not (evacuated and settings.state_region == region):
        chosen.preflight()
    return DrainServices(
        settings=settings,
        target=chosen,
        emulator=bootstrap.emulator_of(settings) if target is TargetName.EMBEDDED else None,
        region=region,
        say=at_work.progress.say,
    )


def _finish(done: "SwitchResult", verb: str, *, as_json: bool) -> None:
    if as_json:
        report(asdict(done))
    elif not done.changed:
        out.print(f"{done.region}: nothing to do")
    else:
        out.print(f"{done.region} is {verb}" + (f" after {done.seconds} s" if done.awaited else "; not waited for DNS"))
