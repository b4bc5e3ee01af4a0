"""Terraform with the provider on which the platform is tested."""

import json
import subprocess
from pathlib import Path

from healthcare_dr.ops.bootstrap import deployment_of, target_of
from healthcare_dr.ops.targets.embedded import PROVIDER_VERSION
from healthcare_dr.ops.terraform.interrupts import Interrupts
from healthcare_dr.ops.terraform.runner import Terraform
from healthcare_dr.settings import Settings, load_settings
from infra.literals import Resources
from unit.ops.fakes import RecordingProgress

Diagnostics = dict[str, str]
"""The errors and warnings by the address of a resource."""


def terraform_in(folder: Path) -> tuple[Settings, Terraform]:
    """Return settings with a home in this folder, and Terraform as a deployment to the embedded AWS composes it."""
    settings, progress = load_settings(home=folder / "home"), RecordingProgress()
    deployment = deployment_of(
        settings, target_of(settings, "embedded"), progress=progress, interrupts=Interrupts(progress=progress)
    )
    return settings, deployment.terraform


def diagnostics_of(resources: Resources, folder: Path) -> Diagnostics:
    """Validate a configuration that contains these resources and nothing else."""
    settings, terraform = terraform_in(folder)
    configuration = {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": PROVIDER_VERSION}}},
        "provider": {"aws": [{"region": settings.primary_region}]},
        "resource": resources,
    }
    (folder / "resources.tf.json").write_text(json.dumps(configuration), encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [terraform.binary, *arguments],
            cwd=folder,
            env=dict(terraform.environment),
            capture_output=True,
            text=True,
            check=False,
        )

    initialized = run("init", "-input=false", "-no-color")
    assert initialized.returncode == 0, initialized.stdout + initialized.stderr
    found: Diagnostics = {}
    for diagnostic in json.loads(run("validate", "-json").stdout)["diagnostics"]:
        # Errors of the structure have no address, but the path within the file.
        kind, name = (diagnostic.get("address") or diagnostic["snippet"]["context"].removeprefix("resource.")).split(
            "."
        )[:2]
        found[f"{kind}.{name}"] = f"{diagnostic['summary']} {diagnostic.get('detail', '')}"
    return found
