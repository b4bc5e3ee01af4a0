"""The interfaces of the embedded AWS, of targets and of progress reports, as operations use them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from healthcare_dr.naming import PRIMARY, SECONDARY

REGIONAL = (PRIMARY, SECONDARY)

Synthesize = Callable[[Path], object]
"""Writes `<folder>/stacks/<stack>/cdk.tf.json` and its assets."""


class CheckStatus(Protocol):
    """A health check as Route 53 sees it."""

    @property
    def name(self) -> str:
        """Return the value of its tag `Name`; empty without one."""

    @property
    def healthy(self) -> bool:
        """Its verdict."""

    @property
    def share(self) -> float | None:
        """The part of its checkers that find it healthy, 0 to 1; None for a check that has none of its own."""


class Replicating(Protocol):
    """The settings of replication between the regions."""

    @property
    def tables(self) -> bool:
        """Return whether tables replicate."""

    @property
    def documents(self) -> bool:
        """Return whether documents replicate."""

    @property
    def lag_seconds(self) -> float:
        """Return the delay after a write."""


EdgeMode = Literal["open", "refused", "blackhole", "errors", "slow"]


@dataclass(frozen=True, kw_only=True)
class EdgeFault:
    """The fault of a region's listener: `refused` connections, a `blackhole` that accepts and never responds, an error
    as every response (`errors`), or every response delayed by `delay_seconds` (`slow`).
    """

    mode: EdgeMode = "open"
    delay_seconds: float = 0.0


class EmbeddedAws(Protocol):
    """The embedded AWS as a handle: every state it has is in files."""

    @property
    def certificate(self) -> Path:
        """The authority that clients of its addresses have to trust (PEM)."""

    def start(self) -> None:
        """Start it and return when it is ready; nothing happens when it runs already."""

    def check_ports(self) -> None:
        """Raises EmulatorError when it does not run and could not listen where it has to."""

    def stop(self) -> None:
        """End it; nothing happens when it does not run."""

    def running(self) -> bool:
        """Return whether it responds."""

    def lost_state(self) -> bool:
        """Return whether its resources are lost, because it ended without saving."""

    def erase(self) -> None:
        """Stop, and forget every resource."""

    def environment(self) -> dict[str, str]:
        """The variables that send an AWS client to it."""

    def issuer(self) -> str:
        """The address of its token issuer."""

    def token(
        self,
        *,
        subject: str,
        tenant: str,
        scopes: Sequence[str],
        audience: str = ...,
        lifetime: timedelta = ...,
    ) -> str:
        """A signed access token."""

    def api_url(self, api_id: str) -> str:
        """The base address that reaches an HTTP API through it, past every front door and its faults."""

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """By region, the address and port of its front door, which stands for port 443 of that region's host names."""


class BreakableAws(EmbeddedAws, Protocol):
    """The embedded AWS with its Route 53, its front doors, and the ways in which all of it can fail."""

    def dns(self) -> tuple[str, int]:
        """The address and port where DNS is answered, over UDP and TCP."""

    def health_checks(self) -> Mapping[str, CheckStatus]:
        """Return the status of each Route 53 health check by its id, read from the data plane without any control
        plane.
        """

    def set_edge_fault(self, region: str, fault: EdgeFault, *, hosts: Collection[str] = ()) -> None:
        """Let a region's front door fail in one way, or serve again: to clients of `hosts`, or to all."""

    def time_scale(self) -> float:
        """Return how many times faster than real time health checks run and DNS answers expire."""

    def set_time_scale(self, scale: float) -> None:
        """Set it: 1 is real time."""

    def refuse_control_planes(self, *, refused: bool, environment: str = ...) -> None:
        """Deny Route 53, IAM and Lambda's control plane to requests without `bypass_header`, or allow them again.

        With the suffix of an `environment`, requests that work for another environment are not denied.
        """

    def bypass_header(self) -> tuple[str, str]:
        """The header, and its secret value, with which a fault still reaches a refused control plane."""

    def replication(self) -> Replicating:
        """Return the settings of replication between the regions."""

    def set_replication(
        self, *, tables: bool | None = None, documents: bool | None = None, lag_seconds: float | None = None
    ) -> None:
        """Set what is not None."""

    def pending(self) -> int:
        """Return how many writes to tables and documents have not arrived in the other region."""

    def waiting_seconds(self) -> float:
        """Return the age of the oldest of them; 0 when all have arrived."""


class Progress(Protocol):
    """Reports the progress of work. It is not a result."""

    def say(self, text: str) -> None:
        """One line on what is being done."""

    def begin(self, stack: str, phase: str) -> None:
        """A stack enters a phase (`planning`, `applying`, `destroying`)."""

    def advance(self, stack: str, *, done: int, total: int, current: str) -> None:
        """`done` of `total` resources are done; `current` is the newest or longest running."""

    def complete(self, stack: str, *, done: int, total: int, resource: str) -> None:
        """Report one more completed resource; `resource` describes it."""

    def end(self, stack: str, result: str) -> None:
        """A stack leaves its phase."""


class Target(Protocol):
    """A deployment target."""

    @property
    def name(self) -> str:
        """`aws` or `embedded`."""

    def preflight(self) -> None:
        """Refuse, with one line, what would fail or hit the wrong account."""

    def remember(self) -> None:
        """Note, before something is changed, whose it is, so that the next preflight refuses another account."""

    def child_environment(self) -> dict[str, str]:
        """The environment of Terraform, but for its CLI configuration."""

    def override(self, stack: str) -> Mapping[str, Any]:
        """Return the content of `hdr_override.tf.json` for a stack."""

    def read_state(self, stack: str) -> bytes | None:
        """A stack's state as Terraform stores it, or None where there is none."""

    def client(self, service: str, region: str) -> Any:
        """A boto3 client that talks to this target."""

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        """The address of a regional stack's API, given the stack's outputs; no trailing slash."""

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """By region, where the host names of its APIs are answered; without those that DNS leads to."""

    def issuer(self) -> str:
        """The issuer the APIs trust; empty where they demand IAM signatures."""

    def ca_bundle(self) -> Path | None:
        """The authority to trust for `api_url`, where it is not a public one."""
