"""`hdr synth`, `hdr plan`, `hdr deploy` and `hdr destroy`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.common import (
    JsonOption,
    TargetName,
    TargetOption,
    command,
    err,
    finish,
    out,
    print_outputs,
    report,
    session,
)
from healthcare_dr.naming import STACKS
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.bootstrap import Session
from healthcare_dr.ops.confirm import confirmation, print_plans
from healthcare_dr.ops.deploy import Confirm, approve_all, prepare_folder, write_plans
from healthcare_dr.ops.synthesis import synthesize

ApproveOption = Annotated[bool, typer.Option("--auto-approve", help="Change AWS without confirmation.")]


@command
def synth(
    outdir: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("cdktf.out"),
    validate: Annotated[bool, typer.Option("--validate", help="Also run `terraform validate` on all three.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the Terraform JSON of the three stacks, and check it against the platform's rules."""
    # botocore is slow to import.
    from healthcare_dr.infra.lint.service_models import coverage_of
    from healthcare_dr.infra.synthesis import Synthesis

    with session() as at_work:
        at_work.progress.say("Synthesizing the three stacks")
        synthesize(at_work.settings, outdir)
        if validate:
            with bootstrap.claim_of(at_work.settings, "embedded"):
                at_work.deployment("embedded").validate()
        for line in coverage_of(Synthesis(outdir=outdir).documents(), at_work.settings).lines():
            err.print(line, markup=False, highlight=False, soft_wrap=True)
    files = {stack: str(outdir / "stacks" / stack / "cdk.tf.json") for stack in STACKS}
    if as_json:
        report(files)
    else:
        print_outputs(files)


@command
def plan(
    target: TargetOption = TargetName.EMBEDDED,
    plans_to: Annotated[
        Path | None, typer.Option("--plans", help="Also write each plan as <stack>.json into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `hdr deploy` would change; nothing is changed."""
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        if plans_to is not None:
            prepare_folder(plans_to)
        deployment = at_work.deployment(target)
        plans = deployment.plan()
        if plans_to is not None:
            write_plans(deployment.show_plans(plans), plans_to)
    if as_json:
        report({item.stack: asdict(item) for item in plans})
    else:
        print_plans(out, plans)


@command
def deploy(
    target: TargetOption = TargetName.EMBEDDED, auto_approve: ApproveOption = False, as_json: JsonOption = False
) -> None:
    """Create or update all three stacks. On AWS it shows the plan and asks for confirmation."""
    began = time.monotonic()
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        confirm = _confirmation(at_work, target, auto_approve=auto_approve)
        changes = at_work.deployment(target).deploy(confirm)
    finish(changes, began, as_json=as_json)


@command
def destroy(
    target: TargetOption = TargetName.EMBEDDED, auto_approve: ApproveOption = False, as_json: JsonOption = False
) -> None:
    """Destroy all three stacks. On AWS it shows the plan and asks for confirmation."""
    began = time.monotonic()
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        confirm = _confirmation(at_work, target, auto_approve=auto_approve)
        changes = at_work.deployment(target).destroy(confirm)
    finish(changes, began, as_json=as_json)


def _confirmation(at_work: Session, target: TargetName, *, auto_approve: bool) -> Confirm:
    if target is TargetName.EMBEDDED:
        return approve_all
    return confirmation(err, at_work.progress, auto_approve=auto_approve)
