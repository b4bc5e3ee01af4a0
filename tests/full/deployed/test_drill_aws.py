"""`hdr drill --target aws` with the embedded AWS as the account.

FIS is missing and time runs faster. Everything else is as on AWS: Lambda's and IAM's own calls, statuses from
CloudWatch, an operator's token and consent.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.drain.preconditions import counted
from healthcare_dr.ops.drill import bootstrap as drill_bootstrap
from healthcare_dr.ops.drill import monitors
from healthcare_dr.ops.drill.bootstrap import aws_drill, heal_aws
from healthcare_dr.ops.drill.experiment import load
from healthcare_dr.ops.drill.journal import Journal
from healthcare_dr.ops.ports import Target
from healthcare_dr.settings import Settings
from support.drills import INCONCLUSIVE
from support.platform import REGIONS, SUFFIX, Deployed, eventually
from unit.ops.fakes import RecordingProgress

PRIMARY, SECONDARY = REGIONS
SCALE = 10
# A drill has its own limits, and reports which one it reached.
pytestmark = pytest.mark.timeout(900)


class Account:
    """A target that presents the embedded AWS as an AWS account."""

    name = "aws"

    def __init__(self, embedded: Target) -> None:
        self._embedded = embedded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedded, name)


@pytest.fixture
def settings(deployed: Deployed) -> Settings:
    return Settings(
        _env_file=None,
        ENVIRONMENT_SUFFIX=SUFFIX,
        home=deployed.home,
        emulator_port=deployed.port,
        dns_delegated=True,
        oidc_issuer=deployed.emulator.issuer(),
    )


@pytest.fixture
def account(deployed: Deployed, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """Adapt HTTPS, DNS, trust and the speed of checks to this machine."""
    deployed.settle_conflicts()
    _, port = deployed.emulator.edge_addresses()[PRIMARY]
    monkeypatch.setattr(monitors, "HTTPS", port)
    monkeypatch.setenv("SSL_CERT_FILE", str(deployed.emulator.certificate))
    monkeypatch.setattr(drill_bootstrap, "first_answering", lambda _, name: counted(deployed.emulator.dns(), name))
    deployed.emulator.set_time_scale(SCALE)
    account = cast("Target", Account(bootstrap.target_of(settings, "embedded")))
    yield account
    heal_aws(settings, progress=RecordingProgress(), target=account)
    deployed.emulator.set_time_scale(1)


def play(deployed: Deployed, settings: Settings, account: Target, name: str, prompts: list[Sequence[str]]) -> Journal:
    doors = {deployed.api_id(region): deployed.emulator.edge_addresses()[region][0] for region in REGIONS}
    # CloudWatch has one value per minute: health checks would show an earlier fault for two minutes.
    conditions = ("requests-succeed", "dns-names-both", "replication-caught-up")
    with aws_drill(
        settings,
        load(name).model_copy(update={"steady_state": conditions}),
        token=deployed.token(tenant="drill"),
        consent=prompts.append,
        progress=RecordingProgress(),
        target=account,
        resolver=deployed.emulator.dns(),
        address_of=lambda host: doors[host.partition(".")[0]],
    ) as drill:
        return drill.run()


@pytest.mark.requirement("C1", "C2", "C3")
@pytest.mark.parametrize("fault", ["planned-failover", "api-throttled"])
def test_drill_on_aws_passes(
    deployed: Deployed, settings: Settings, account: Target, fault: str, tmp_path: Path
) -> None:
    prompts: list[Sequence[str]] = []
    journal = play(deployed, settings, account, fault, prompts)
    assert len(prompts) == 1
    if journal.outcome == INCONCLUSIVE:
        journal = play(deployed, settings, account, fault, prompts)
    assert (journal.outcome, journal.label) == ("passed", "aws"), journal.reason
    milestones = journal.milestones
    assert milestones is not None
    assert milestones.dns_changed is not None
    undone = min(event.at for event in journal.events if event.kind == "undo")
    steady = max(milestones.steady_success or 0.0, milestones.dns_changed)
    after = {sample.region for sample in journal.samples if steady + 2 <= sample.at < undone and sample.succeeded}
    assert after == {SECONDARY}
    assert not any(missing.numbers for missing in journal.missing)
    assert any(healthy for seen in journal.observations for healthy in seen.checks.values())
    assert not (bootstrap.environment_root(settings, "aws") / "faults.json").exists()
    journal.write(tmp_path)
    for region in REGIONS:
        with deployed.api(region) as api:
            eventually(lambda api=api: api.get("/health").status_code == 200)  # type: ignore[misc]
