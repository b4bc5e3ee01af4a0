"""The deployment pipeline: the workflow of GitHub Actions, and the script with its steps."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pipeline
import pytest
import yaml
from pipeline import Pipeline, StepFailedError

from healthcare_dr.errors import SettingsError
from healthcare_dr.settings import SECRET, Settings

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "deploy.yml"
ROLES = {"plan": "HDR_PLAN_ROLE_ARN", "deploy": "HDR_DEPLOY_ROLE_ARN", "verify": "HDR_VERIFY_ROLE_ARN"}


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return dict(yaml.safe_load(WORKFLOW.read_text(encoding="utf-8")))


def steps(workflow: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow["jobs"].items():
        yield from ((name, step) for step in job["steps"])


def fits_schema(file: Path) -> bool:
    check = Path(sys.executable).with_name("check-jsonschema")
    finished = subprocess.run(
        [check, "--builtin-schema", "vendor.github-workflows", file], check=False, capture_output=True, timeout=60
    )
    return finished.returncode == 0


def test_workflow_fits_the_schema_of_github(tmp_path: Path) -> None:
    assert fits_schema(WORKFLOW)
    damaged = tmp_path / "deploy.yml"
    damaged.write_text(WORKFLOW.read_text(encoding="utf-8").replace("timeout-minutes", "timeout-minuts"))
    assert not fits_schema(damaged)


def test_actions_are_pinned_by_commit() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW.read_text(encoding="utf-8"))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_no_job_runs_without_configuration(workflow: dict[Any, Any]) -> None:
    for name, job in workflow["jobs"].items():
        variable = ROLES.get(name, ROLES["plan"])
        assert re.search(rf"vars\.{variable} != ''(?! \|\|)", job["if"]), name


def test_addresses_of_recipients_are_secrets_of_the_steps_that_need_them(workflow: dict[Any, Any]) -> None:
    expected = {f"HDR_{name.upper()}": f"${{{{ secrets.HDR_{name.upper()} }}}}" for name in SECRET}
    assert sorted(expected) == sorted(pipeline.SECRETS)
    for name, step in steps(workflow):
        runs = "tools/pipeline.py" in step.get("run", "")
        assert step.get("env") == expected if runs else "secrets" not in str(step), name
    assert WORKFLOW.read_text(encoding="utf-8").count("secrets.") == len(ROLES) * len(SECRET)


def test_secrets_in_the_plain_variable_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDR_ACCOUNT_ID", "123456789012")
    monkeypatch.setenv("HDR_STATE_BUCKET", "healthcare-dr-state")
    settings = tmp_path / ".env"
    for name in pipeline.SECRETS:
        for line in (f"{name}=https://example.com/KEY", f"export {name.lower()} = 'https://example.com/KEY'"):
            settings.write_text(f"HDR_DNS_TTL=5\n{line}\n")
            monkeypatch.setenv("GITHUB_ACTIONS", "true")
            with pytest.raises(
                SettingsError, match=f"^HDR_SETTINGS contains {name}, .*secret of the repository"
            ) as caught:
                pipeline.demand_settings("aws")
            assert "KEY" not in str(caught.value)
            assert "\n" not in str(caught.value)
            monkeypatch.delenv("GITHUB_ACTIONS")
            pipeline.demand_settings("aws")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    settings.write_text(f"{pipeline.SECRETS[0]}=\n")
    pipeline.demand_settings("aws")


def test_documented_command_removes_the_secrets(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    command = re.search(r"(grep -.*) \| gh variable set HDR_SETTINGS", page)
    assert command
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(example + "".join(f"{name}=https://example.com/KEY\n" for name in pipeline.SECRETS))
    finished = subprocess.run(["/bin/sh", "-c", command[1]], cwd=tmp_path, check=True, capture_output=True, text=True)
    left = finished.stdout
    assert "KEY" not in left
    assert "HDR_OPERATIONS_EMAILS=" in left
    assert len(left.splitlines()) == len(example.splitlines()) - len(pipeline.SECRETS)


def test_jobs_use_their_own_role_and_no_stored_key(workflow: dict[Any, Any]) -> None:
    assumed = {
        name: step["with"]["role-to-assume"]
        for name, step in steps(workflow)
        if "role-to-assume" in step.get("with", {})
    }
    assert assumed == {name: f"${{{{ vars.{variable} }}}}" for name, variable in ROLES.items()}


def test_tokens_and_permissions_are_limited(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == ({"contents": "read", "id-token": "write"} if name in ROLES else {})
        assert 0 < job["timeout-minutes"] <= 55, "the credentials of a job are valid for an hour"
    checkouts = [step for _, step in steps(workflow) if "actions/checkout@" in step.get("uses", "")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * 3


def test_deployments_are_approved_and_never_concurrent_or_cancelled(workflow: dict[Any, Any]) -> None:
    defaults = Settings(_env_file=None)
    deploy = workflow["jobs"]["deploy"]
    assert deploy["environment"] == defaults.github_environment
    assert f"github.ref == 'refs/heads/{defaults.github_branch}'" in deploy["if"]
    assert deploy["concurrency"] == {"group": "healthcare-dr-deploy", "cancel-in-progress": False}
    # The subject of a token contains the environment of the job instead of the branch or the pull request.
    assert [name for name, job in workflow["jobs"].items() if "environment" in job] == ["deploy"]


def test_forks_get_a_message_and_no_credentials(workflow: dict[Any, Any]) -> None:
    same = "github.event.pull_request.head.repo.full_name == github.repository"
    assert same in workflow["jobs"]["plan"]["if"]
    fork = workflow["jobs"]["plan-of-a-fork"]
    assert same.replace("==", "!=") in fork["if"]
    assert [sorted(step) for step in fork["steps"]] == [["name", "run"]]
    assert "pull_request_target" not in WORKFLOW.read_text(encoding="utf-8")


def test_steps_are_those_of_the_script(workflow: dict[Any, Any]) -> None:
    commands = {name: [step["run"] for job, step in steps(workflow) if job == name and "run" in step] for name in ROLES}
    for name, found in commands.items():
        install, settings, run = found
        assert install == "make setup"
        assert settings == "printf '%s\\n' \"$SETTINGS\" > .env"
        assert run.startswith(f".venv/bin/python tools/pipeline.py {name}")
    # GitHub replaces expressions in a command before the shell parses it.
    assert [step for _, step in steps(workflow) if "${{" in step.get("run", "")] == []


def test_verification_follows_a_deployment_and_runs_every_night(workflow: dict[Any, Any]) -> None:
    verify = workflow["jobs"]["verify"]
    assert verify["needs"] == "deploy"
    assert "github.event_name == 'schedule' || needs.deploy.result == 'success'" in verify["if"]
    # YAML 1.1 reads the key `on` as true.
    triggers = workflow[True]
    assert len(triggers["schedule"]) == 1
    assert triggers["push"]["branches"] == triggers["pull_request"]["branches"] == ["main"]


PLANS = {
    "healthcare-dr-global": {
        "add": 1, "change": 2, "remove": 3,
        "changes": [
            {"address": "aws_dynamodb_table.patient_records", "action": "replace"},
            {"address": "aws_route53_record.api", "action": "update"},
            {"address": "aws_cloudwatch_log_group.access", "action": "update"},
            {"address": "aws_s3_bucket.documents", "action": "remove"},
            {"address": "aws_cloudwatch_metric_alarm.old", "action": "delete"},
        ],
        "outputs": [{"name": "secret", "action": "update"}],
        "protected": [
            {"address": "healthcare-dr-global:aws_dynamodb_table.patient_records", "action": "replace"},
            {"address": "healthcare-dr-global:aws_dynamodb_table.audit_logs.replica.us-west-2", "action": "destroy"},
            {"address": "healthcare-dr-global:aws_cloudwatch_log_group.access", "action": "shorten"},
            {"address": "healthcare-dr-global:aws_s3_bucket.documents", "action": "forget"},
        ],
    },
}  # fmt: skip


@pytest.fixture
def hdr(tmp_path: Path) -> Path:
    """A program in the place of `hdr`: prints `<command>.json`, exits with `<command>.code`, and records its calls."""
    program = tmp_path / "hdr"
    program.write_text(
        "#!/bin/sh\n"
        f'cd "{tmp_path}"\n'
        'echo "$*" >> calls\n'
        'test -f "$1.next" && mv "$1.next" "$1.json.after"\n'
        'cat "$1.json"\n'
        'test -f "$1.json.after" && mv "$1.json.after" "$1.json"\n'
        'exit "$(cat "$1.code" 2>/dev/null || echo 0)"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "synth.json").write_text("{}")
    return program


def test_plan_shows_numbers_protected_changes_and_removals(hdr: Path) -> None:
    (hdr.parent / "plan.json").write_text(json.dumps(PLANS))
    summary = Pipeline("aws", hdr=[str(hdr)]).plan()
    assert "| healthcare-dr-global | 1 | 2 | 3 |" in summary
    assert [line for line in summary.splitlines() if line.startswith("- ")] == [
        "- `healthcare-dr-global:aws_dynamodb_table.patient_records` (replace, protected)",
        "- `healthcare-dr-global:aws_dynamodb_table.audit_logs.replica.us-west-2` (destroy, protected)",
        "- `healthcare-dr-global:aws_cloudwatch_log_group.access` (shorten, protected)",
        "- `healthcare-dr-global:aws_s3_bucket.documents` (forget, protected)",
        "- `healthcare-dr-global:aws_cloudwatch_metric_alarm.old` (delete)",
    ]
    assert "secret" not in summary
    assert (hdr.parent / "calls").read_text().splitlines() == ["synth --json", "plan --target aws --json"]


def test_step_that_fails_ends_with_the_code_of_hdr(hdr: Path) -> None:
    (hdr.parent / "deploy.json").write_text("")
    (hdr.parent / "deploy.code").write_text("3")
    with pytest.raises(StepFailedError, match="hdr exited with 3") as failure:
        Pipeline("aws", hdr=[str(hdr)]).deploy()
    assert failure.value.code == 3


def report(*, ready: bool) -> str:
    finding = {
        "check": "heartbeat", "severity": "failure", "region": "us-east-1", "problem": "no heartbeat", "mend": "deploy",
    }  # fmt: skip
    return json.dumps({"ready": ready, "findings": [] if ready else [finding]})


def test_verification_is_repeated_until_ready(hdr: Path) -> None:
    (hdr.parent / "verify.json").write_text(report(ready=False))
    (hdr.parent / "verify.next").write_text(report(ready=True))
    pauses: list[float] = []
    summary, ready = Pipeline("aws", hdr=[str(hdr)]).verify(60, pause=pauses.append)
    assert ready
    assert "No findings" in summary
    assert len(pauses) == 1


def test_verification_that_stays_unready_fails_with_its_findings(hdr: Path, tmp_path: Path) -> None:
    (hdr.parent / "verify.json").write_text(report(ready=False))
    (hdr.parent / "verify.code").write_text("1")
    page = tmp_path / "summary.md"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GITHUB_STEP_SUMMARY", str(page))
        assert pipeline.run("verify", Pipeline("aws", hdr=[str(hdr)])) == 1
    assert "**failure** `heartbeat` us-east-1: no heartbeat → deploy" in page.read_text()


def test_aws_needs_account_and_state_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="HDR_ACCOUNT_ID and HDR_STATE_BUCKET must be set"):
        pipeline.demand_settings("aws")
    monkeypatch.setenv("HDR_ACCOUNT_ID", "123456789012")
    with pytest.raises(SettingsError, match=r"^HDR_STATE_BUCKET must be set"):
        pipeline.demand_settings("aws")
    monkeypatch.setenv("HDR_STATE_BUCKET", "healthcare-dr-state")
    pipeline.demand_settings("aws")
