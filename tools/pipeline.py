"""The steps of the deployment pipeline, for any CI system: `python tools/pipeline.py plan | deploy | verify`.

Each step runs `hdr` with the settings of the environment and `.env`, writes a summary to standard output and, on
GitHub, to the page of the run, and exits with the code of `hdr`. A summary contains numbers and addresses of resources,
never values: a plan may contain secrets, so no step keeps one. docs/pipeline.md describes the set-up.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from healthcare_dr.errors import SettingsError
from healthcare_dr.settings import load_settings

ROOT = Path(__file__).parents[1]
HDR = (str(Path(sys.executable).with_name("hdr")),)
POLL_SECONDS = 30.0
REMOVES = ("delete", "remove", "replace")
SECRETS = ("HDR_OPERATIONS_ENDPOINTS", "HDR_OPERATIONS_WEBHOOKS")


class StepFailedError(Exception):
    """`hdr` failed. `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"hdr exited with {code}")
        self.code = code


class Pipeline:
    """The steps on one target."""

    def __init__(self, target: str, *, hdr: Sequence[str] = HDR, environment: Mapping[str, str] = os.environ) -> None:
        self._target = target
        self._hdr = hdr
        self._environment = environment

    def plan(self) -> str:
        """Check the rules, plan, and return the summary."""
        self._run("synth")
        return plan_summary(self._run("plan", "--target", self._target))

    def deploy(self) -> str:
        """Plan and apply. `hdr` refuses to destroy or replace what holds data, whatever the pull request showed."""
        return deploy_summary(self._run("deploy", "--target", self._target, "--auto-approve"))

    def verify(self, wait_seconds: float, *, pause: Callable[[float], None] = time.sleep) -> tuple[str, bool]:
        """Verify until recovery would work, for at most `wait_seconds`. Return the summary and whether it would."""
        deadline = time.monotonic() + wait_seconds
        while True:
            report = self._run("verify", "--target", self._target, accepted=(0, 1))
            if report["ready"] or time.monotonic() >= deadline:
                return verify_summary(report), bool(report["ready"])
            pause(POLL_SECONDS)

    def _run(self, *arguments: str, accepted: Sequence[int] = (0,)) -> Any:
        """Run a command and return its JSON report. Its progress and errors go to standard error."""
        finished = subprocess.run(
            [*self._hdr, *arguments, "--json"],
            cwd=ROOT,
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if finished.returncode not in accepted or not finished.stdout.strip():
            raise StepFailedError(finished.returncode or 1)
        return json.loads(finished.stdout)


def plan_summary(plans: Mapping[str, Any]) -> str:
    """Return the numbers of changes of each stack, all changes of what holds data, and what else would be removed."""
    lines = ["## Plan", "", "| stack | add | change | destroy |", "|---|---:|---:|---:|"]
    lines += [f"| {stack} | {plan['add']} | {plan['change']} | {plan['remove']} |" for stack, plan in plans.items()]
    protected = {change["address"]: change["action"] for plan in plans.values() for change in plan["protected"]}
    removed = [f"- `{address}` ({action}, protected)" for address, action in protected.items()]
    removed += [
        f"- `{address}` ({change['action']})"
        for stack, plan in plans.items()
        for change in plan["changes"]
        if (address := f"{stack}:{change['address']}") not in protected and change["action"] in REMOVES
    ]
    if removed:
        lines += ["", "Destroyed, replaced, no longer managed, or kept for a shorter time:", "", *removed]
    else:
        lines += ["", "Nothing is destroyed or replaced."]
    return "\n".join(lines)


def deploy_summary(report: Mapping[str, Any]) -> str:
    """Return the numbers of changed resources."""
    changes = report["changes"]
    return (
        f"## Deployed\n\n{changes['add']} added, {changes['change']} changed, {changes['remove']} destroyed in "
        f"{report['seconds']} s"
    )


def verify_summary(report: Mapping[str, Any]) -> str:
    """Return whether recovery would work, and the findings."""
    lines = [f"## Recovery would {'' if report['ready'] else 'NOT '}work as designed", ""]
    lines += [
        f"- **{finding['severity']}** `{finding['check']}` {finding['region'] or ''}: {finding['problem']}"
        f" → {finding['mend']}"
        for finding in report["findings"]
    ]
    return "\n".join(lines if report["findings"] else [*lines, "No findings."])


def demand_settings(target: str) -> None:
    """Raise SettingsError for settings with which a pipeline would deploy to a wrong account or lose its state."""
    demand_no_secrets()
    settings = load_settings()
    missing = [f"HDR_{name.upper()}" for name in ("account_id", "state_bucket") if getattr(settings, name) is None]
    if target == "aws" and missing:
        raise SettingsError(
            f"{' and '.join(missing)} must be set: a pipeline deploys to a named account, with its state in a bucket"
        )


def demand_no_secrets() -> None:
    """Raise SettingsError if the workflow wrote secrets of a plain variable of the repository to `.env`."""
    if not os.environ.get("GITHUB_ACTIONS"):
        return
    written = {name.upper() for name, value in dotenv_values(".env").items() if value}
    if found := [name for name in SECRETS if name in written]:
        raise SettingsError(
            f"HDR_SETTINGS contains {' and '.join(found)}, which GitHub shows in logs: remove them from the variable, "
            "store each as a secret of the repository with the same name, and replace the addresses"
        )


def publish(summary: str) -> None:
    """Print a summary, and add it to the page of the run on GitHub."""
    print(summary)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(f"{summary}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step and return the exit code."""
    parser = argparse.ArgumentParser(description="The steps of the deployment pipeline.")
    parser.add_argument("step", choices=("plan", "deploy", "verify"))
    parser.add_argument("--target", choices=("aws", "embedded"), default="aws")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="how long to repeat `verify`")
    options = parser.parse_args(arguments)
    try:
        demand_settings(options.target)
        return run(options.step, Pipeline(options.target), wait_seconds=options.wait)
    except SettingsError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return error.exit_code
    except StepFailedError as failure:
        print(f"pipeline: {options.step} failed: {failure}", file=sys.stderr)
        return failure.code


def run(step: str, pipeline: Pipeline, *, wait_seconds: float = 0.0) -> int:
    """Run a step, publish its summary, and return the exit code.

    Raises:
        StepFailedError: `hdr` failed.
    """
    if step == "verify":
        summary, ready = pipeline.verify(wait_seconds)
        publish(summary)
        return 0 if ready else 1
    publish(pipeline.plan() if step == "plan" else pipeline.deploy())
    return 0


if __name__ == "__main__":
    sys.exit(main())
