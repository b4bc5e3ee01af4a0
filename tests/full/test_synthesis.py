"""Other ways to synthesize give the bytes of `hdr synth`, and Terraform accepts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.ports import free_port

from healthcare_dr.infra import Synthesis, synth
from healthcare_dr.infra.node import node_binary
from healthcare_dr.settings import load_settings
from infra.literals import literal, merged
from infra.provider import diagnostics_of
from infra.test_synthesis import ROOT, files_of
from support.platform import Deployed

CDKTN = ROOT / "tools" / "cdktn" / "node_modules" / ".bin" / "cdktn"
WITHOUT_PRELOAD = """
import sys
from pathlib import Path
from healthcare_dr.infra import synth
from healthcare_dr.settings import load_settings
synth(load_settings(), Path(sys.argv[1]), lazy=False)
"""


@pytest.fixture(scope="module")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """The three stacks, synthesized once."""
    return synth(load_settings(), tmp_path_factory.mktemp("synthesis"))


@pytest.mark.requirement("D8")
def test_cdktn_command_line_writes_the_same_bytes(synthesis: Synthesis, tmp_path: Path) -> None:
    environment = {
        "PATH": os.pathsep.join((str(node_binary().parent), os.environ["PATH"])),
        "HOME": os.environ["HOME"],
        "CHECKPOINT_DISABLE": "1",
        "CI": "1",
    }
    command: list[str | Path] = [node_binary(), CDKTN, "synth", "--output", tmp_path / "out"]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert files_of(Synthesis(outdir=tmp_path / "out")) == files_of(synthesis)


def test_lazy_bindings_write_the_same_bytes(synthesis: Synthesis, tmp_path: Path) -> None:
    # The package of the bindings does not document the preload.
    command = [sys.executable, "-W", "error", "-c", WITHOUT_PRELOAD, str(tmp_path / "eager")]
    subprocess.run(command, check=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert files_of(Synthesis(outdir=tmp_path / "eager")) == files_of(synthesis)


@pytest.mark.requirement("D8")
@pytest.mark.parametrize("injected", ["false", "true"])
def test_terraform_validates_all_three_stacks(tmp_path: Path, injected: str) -> None:
    platform = Deployed(home=tmp_path / "home", port=free_port())
    finished = platform.hdr("synth", "--out", str(tmp_path / "out"), "--validate", HDR_FAULT_INJECTION=injected)
    assert finished.returncode == 0, finished.stderr


VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "delegated": {"dns_delegated": True},
    "own domain": {"dns_delegated": True, "domain": "dr.clinic-one.org"},
    "fault injection": {"fault_injection": True},
    "state bucket": {"state_bucket": "healthcare-dr-state"},
    "subscribers": {"operations_emails": "one@clinic-one.org, two@clinic-one.org"},
    "origins": {"cors_origins": "https://app.clinic-one.org, https://other.clinic-one.org"},
    "other regions": {"primary_region": "eu-central-1", "secondary_region": "us-east-1"},
    "longest names": {"environment_suffix": "a" * 20, "secondary_region": "ap-southeast-2"},
}
"""Settings that change what is deployed. Each rule, and with it the schema of 6.x, is checked by the synthesis."""


@pytest.mark.requirement("D8")
def test_provider_accepts_every_variant_with_literals_for_references(tmp_path: Path) -> None:
    """With and without a token issuer. One run of Terraform checks all, because each run takes seconds."""
    together = {name: value for options in VARIANTS.values() for name, value in options.items()}
    together |= {"secondary_region": "us-east-1"}
    found = []
    for number, options in enumerate((*VARIANTS.values(), together)):
        settings = load_settings(**options)
        documents = synth(settings, tmp_path / str(number)).documents()
        found += [literal(documents, settings, issuer=issuer) for issuer in ("", "https://issuer.clinic-one.org")]
    folder = tmp_path / "provider"
    folder.mkdir()
    assert diagnostics_of(merged(*found), folder) == {}


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
