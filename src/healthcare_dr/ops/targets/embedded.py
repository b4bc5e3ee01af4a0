"""The embedded AWS as a deployment target."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.notifications import terraform_variables
from healthcare_dr.ops.ports import EmbeddedAws
from healthcare_dr.ops.terraform.workspace import read_local

# The version of the provider that the embedded AWS is tested with.
PROVIDER_VERSION = "5.100.0"
# The variables that a program needs to run, to find its temporary folder, and to reach a registry through a proxy.
CHILD_VARIABLES: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EmbeddedTarget:
    """Uses the embedded AWS only, whatever the user's environment variables and profiles are."""

    emulator: EmbeddedAws
    root: Path
    """`<home>/embedded/<suffix>`."""
    user_environment: Mapping[str, str]
    endpoints: int = 0
    """The number of endpoints in the settings. The embedded AWS delivers to receivers of its own instead."""
    webhooks: int = 0
    """The number of webhooks in the settings, which receivers replace, too."""
    name: str = "embedded"

    @property
    def _environment(self) -> str:
        """Return the suffix, by which a drill denies control planes to one environment only."""
        return self.root.name

    def preflight(self) -> None:
        """Raise DeploymentError unless the embedded AWS runs, and EmulatorError if it runs on other ports."""
        if not self.emulator.running():
            raise DeploymentError("the embedded AWS does not run: start it and deploy to it with `hdr up`")
        self.emulator.start()

    def check_quotas(self, *, required: bool) -> list[str]:
        """Return none: the limits of the embedded AWS depend on the machine only."""
        del required
        return []

    def remember(self) -> None:
        """Do nothing, because there is only one account."""

    def child_environment(self) -> dict[str, str]:
        """Return the variables that a program and the embedded AWS need; none of the user's AWS account."""
        return (
            bare(self.user_environment)
            | {"TF_VAR_oidc_issuer": self.emulator.issuer()}
            | terraform_variables(endpoints=self.operations_endpoints(), webhooks=self.operations_webhooks())
            | self.emulator.environment()
            # The provider adds this to its User-Agent.
            | {"TF_APPEND_USER_AGENT": f"app/{self._environment}"}
        )

    def override(self, stack: str) -> Mapping[str, Any]:
        """Return a local state, and the version of the provider."""
        return {
            "terraform": {
                "backend": {"local": {"path": f"../state/{stack}.tfstate"}},
                "required_providers": {"aws": {"version": PROVIDER_VERSION}},
            }
        }

    def read_state(self, stack: str) -> bytes | None:
        """Return the local state."""
        return read_local(self.root, stack)

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of the embedded AWS, which ignores the user's profiles, keys and endpoints."""
        import boto3
        from botocore.config import Config
        from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
        from botocore.session import Session

        environment = self.emulator.environment()
        isolated = Session(
            # The second of the four values is the environment variable.
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
            aws_session_token=environment.get("AWS_SESSION_TOKEN"),
            botocore_session=isolated,
            region_name=region,
        )
        return session.client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            config=Config(
                # As on AWS: few retries of a control plane that denies requests.
                retries={"mode": "standard", "total_max_attempts": 3},
                proxies={},
                user_agent_appid=self._environment,
            ),
        )

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        """Return the address at which the embedded AWS serves the API."""
        return self.emulator.api_url(str(outputs["api_id"])).rstrip("/")

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """Return the address of each region's edge proxy."""
        return self.emulator.edge_addresses()

    def issuer(self) -> str:
        """Return the embedded issuer."""
        return self.emulator.issuer()

    def operations_endpoints(self) -> tuple[str, ...]:
        """Return a receiver of the embedded AWS for each endpoint of the settings, which is never called from here."""
        return tuple(self.emulator.receiver(f"endpoint-{number}") for number in range(self.endpoints))

    def operations_webhooks(self) -> tuple[str, ...]:
        """Return a receiver of the embedded AWS for each webhook of the settings."""
        return tuple(self.emulator.receiver(f"webhook-{number}") for number in range(self.webhooks))

    def ca_bundle(self) -> Path | None:
        """Return the local authority."""
        return self.emulator.certificate


def bare(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a program needs to run, without credentials of the user."""
    return {name: value for name, value in environment.items() if name in CHILD_VARIABLES or name.startswith("LC_")}
