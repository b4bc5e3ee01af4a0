"""`hdr drain` and `hdr restore`: move the traffic away from a region and back."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, out, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.bootstrap import Session

if TYPE_CHECKING:
    from healthcare_dr.ops.drain.drain_flag import OperatorAction
    from healthcare_dr.ops.drain.switch import SwitchResult, TrafficSwitch

RegionArgument = Annotated[str, typer.Argument(help="The region, such as us-east-1.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="The reason, which is stored in the audit trail. No patient data.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Ignore failed preconditions; requires --reason.")]
ByOption = Annotated[str | None, typer.Option("--by", help="The operator. By default the AWS profile, else user@host.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait until DNS has followed.")]


@command
def drain(
    region: RegionArgument,
    reason: ReasonOption = "",
    force: ForceOption = False,
    by: ByOption = None,
    no_wait: NoWaitOption = False,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Move the traffic away from a region, and wait until DNS sends no client there."""
    action = _action(by, reason, force=force)
    with session() as at_work:
        done = _switch(at_work, target, region, drains=True).drain(action, force=force, wait=not no_wait)
    _finish(done, "drained", as_json=as_json)


@command
def restore(
    region: RegionArgument,
    reason: ReasonOption = "",
    force: ForceOption = False,
    by: ByOption = None,
    no_wait: NoWaitOption = False,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Return the traffic to a drained region, if it is healthy and has the data of the other region."""
    action = _action(by, reason, force=force)
    with session() as at_work:
        done = _switch(at_work, target, region, drains=False).restore(action, force=force, wait=not no_wait)
    _finish(done, "restored", as_json=as_json)


def _action(by: str | None, reason: str, *, force: bool) -> "OperatorAction":
    from healthcare_dr.ops.drain.drain_flag import OperatorAction, operator  # botocore is slow to import
    from healthcare_dr.ops.drain.switch import require_reason

    require_reason(reason, force=force)
    return OperatorAction(id=str(uuid4()), at=datetime.now(UTC), by=operator(os.environ, stated=by), reason=reason)


def _switch(at_work: Session, target: TargetName, region: str, *, drains: bool) -> "TrafficSwitch":
    from healthcare_dr.ops.drain.bootstrap import traffic_switch
    from healthcare_dr.ops.drain.switch import surviving_of

    settings = at_work.settings
    surviving_of(region, settings.regions)
    chosen = bootstrap.target_of(settings, target)
    # A region that is drained may not respond, and the preflight sends requests to the state's region only.
    if target is TargetName.AWS and not (drains and settings.state_region == region):
        chosen.preflight()
    return traffic_switch(
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
