"""`hdr synth`: the description of the infrastructure, as Terraform reads it."""

from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.frame import JsonOption, out, report, session
from healthcare_dr.naming import STACKS
from healthcare_dr.ops import wiring
from healthcare_dr.ops.synthesis import synthesize
from healthcare_dr.ops.tables import print_outputs


def synth(
    outdir: Annotated[Path, typer.Option("--out", help="The folder to write to.")] = Path("cdktf.out"),
    validate: Annotated[bool, typer.Option("--validate", help="Also run `terraform validate` on all three.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the Terraform JSON of the three stacks, and check it against the platform's rules."""
    with session() as at_work:
        at_work.progress.say("Synthesizing the three stacks")
        synthesize(at_work.settings, outdir)
        if validate:
            with wiring.claim_of(at_work.settings, "embedded"):
                at_work.deployment("embedded").validate()
    files = {stack: str(outdir / "stacks" / stack / "cdk.tf.json") for stack in STACKS}
    if as_json:
        report(files)
    else:
        print_outputs(out, files)
