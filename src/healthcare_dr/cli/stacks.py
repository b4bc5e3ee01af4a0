"""Commands that write, plan, deploy and destroy the stacks."""

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
from healthcare_dr.errors import SettingsError
from healthcare_dr.naming import STACKS
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.confirm import confirmation, destruction_confirmation, increase_confirmation, print_plans
from healthcare_dr.ops.deploy import Confirm, approve_all, prepare_folder, write_plans
from healthcare_dr.ops.status import pipeline_variables
from healthcare_dr.ops.synthesis import synthesize
from healthcare_dr.ops.warm_throughput import Approve, approve_increase


@command
def synth(
    outdir: Annotated[Path, typer.Option("--out", envvar="CDKTF_OUTDIR", help="The folder to write to.")] = Path(
        "cdktf.out"
    ),
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
    target: TargetOption = TargetName.EMBEDDED,
    auto_approve: Annotated[
        bool,
        typer.Option("--auto-approve", help="Change AWS without confirmation. It does not replace --allow-destroy."),
    ] = False,
    allow_destroy: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-destroy",
            metavar="STACK:ADDRESS",
            help="A protected resource that the plan may destroy, as `hdr plan` shows it; may be given again.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create or update all three stacks, and raise the tables' throughput. On AWS it prompts for approval.

    A plan that destroys a table, a replica, a bucket, a key, a hosted zone or a log group of long retention, or lets a
    bucket delete objects earlier, is refused, unless --allow-destroy names each of them. Names of what an earlier
    deployment has destroyed may be repeated.
    """
    began = time.monotonic()
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        confirm: Confirm = approve_all
        approve: Approve = approve_increase
        if target is TargetName.AWS:
            confirm = confirmation(err, at_work.progress, auto_approve=auto_approve)
            approve = increase_confirmation(err, at_work.progress, auto_approve=auto_approve)
        changes = at_work.deployment(target).deploy(confirm, approve=approve, allow_destroy=allow_destroy or ())
    finish(changes, began, as_json=as_json)


@command
def destroy(
    target: TargetOption = TargetName.EMBEDDED,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="SUFFIX", help="The environment suffix, instead of typing it at the prompt."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Destroy all three stacks. On AWS it shows what is lost, and prompts for the environment suffix."""
    began = time.monotonic()
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        suffix = at_work.settings.environment_suffix
        if confirm not in (None, suffix):
            raise SettingsError(
                f"nothing was destroyed: --confirm {confirm} is not the suffix of this environment, which is {suffix}"
            )
        confirmed = None
        if target is TargetName.AWS:
            confirmed = destruction_confirmation(err, at_work.progress, suffix=suffix, confirmed=confirm is not None)
        changes = at_work.deployment(target).destroy(confirmed)
    finish(changes, began, as_json=as_json)


@command
def pipeline(
    target: TargetOption = TargetName.EMBEDDED,
    destroyed: Annotated[bool, typer.Option("--destroy", help="Destroy the roles instead.")] = False,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", help="Change AWS without confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create the roles with which a GitHub repository deploys. On AWS it shows the plan and prompts for approval.

    Prints the roles' ARNs as the repository variables that the workflow reads. See docs/pipeline.md.
    """
    with session() as at_work, bootstrap.claim_of(at_work.settings, target):
        if at_work.settings.github_repository is None:
            raise SettingsError("HDR_GITHUB_REPOSITORY is empty: set it to the repository that deploys, as owner/name")
        deployment = at_work.deployment(target)
        confirm: Confirm = approve_all
        if target is TargetName.AWS:
            confirm = confirmation(err, at_work.progress, auto_approve=auto_approve)
        if destroyed:
            deployment.destroy_pipeline(confirm)
        else:
            deployment.deploy_pipeline(confirm)
        variables = pipeline_variables(deployment.target)
    if as_json:
        report(variables)
    else:
        print_outputs(variables)
