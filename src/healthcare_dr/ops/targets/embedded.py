"""The embedded AWS as a target."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import EmbeddedAws
from healthcare_dr.ops.targets.environment import AUTOMATION, bare
from healthcare_dr.ops.terraform.workspace import state_file

# The provider that the embedded AWS has been proven with.
PROVIDER_VERSION = "5.100.0"


@dataclass(frozen=True, kw_only=True)
class EmbeddedTarget:
    """Uses the embedded AWS only, whatever the user's environment variables and profiles are."""

    emulator: EmbeddedAws
    root: Path
    """`<home>/embedded/<suffix>`."""
    user_environment: Mapping[str, str]
    name: str = "embedded"

    @property
    def _environment(self) -> str:
        """The suffix: control planes that a drill refuses to one environment serve the callers of the others."""
        return self.root.name

    def preflight(self) -> None:
        """Raises DeploymentError unless the embedded AWS runs, EmulatorError when it does on other ports."""
        if not self.emulator.running():
            raise DeploymentError("the embedded AWS does not run: start it and deploy to it with `hdr up`")
        self.emulator.start()

    def remember(self) -> None:
        """Nothing: there is but one account."""

    def child_environment(self) -> dict[str, str]:
        """Return the variables that a program and the embedded AWS need; none of the user's AWS account."""
        return (
            bare(self.user_environment)
            | AUTOMATION
            | {"TF_VAR_oidc_issuer": self.emulator.issuer()}
            | self.emulator.environment()
            # The provider adds it to its User-Agent.
            | {"TF_APPEND_USER_AGENT": f"app/{self._environment}"}
        )

    def override(self, stack: str) -> Mapping[str, Any]:
        """A local state, and the one provider version that was proven."""
        return {
            "terraform": {
                "backend": {"local": {"path": f"../state/{stack}.tfstate"}},
                "required_providers": {"aws": {"version": PROVIDER_VERSION}},
            }
        }

    def read_state(self, stack: str) -> bytes | None:
        """The local state."""
        file = state_file(self.root, stack)
        return file.read_bytes() if file.exists() else None

    def client(self, service: str, region: str) -> Any:
        """A boto3 client of the embedded AWS; the user's profiles, keys and endpoints play no part."""
        import boto3
        from botocore.config import Config
        from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
        from botocore.session import Session

        environment = self.emulator.environment()
        isolated = Session(
            # Without their environment variables (the second of the four).
            session_vars={
                name: (key, None, default, convert)
                for name, (key, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
            }
            | {
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        session = boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            botocore_session=isolated,
            region_name=region,
        )
        return session.client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            config=Config(
                # As on AWS: a control plane that is refused is given up soon.
                retries={"mode": "standard", "total_max_attempts": 3},
                # It is on the loopback.
                proxies={},
                user_agent_appid=self._environment,
            ),
        )

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        """Return the address at which the embedded AWS serves the API."""
        return self.emulator.api_url(str(outputs["api_id"])).rstrip("/")

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """Each region's front door."""
        return self.emulator.edge_addresses()

    def issuer(self) -> str:
        """The embedded issuer."""
        return self.emulator.issuer()

    def ca_bundle(self) -> Path | None:
        """The local authority."""
        return self.emulator.certificate
