"""On what the numbers were measured. Nothing here names the machine or its folders."""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from healthcare_dr.ops.terraform.binary import find_terraform
from healthcare_dr.settings import Settings


def machine(settings: Settings) -> dict[str, Any]:
    """Cores, versions and kind of system, as JSON. Fetches the pinned Terraform when there is none."""
    with tempfile.TemporaryDirectory(prefix="hdr-bench-") as scratch:
        binary = find_terraform(
            configured=settings.terraform,
            tools=Path(scratch),
            base_url=settings.terraform_base_url,
            say=lambda _: None,
        )
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "opentofu" if binary.opentofu else "terraform": binary.version,
    }
