"""The pipeline's script changes a deployment, plans and verifies with its roles, whose permissions are enforced."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.ports import free_port
from pipeline import Pipeline

from support import as_role
from support.github_tokens import REPOSITORY, subject_of, token
from support.platform import REGIONS, Deployed
from unit.emulator.aws import eventually as until

pytestmark = pytest.mark.timeout(1800)
# Without -P the folder of the script would hide modules of the standard library.
HDR = (sys.executable, "-P", str(Path(as_role.__file__)))
AsRole = Callable[[str], Pipeline]
ADMINISTRATOR = {"HDR_GITHUB_REPOSITORY": REPOSITORY}
CHANGED = ADMINISTRATOR | {
    "HDR_LATENCY_P99_MS": "2500",
    "HDR_LOG_LEVEL": "WARNING",
    "HDR_LOG_RETENTION_DAYS": "60",
    "HDR_OPERATIONS_EMAILS": "operations@example.com",
    "HDR_OPERATIONS_ENDPOINTS": "https://events.example.com/integration-key",
    "HDR_OPERATIONS_WEBHOOKS": "https://hooks.example.com/services/key",
    "HDR_THROTTLE_RATE": "1200",
}
"""Settings of which each changes other resources, and adds functions, roles, a queue and a parameter.

Templates of faults are missing, because the embedded AWS has no FIS.
"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Return an account without resources."""
    platform = Deployed(home=tmp_path_factory.mktemp("pipeline") / "home", port=free_port())
    platform.emulator.start()
    yield platform
    platform.emulator.stop()


def variables_of(account: Deployed) -> dict[str, str]:
    """Return the variables of the steps. Other tests synthesize into the default folder at the same time."""
    return account.variables | {"CDKTF_OUTDIR": str(account.home / "cdktf.out")}


@pytest.fixture(scope="module")
def pipeline(account: Deployed) -> AsRole:
    """Return a function that returns the script's steps with the credentials of a role.

    As docs/pipeline.md describes, an administrator has created the roles and has deployed.
    """
    finished = account.hdr("pipeline", "--json", **ADMINISTRATOR)
    assert finished.returncode == 0, finished.stderr
    deployed = account.hdr("deploy", **ADMINISTRATOR)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    arns = json.loads(finished.stdout)

    def steps(role: str) -> Pipeline:
        found = account.client("sts").assume_role_with_web_identity(
            RoleArn=arns[f"HDR_{role.upper()}_ROLE_ARN"],
            RoleSessionName=role,
            WebIdentityToken=token(subject_of(role)),
        )["Credentials"]
        environment = (
            variables_of(account)
            | CHANGED
            | {
                "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
                "AWS_SESSION_TOKEN": found["SessionToken"],
            }
        )
        return Pipeline("embedded", hdr=HDR, environment=environment)

    return steps


@pytest.fixture(scope="module")
def deployment(pipeline: AsRole) -> str:
    """Return the summary of a deployment of changed settings with the deploy role."""
    return pipeline("deploy").deploy()


@pytest.mark.requirement("D8", "C6")
def test_deploy_role_changes_the_platform_within_the_boundary(account: Deployed, deployment: str) -> None:
    changed = re.search(r"## Deployed\n\n(\d+) added, (\d+) changed", deployment)
    assert changed
    assert int(changed[1]) > 20
    assert int(changed[2]) > 20
    boundary = f"arn:aws:iam::{account.account()}:policy/{account.names.of_pipeline('boundary')}"
    roles = [
        role
        for page in account.client("iam").get_paginator("list_roles").paginate()
        for role in page["Roles"]
        if not role["RoleName"].startswith("healthcare-dr-pipeline-")
    ]
    iam = account.client("iam")
    bounds = {
        iam.get_role(RoleName=role["RoleName"])["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        for role in roles
    }
    # The relays have roles that the deploy role created.
    assert len(roles) >= 16
    assert {account.names.of("relay", region) for region in REGIONS} <= {role["RoleName"] for role in roles}
    assert bounds == {boundary}


@pytest.mark.requirement("C6")
@pytest.mark.parametrize("role", ["plan", "deploy"])
def test_plan_after_a_deployment_is_empty(pipeline: AsRole, deployment: str, role: str) -> None:
    summary = pipeline(role).plan()
    for stack in ("primary", "secondary", "global"):
        assert f"| healthcare-dr-{stack} | 0 | 0 | 0 |" in summary
    assert "Nothing is destroyed or replaced." in summary


@pytest.mark.requirement("C6")
def test_verify_role_finds_what_an_administrator_finds(account: Deployed, pipeline: AsRole, deployment: str) -> None:
    administrator = Pipeline("embedded", environment=variables_of(account) | CHANGED)
    summaries = ["", ""]

    def are_alike() -> bool:
        summaries[:] = [steps.verify(0)[0] for steps in (pipeline("verify"), administrator)]
        found, expected = (set(re.findall(r"- \*\*(\w+)\*\* `([\w-]+)`", summary)) for summary in summaries)
        return found == expected

    assert until(are_alike), "\n".join(summaries)
    assert "**unknown**" not in summaries[0], summaries[0]


@pytest.mark.requirement("C6", "R1.3")
def test_functions_work_within_the_boundary(account: Deployed, deployment: str) -> None:
    finished = account.hdr("up", **CHANGED)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.requirement("D6")
def test_administrator_destroys_platform_and_roles(account: Deployed, deployment: str) -> None:
    finished = account.hdr("destroy", **CHANGED)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    finished = account.hdr("pipeline", "--destroy", **ADMINISTRATOR)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert account.client("iam").list_roles()["Roles"] == []
