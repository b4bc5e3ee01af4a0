"""The provider's bindings, loaded as their package loads them, give the same bytes."""

import subprocess
import sys
from pathlib import Path

from healthcare_dr.infra import Synthesis
from infra.test_synthesis import ROOT, files_of


def test_lazy_bindings_change_nothing(synthesis: Synthesis, tmp_path: Path) -> None:
    """The preload is not documented by the provider's package: this is what guards it."""
    eagerly = (
        "import sys; from pathlib import Path\n"
        "from healthcare_dr.infra import synth\n"
        "from healthcare_dr.settings import load_settings\n"
        "synth(load_settings(), Path(sys.argv[1]), lazy=False)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", eagerly, str(tmp_path / "eager")], check=True, cwd=ROOT, env=environment
    )
    assert files_of(Synthesis(outdir=tmp_path / "eager")) == files_of(synthesis)
