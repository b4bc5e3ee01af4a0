"""From settings to the Terraform JSON of the three stacks, and of the pipeline's stack where one is configured."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra import node, package
from healthcare_dr.naming import PIPELINE, STACKS
from healthcare_dr.settings import Settings

# From these versions on, both lock state in S3 without a table.
TOOL_VERSIONS = {"terraform": ">=1.10.0", "opentofu": ">=1.10.0"}
# Errors of the system as Node formats them: `ENOSPC: no space left on device, write`.
SYSTEM_ERROR: Final = re.compile(r"\bE[A-Z0-9]+: ")


@dataclass(frozen=True)
class Synthesis:
    """The files of a synthesis: `<outdir>/stacks/<stack>/cdk.tf.json` and the assets beside it."""

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
        return {stack: self.json(stack) for stack in (*STACKS, PIPELINE) if stack in STACKS or self._exists(stack)}

    def _exists(self, stack: str) -> bool:
        return (self.folder(stack) / "cdk.tf.json").exists()


def synth(settings: Settings, outdir: Path, *, lazy: bool = True) -> Synthesis:
    """Synthesize all three stacks into `outdir`, and the pipeline's if `github_repository` is set.

    The same settings and code give the same bytes on every machine and for every target.

    Args:
        lazy: load the bindings lazily. Only benchmarks and tests pass False.

    Raises:
        SynthesisError: the package cannot be built, Node does not start or ends early, or the stacks break a rule. In
            the last case the files exist and can be examined.
    """
    node.prepare(cache=settings.home.absolute() / "tools" / "jsii", lazy=lazy)
    built = package.build()
    outdir = outdir.absolute()
    outdir.mkdir(parents=True, exist_ok=True)
    # The toolkit does not remove the stack of an earlier synthesis with other settings.
    if (outdir / "stacks" / PIPELINE).exists():
        shutil.rmtree(outdir / "stacks" / PIPELINE)
    with tempfile.TemporaryDirectory(prefix="hdr-package-") as scratch, _errors_of_node():
        # Imported here, because importing them starts Node.
        from cdktn import App

        from healthcare_dr.infra.functions import FunctionCode
        from healthcare_dr.infra.lint import check
        from healthcare_dr.infra.pipeline import PipelineStack
        from healthcare_dr.infra.stacks import GlobalStack, RegionalStack

        zipped = Path(scratch) / "patient-api.zip"
        built.write(zipped)
        code = FunctionCode(path=zipped, sha256_base64=built.sha256_base64)
        app = App(outdir=str(outdir), context={"targetVersions": TOOL_VERSIONS})
        RegionalStack(app, settings, role="primary", code=code)
        RegionalStack(app, settings, role="secondary", code=code)
        GlobalStack(app, settings)
        if settings.github_repository is not None:
            PipelineStack(app, settings, repository=settings.github_repository)
        app.synth()
    synthesis = Synthesis(outdir=outdir)
    if findings := check(synthesis.documents(), settings):
        raise SynthesisError("\n".join(("the synthesized stacks break a rule:", *map(str, findings))))
    return synthesis


@contextmanager
def _errors_of_node() -> Iterator[None]:
    """Raise SynthesisError for errors of the toolkit, for errors of the system in Node, and for a Node that ended."""
    from jsii.errors import JavaScriptError, JSIIError

    try:
        yield
    except JSIIError as error:
        raise _failed(error) from error
    except RuntimeError as error:
        # Any other error of JavaScript is a defect of the stacks.
        if not (isinstance(error.__cause__, JavaScriptError) and SYSTEM_ERROR.search(str(error))):
            raise
        raise _failed(error) from error
    except (json.JSONDecodeError, BrokenPipeError) as error:
        raise SynthesisError("Node ended before the synthesis was complete: is there enough memory?") from error


def _failed(error: Exception) -> SynthesisError:
    return SynthesisError(f"synthesis failed: {str(error).strip().splitlines()[0]}")
