"""checkov over the plans of all three stacks: whatever it complains about is accepted here with a reason, or fails."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.naming import STACKS
from support.platform import ROOT, Deployed

CHECKOV = ROOT / ".venv-policy" / "bin" / "checkov"
Complaint = tuple[str, str]


@pytest.fixture(scope="module")
def complaints(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> set[Complaint]:
    folder = tmp_path_factory.mktemp("plans")
    finished = deployed.hdr("plan", "--plans", str(folder))
    assert finished.returncode == 0, finished.stderr
    found: set[Complaint] = set()
    for stack in STACKS:
        report = scan(folder / f"{stack}.json")
        assert report["summary"]["passed"] > 0, f"checkov looked at nothing of {stack}"
        assert report["summary"]["parsing_errors"] == 0
        found |= {(failed["check_id"], failed["resource"]) for failed in report["results"]["failed_checks"]}
    return found


def scan(plan: Path) -> dict[str, Any]:
    finished = subprocess.run(
        [CHECKOV, "-f", plan, "--framework", "terraform_plan", "--output", "json", "--skip-download", "--soft-fail"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(plan.parent), "TMPDIR": str(plan.parent)},
    )
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


def accepted() -> set[Complaint]:
    listed = tomllib.loads((ROOT / "policy" / "accepted.toml").read_text())["accepted"]
    assert all(len(entry["reason"]) > 20 for entry in listed), "each accepted rule needs its reason"
    return {(entry["check"], resource) for entry in listed for resource in entry["resources"]}


@pytest.mark.requirement("C6")
def test_every_complaint_is_accepted_with_a_reason(complaints: set[Complaint]) -> None:
    assert complaints - accepted() == set()


def test_nothing_is_accepted_that_is_not_complained_about(complaints: set[Complaint]) -> None:
    assert accepted() - complaints == set()
