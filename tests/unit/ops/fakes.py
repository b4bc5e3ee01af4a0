"""Fakes of what the operations are given: progress, the embedded AWS, a target, stacks."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.ops.targets.embedded import bare
from healthcare_dr.ops.terraform.binary import host_platform
from healthcare_dr.ops.terraform.workspace import read_local


@dataclass
class RecordingProgress:
    """Records all reports."""

    said: list[str] = field(default_factory=list)
    phases: list[tuple[str, str]] = field(default_factory=list)
    completed: list[tuple[str, int, int, str]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, stack: str, phase: str) -> None:
        self.phases.append((stack, phase))

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        assert done <= total, (stack, current)

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        self.completed.append((stack, done, total, resource))

    def end(self, stack: str, result: str) -> None:
        self.ended.append((stack, result))


@dataclass
class FakeEmulator:
    """An embedded AWS that only starts and stops."""

    home: Path
    certificate: Path = Path("authority.pem")
    up: bool = False
    lost: bool = False
    erased: int = 0
    on_start: Callable[[], object] = lambda: None
    """Called at each start."""
    on_check_ports: Callable[[], object] = lambda: None
    tokens: list[dict[str, Any]] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def handle(self) -> Emulator:
        return cast("Emulator", self)

    def start(self) -> None:
        self.on_start()
        self.up = True

    def check_ports(self) -> None:
        self.on_check_ports()

    def stop(self) -> None:
        self.up = False

    def running(self) -> bool:
        return self.up

    def lost_state(self) -> bool:
        return self.lost

    def erase(self) -> None:
        self.up = self.lost = False
        self.erased += 1

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": "https://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "123456789012",
            "AWS_SECRET_ACCESS_KEY": "embedded",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CA_BUNDLE": str(self.certificate),
        }

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        return {}

    def issuer(self) -> str:
        return "https://127.0.0.1:2"

    def receiver(self, name: str) -> str:
        return f"https://127.0.0.1:2/{name}"

    def token(
        self,
        *,
        subject: str,
        tenant: str,
        scopes: Sequence[str],
        audience: str = "healthcare-dr",
        lifetime: timedelta = timedelta(hours=1),
    ) -> str:
        self.tokens.append(
            {"subject": subject, "tenant": tenant, "scopes": list(scopes), "audience": audience, "lifetime": lifetime}
        )
        return "a.signed.token"

    def api_url(self, api_id: str) -> str:
        return self.urls.get(api_id, f"https://127.0.0.1:1/{api_id}")


@dataclass
class FakeRoute53:
    """Route 53's client, in an account with the zones of these names."""

    zones: tuple[str, ...] = ()
    private: bool = False
    fails: Exception | None = None
    calls: int = 0

    def list_hosted_zones_by_name(self, *, DNSName: str) -> dict[str, Any]:  # noqa: N803 - the name in the API
        self.calls += 1
        if self.fails is not None:
            raise self.fails
        return {
            "HostedZones": [
                {"Name": f"{name}.", "Id": f"/hostedzone/Z{number}", "Config": {"PrivateZone": self.private}}
                for number, name in enumerate(sorted(self.zones))
                if name >= DNSName
            ]
        }


@dataclass
class LocalTarget:
    """A target without AWS, which Terraform's built-in resources do not need."""

    root: Path
    name: str = "embedded"
    urls: dict[str, str] = field(default_factory=dict)
    front_doors: dict[str, tuple[str, int]] = field(default_factory=dict)
    refuses: Exception | None = None
    route53: Any = field(default_factory=FakeRoute53)
    authority: Path | None = None
    token_issuer: str = "https://127.0.0.1:2"
    remembered: int = 0
    warnings: tuple[str, ...] = ()
    quotas_required: list[bool] = field(default_factory=list)

    def preflight(self) -> None:
        if self.refuses is not None:
            raise self.refuses

    def check_quotas(self, *, required: bool) -> list[str]:
        self.quotas_required.append(required)
        return list(self.warnings)

    def remember(self) -> None:
        self.remembered += 1

    def child_environment(self) -> dict[str, str]:
        return bare(os.environ)

    def override(self, stack: str) -> Mapping[str, Any]:
        return {"terraform": {"backend": {"local": {"path": f"../state/{stack}.tfstate"}}}}

    def read_state(self, stack: str) -> bytes | None:
        return read_local(self.root, stack)

    def client(self, service: str, region: str) -> Any:
        assert (service, region) == ("route53", "us-east-1")
        return self.route53

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        return self.urls.get(outputs["api_id"], f"https://127.0.0.1:1/{outputs['api_id']}")

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        return self.front_doors

    def issuer(self) -> str:
        return self.token_issuer

    def operations_endpoints(self) -> tuple[str, ...]:
        return ()

    def operations_webhooks(self) -> tuple[str, ...]:
        return ()

    def ca_bundle(self) -> Path | None:
        return self.authority


Stack = dict[str, Any]


def stack_json(resources: Mapping[str, Any], outputs: Mapping[str, Any] | None = None) -> Stack:
    """Return a synthesized stack of Terraform's built-in resource."""
    document: Stack = {
        "terraform": {"backend": {"local": {"path": "terraform.tfstate"}}},
        "resource": {"terraform_data": dict(resources)},
    }
    if outputs:
        document["output"] = {name: {"value": value} for name, value in outputs.items()}
    return document


def slow(seconds: float) -> dict[str, Any]:
    """Return a resource whose creation takes a time."""
    return running(f"sleep {seconds}")


def failing() -> dict[str, Any]:
    """Return a resource whose creation fails."""
    return running("exit 3")


def running(command: str) -> dict[str, Any]:
    """Return a resource whose creation runs a shell command."""
    return {"provisioner": [{"local-exec": {"command": command}}]}


def three_stacks() -> dict[str, Stack]:
    """Return small stacks with the required outputs."""
    return {
        PRIMARY: stack_json({"key": {"input": "a"}}, {"api_id": "one", "api_endpoint": "https://one.invalid"}),
        SECONDARY: stack_json({"key": {"input": "b"}}, {"api_id": "two", "api_endpoint": "https://two.invalid"}),
        GLOBAL: stack_json({"table": {"input": "c"}}, {"records_table": "patient_records-dev"}),
    }


def synthesizing(stacks: Mapping[str, Stack]) -> Callable[[Path], None]:
    """Return a synthesis of these stacks."""

    def run(outdir: Path) -> None:
        for stack, document in stacks.items():
            folder = outdir / "stacks" / stack
            (folder / "assets").mkdir(parents=True)
            (folder / "assets" / "code.zip").write_bytes(b"PK\0\1")
            (folder / "cdk.tf.json").write_text(json.dumps(document), encoding="utf-8")

    return run


def provider_mirror(folder: Path, *versions: str, registry: str = "registry.terraform.io") -> Path:
    """Create a mirror with providers, which `init` installs but does not start."""
    for version in versions:
        place = folder / registry / "hashicorp/aws" / version / host_platform()
        place.mkdir(parents=True)
        program = place / f"terraform-provider-aws_v{version}_x5"
        program.write_text(f"#!/bin/sh\n# {version}\n")
        program.chmod(0o755)
    return folder
