"""From settings to the Terraform JSON of the three stacks."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra import node, package
from healthcare_dr.naming import STACKS
from healthcare_dr.settings import Settings

# What can apply the platform: both lock state in S3 by themselves from this version on.
TOOL_VERSIONS = {"terraform": ">=1.10.0", "opentofu": ">=1.10.0"}


@dataclass(frozen=True)
class Synthesis:
    """What a synthesis has written: `<outdir>/stacks/<stack>/cdk.tf.json` and the assets beside it."""

    outdir: Path

    def folder(self, stack: str) -> Path:
        """The folder of one stack."""
        return self.outdir / "stacks" / stack

    def json(self, stack: str) -> dict[str, Any]:
        """The Terraform JSON of one stack."""
        document: dict[str, Any] = json.loads((self.folder(stack) / "cdk.tf.json").read_bytes())
        return document

    def documents(self) -> dict[str, dict[str, Any]]:
        """The Terraform JSON of every stack by its name."""
        return {stack: self.json(stack) for stack in STACKS}


def synth(settings: Settings, outdir: Path, *, lazy: bool = True) -> Synthesis:
    """Synthesize all three stacks into `outdir`.

    The same settings and code give the same bytes, whatever the machine and the target.

    Args:
        lazy: load the bindings lazily; False only to measure and to prove that it changes nothing.

    Raises:
        SynthesisError: the package cannot be built, Node does not start, or what was written breaks a rule; the files
            are there to be looked at all the same.
    """
    node.prepare(lazy=lazy)
    # Imported here, because importing them starts Node.
    from cdktn import App
    from jsii.errors import JSIIError

    from healthcare_dr.infra.function import FunctionCode
    from healthcare_dr.infra.lint import check
    from healthcare_dr.infra.stacks import GlobalStack, RegionalStack

    built = package.build()
    outdir = outdir.absolute()
    outdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hdr-package-") as scratch:
        zipped = Path(scratch) / "patient-api.zip"
        built.write(zipped)
        code = FunctionCode(path=zipped, sha256_base64=built.sha256_base64)
        try:
            app = App(outdir=str(outdir), context={"targetVersions": TOOL_VERSIONS})
            RegionalStack(app, settings, role="primary", code=code)
            RegionalStack(app, settings, role="secondary", code=code)
            GlobalStack(app, settings)
            app.synth()
        except JSIIError as error:
            raise SynthesisError(f"synthesis failed: {str(error).strip().splitlines()[0]}") from error
    synthesis = Synthesis(outdir=outdir)
    if findings := check(synthesis.documents(), settings):
        raise SynthesisError("\n".join(("the synthesized stacks break a rule:", *map(str, findings))))
    return synthesis
