"""Terraform validates all three stacks, with fault injection off and on."""

from pathlib import Path

import pytest
from bench.ports import free_port

from support.platform import Deployed


@pytest.mark.requirement("D8")
@pytest.mark.parametrize("injected", ["false", "true"])
def test_terraform_validates_all_three_stacks(tmp_path: Path, injected: str) -> None:
    platform = Deployed(home=tmp_path / "home", port=free_port())
    finished = platform.hdr("synth", "--out", str(tmp_path / "out"), "--validate", HDR_FAULT_INJECTION=injected)
    assert finished.returncode == 0, finished.stderr
