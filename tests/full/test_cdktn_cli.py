"""`cdktn synth` with the Node of our own dependencies writes what `hdr synth` writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.node import node_binary
from infra.test_synthesis import ROOT, files_of

CDKTN = ROOT / "tools" / "cdktn" / "node_modules" / ".bin" / "cdktn"


@pytest.mark.requirement("D8")
def test_the_cdktn_command_line_writes_the_same_bytes(synthesis: Synthesis, tmp_path: Path) -> None:
    environment = {
        "PATH": os.pathsep.join((str(node_binary().parent), os.environ["PATH"])),
        "HOME": os.environ["HOME"],
        "CHECKPOINT_DISABLE": "1",
        "CI": "1",
    }
    finished = subprocess.run(
        [node_binary(), CDKTN, "synth", "--output", tmp_path / "out"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert files_of(Synthesis(outdir=tmp_path / "out")) == files_of(synthesis)


def test_invalid_setting_prints_one_line(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "main.py"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HDR_DNS_TTL": "soon", "CDKTF_OUTDIR": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: HDR_DNS_TTL='soon' is not allowed")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
