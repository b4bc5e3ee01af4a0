"""checkov checks the plans of all three stacks. policy/accepted.toml accepts findings with a reason."""

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
PolicyFinding = tuple[str, str]


@pytest.fixture(scope="module")
def findings(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> set[PolicyFinding]:
    folder = tmp_path_factory.mktemp("plans")
    finished = deployed.hdr("plan", "--plans", str(folder))
    assert finished.returncode == 0, finished.stderr
    found: set[PolicyFinding] = set()
    for stack in STACKS:
        report = scan(folder / f"{stack}.json")
        assert report["summary"]["passed"] > 0, f"checkov checked nothing of {stack}"
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


def accepted() -> set[PolicyFinding]:
    listed = tomllib.loads((ROOT / "policy" / "accepted.toml").read_text())["accepted"]
    assert all(len(entry["reason"]) > 20 for entry in listed), "each accepted rule needs its reason"
    return {(entry["check"], resource) for entry in listed for resource in entry["resources"]}


@pytest.mark.requirement("C6")
def test_every_finding_is_accepted_with_a_reason(findings: set[PolicyFinding]) -> None:
    assert findings - accepted() == set()


def test_every_accepted_finding_still_exists(findings: set[PolicyFinding]) -> None:
    assert accepted() - findings == set()
