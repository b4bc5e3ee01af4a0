"""Run `hdr verify` on the deployed platform."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import boto3
from bench.ports import free_port
from botocore.config import Config

from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.ports import Target
from healthcare_dr.ops.verify.check import Check, Finding, Verification
from healthcare_dr.ops.verify.checks import CATALOG
from healthcare_dr.ops.verify.live_target import open_live_target
from healthcare_dr.ops.verify.runner import verify
from healthcare_dr.settings import Settings
from support.platform import SUFFIX, Deployed


@dataclass(frozen=True)
class Recording:
    """A target that records every operation, and may simulate a lost region."""

    inner: Any
    lost: str | None = None
    operations: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def client(self, service: str, region: str) -> Any:
        if region == self.lost:
            return boto3.client(
                service, region_name=region, endpoint_url=f"https://127.0.0.1:{free_port()}",
                aws_access_key_id="1", aws_secret_access_key="2", config=Config(retries={"total_max_attempts": 1}),
            )  # fmt: skip
        client = self.inner.client(service, region)
        client.meta.events.register("before-call.*.*", self._note)
        return client

    def _note(self, model: Any, **_: Any) -> None:
        self.operations.add(f"{model.service_model.service_name}:{model.name}")


def settings_of(deployed: Deployed, **changed: Any) -> Settings:
    return Settings(
        _env_file=None, ENVIRONMENT_SUFFIX=SUFFIX, home=deployed.home, emulator_port=deployed.port, **changed
    )


def verified(
    deployed: Deployed, *names: str, later: timedelta = timedelta(), lost: str | None = None, **changed: Any
) -> tuple[Verification, set[str]]:
    """Return the findings of these checks, or of all, and the operations that they called."""
    settings = settings_of(deployed, **changed)
    target = Recording(bootstrap.target_of(settings, "embedded"), lost=lost)
    live = open_live_target(
        settings, cast("Target", target), bootstrap.emulator_of(settings), now=lambda: datetime.now(UTC) + later
    )
    checks: list[Check] = [CATALOG[name] for name in names or CATALOG]
    return verify(live, checks), target.operations


def line_of(finding: Finding) -> str:
    """Return a finding as one line of text, with its severity."""
    return f"{finding.severity} {finding}"
