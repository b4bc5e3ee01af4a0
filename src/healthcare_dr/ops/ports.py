"""The interfaces of targets and of progress reports, and the type of the embedded AWS."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from healthcare_dr.naming import PRIMARY, SECONDARY

if TYPE_CHECKING:
    from healthcare_dr.emulator.emulator import Emulator

EmbeddedAws: TypeAlias = "Emulator"
"""An alias, because the import of the emulator takes longer than most commands."""

REGIONAL = (PRIMARY, SECONDARY)

Synthesize = Callable[[Path], object]
"""Writes `<folder>/stacks/<stack>/cdk.tf.json` and the assets."""


class Progress(Protocol):
    """Reports the progress of work."""

    def say(self, text: str) -> None:
        """Report the current step in one line."""

    def begin(self, stack: str, phase: str) -> None:
        """Report that a stack enters a phase (`planning`, `applying`, `destroying`)."""

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """Report that `done` of `total` resources are done; `current` is the newest or longest running."""

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Report one more completed resource; `resource` describes it."""

    def end(self, stack: str, result: str) -> None:
        """Report that a stack leaves its phase."""


class Target(Protocol):
    """A deployment target."""

    @property
    def name(self) -> str:
        """`aws` or `embedded`."""

    def preflight(self) -> None:
        """Check the target before it is used. Raises DeploymentError if it is unusable or the wrong account."""

    def check_quotas(self, *, required: bool) -> list[str]:
        """Return warnings about quotas that are lower than the load that each region's API admits.

        Raises:
            DeploymentError: they are too low for the sustained load and `required`, or a region does not respond.
        """

    def remember(self) -> None:
        """Record the account before something is changed, so that a later preflight rejects another account."""

    def child_environment(self) -> dict[str, str]:
        """Return the environment variables of Terraform, except its CLI configuration."""

    def override(self, stack: str) -> Mapping[str, Any]:
        """Return the content of `hdr_override.tf.json` for a stack."""

    def read_state(self, stack: str) -> bytes | None:
        """Return a stack's state as Terraform stores it; None if there is none."""

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of this target."""

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        """Return the address of a regional stack's API, given the stack's outputs, without a trailing slash."""

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """Return the addresses that serve a region's host names, by region; none where DNS resolves them."""

    def issuer(self) -> str:
        """Return the issuer that the APIs trust; empty if they require IAM signatures."""

    def operations_endpoints(self) -> tuple[str, ...]:
        """Return the secret addresses of the HTTPS endpoints that are subscribed to the topics of both regions."""

    def operations_webhooks(self) -> tuple[str, ...]:
        """Return the secret addresses of the webhooks to which a function of each region posts notifications."""

    def ca_bundle(self) -> Path | None:
        """Return the authority to trust for `api_url`; None if it is a public one."""
