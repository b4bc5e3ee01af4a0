"""The composition of a drill on AWS, and what it rejects before any fault."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from healthcare_dr.errors import DeploymentError, HealthcareDrError, SettingsError
from healthcare_dr.infra.fault_plan import TEMPLATES
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, Names
from healthcare_dr.ops.drill.bootstrap import aws_drill, heal_aws
from healthcare_dr.ops.drill.experiment import load
from healthcare_dr.ops.drill.run import Drill
from healthcare_dr.settings import Settings
from support.dns_server import dns_server
from unit.ops.drill.fakes import EAST, WEST, FisService
from unit.ops.drill.test_monitors import OURS, listed
from unit.ops.drill.test_resolver import Zone
from unit.ops.fakes import LocalTarget, RecordingProgress

NAME = "api.healthcare-dr-it.com"
CLAIMS = base64.urlsafe_b64encode(b'{"tenant": "drills"}').decode().rstrip("=")
TOKEN = f"head.{CLAIMS}.signature"
OUTPUTS = {
    PRIMARY: {"api_id": "one", "api_endpoint": "https://one.invalid"},
    SECONDARY: {"api_id": "two", "api_endpoint": "https://two.invalid"},
    GLOBAL: {
        "name_servers": "ns-1.invalid,ns-2.invalid",
        "documents_bucket_primary": "east-documents",
        "documents_bucket_secondary": "west-documents",
    },
}


@dataclass
class Account(LocalTarget):
    """A deployed account."""

    name: str = "aws"
    deployed: bool = True
    fis: dict[str, FisService] = field(default_factory=dict)

    def read_state(self, stack: str) -> bytes | None:
        if not self.deployed:
            return None
        outputs = {name: {"value": value} for name, value in OUTPUTS[stack].items()}
        resources = [{"mode": "managed", "instances": [{}]}]
        return json.dumps({"version": 4, "resources": resources, "outputs": outputs}).encode()

    def client(self, service: str, region: str) -> Any:
        if service == "fis":
            return self.fis[region].client()
        client = boto3.client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
        stub = Stubber(client)
        stub.activate()
        if service == "route53":
            listed(stub, OURS)
        return client


@dataclass
class World:
    """An account, settings, and a DNS server."""

    account: Account
    settings: Settings
    zone: Zone
    server: tuple[str, int]
    token: str = TOKEN
    requests: list[Sequence[str]] = field(default_factory=list)
    consents: bool = True

    def consent(self, lines: Sequence[str]) -> None:
        self.requests.append(lines)
        if not self.consents:
            raise DeploymentError("nothing was broken")

    def assembled(self, experiment: str = "api-throttled") -> Drill:
        with aws_drill(
            self.settings,
            load(experiment),
            token=self.token,
            consent=self.consent,
            progress=RecordingProgress(),
            target=self.account,
            resolver=self.server,
            address_of=lambda _: "192.0.2.1",
        ) as drill:
            return drill


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    zone = Zone()
    api = f"d-1.execute-api.{EAST}.amazonaws.com"
    zone.records[NAME] = f"{NAME} 10 IN CNAME {api}\n{api} 60 IN A 192.0.2.1"
    names = Names("it")
    fis = {
        region: FisService(region=region, templates=[names.of(kind, region) for kind in TEMPLATES])
        for region in (EAST, WEST)
    }
    settings = Settings(
        _env_file=None, ENVIRONMENT_SUFFIX="it", home=tmp_path, dns_delegated=True, oidc_issuer="https://issuer.invalid"
    )
    with dns_server(zone.respond) as address:
        yield World(Account(root=tmp_path, fis=fis), settings, zone, address)


def refused(world: World, experiment: str = "api-throttled") -> str:
    with pytest.raises(HealthcareDrError) as caught:
        world.assembled(experiment)
    assert "\n" not in str(caught.value)
    assert not any(service.experiments for service in world.account.fis.values())
    return f"{type(caught.value).__name__}: {caught.value}"


def test_parts_of_a_drill_fit_together(world: World) -> None:
    drill = world.assembled("replication-paused")
    assert (drill.label, drill.regions, drill.time_scale, drill.floor_seconds) == ("aws", (EAST, WEST), 1.0, 40)
    assert drill.settings["on_aws"].startswith("not injected: control-planes: ")
    assert "documents that were there before" in drill.settings["on_aws"]
    found = drill.load_generator.calibration()
    assert found is not None
    assert (found.rate, found.reason) == (20.0, "given by the default, since AWS serves the platform")
    assert drill.checks.queue is None
    assert drill.faults.undo_all() == ()
    (lines,) = world.requests
    assert lines[0] == "On AWS, environment it, this drill breaks what serves real clients:"
    assert lines[1].startswith(f"  replication-paused in {EAST} and {WEST}, after ")
    assert any("FIS bills" in line for line in lines)
    assert not any(CLAIMS in line for line in lines)


def test_experiment_that_aws_cannot_run_is_rejected_first(world: World) -> None:
    world.account.refuses = AssertionError("the account was read")
    assert refused(world, "region-refused").startswith("SettingsError: AWS cannot run refused")


def test_domain_must_be_delegated(world: World) -> None:
    world.settings = world.settings.model_copy(update={"dns_delegated": False})
    assert "delegate it, set HDR_DNS_DELEGATED=true, deploy, and begin again" in refused(world)


def test_token_is_required(world: World) -> None:
    world.token = ""
    assert "SettingsError: HDR_TOKEN is not set" in refused(world)


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", "a.!!.c", "a.W10.c"])
def test_token_without_a_tenant_is_rejected_and_not_shown(world: World, token: str) -> None:
    world.token = token
    assert refused(world) == "SettingsError: HDR_TOKEN names no tenant: the APIs take a JWT with the claim `tenant`"


def test_tenant_is_in_the_claim_that_the_settings_name(world: World) -> None:
    world.settings = world.settings.model_copy(update={"tenant_claim": "tid"})
    assert refused(world).endswith("the APIs take a JWT with the claim `tid`")
    payload = base64.urlsafe_b64encode(json.dumps({"tid": "clinic"}).encode()).decode()
    world.token = f"a.{payload}.c"
    assert world.assembled("replication-paused").label == "aws"


def test_faults_of_a_killed_drill_are_undone(world: World) -> None:
    drill = world.assembled("replication-paused")
    for step in load("replication-paused").method:
        drill.faults.apply(step)
    assert [bool(service.running()) for service in world.account.fis.values()] == [True, True]
    healed = heal_aws(world.settings, progress=RecordingProgress(), target=world.account)
    assert healed == (f"replication-paused {WEST}", f"replication-paused {EAST}")
    assert not any(service.running() for service in world.account.fis.values())
    assert heal_aws(world.settings, progress=RecordingProgress(), target=world.account) == ()


def test_apis_that_require_signatures_are_rejected(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "issuer", lambda _: "")
    assert "require IAM signatures, which `hdr drill` does not make" in refused(world)


def test_another_account_is_rejected(world: World) -> None:
    world.account.refuses = DeploymentError("these credentials belong to account 210987654321")
    assert "belong to account 210987654321" in refused(world)
    assert not world.requests


def test_platform_must_be_deployed(world: World) -> None:
    world.account.deployed = False
    assert "deploy first with `hdr deploy --target aws`" in refused(world)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "answered SERVFAIL"),
        (f"{NAME} 10 IN A 192.0.2.9", f"{NAME} leads to {NAME}, which is no API of us-east-1 or us-west-2"),
    ],
)
def test_name_must_lead_to_an_api_of_the_platform(world: World, record: str | None, message: str) -> None:
    world.zone.records.clear()
    if record is not None:
        world.zone.records[NAME] = record
    assert message in refused(world)
    assert not world.requests


def test_missing_templates_are_found_before_any_fault(world: World) -> None:
    world.account.fis[WEST].templates.clear()
    assert "set HDR_FAULT_INJECTION=true" in refused(world, "replication-paused")
    assert not world.requests
    world.assembled("api-throttled")


def test_consent_is_required(world: World) -> None:
    world.consents = False
    assert "nothing was broken" in refused(world)
    assert len(world.requests) == 1


def test_errors_of_settings_come_before_those_of_the_account(world: World) -> None:
    world.token = "two words"
    world.account.refuses = DeploymentError("unreachable")
    with pytest.raises(SettingsError, match="HDR_TOKEN is not a token"):
        world.assembled()
