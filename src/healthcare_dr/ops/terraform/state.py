"""Read a stack's state file without Terraform: fast, and without an initialized workspace."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS

STATE_VERSION: Final = 4
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class StackState:
    """The content of a state; `resources` counts managed resources only, not data sources."""

    resources: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The state as Terraform wrote it."""

    @property
    def deployed(self) -> bool:
        """Return whether any resource of the stack exists."""
        return self.resources > 0


@dataclass(frozen=True)
class Resource:
    """A managed resource; `name` is its name in its stack."""

    region: str
    kind: str
    name: str
    attributes: Mapping[str, Any]

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes.get(attribute)


@dataclass(frozen=True)
class DeployedResources:
    """The resources and outputs of the three stacks, by region."""

    states: Mapping[str, StackState]
    regions: tuple[str, str]

    def of(self, kind: str, region: str | None = None) -> list[Resource]:
        """Return the resources of a kind, in one region or in both."""
        return [found for found in self.all if found.kind == kind and region in (None, found.region)]

    def output(self, region: str, name: str) -> str:
        """Return an output of a region's stack; empty without one."""
        return str(self.outputs(STACKS[self.regions.index(region)]).get(name, ""))

    def outputs(self, stack: str = GLOBAL) -> dict[str, Any]:
        """Return the outputs of a stack."""
        return self.states[stack].outputs

    @cached_property
    def account(self) -> str:
        """Return the account's twelve digits, from the ARN of the primary region's key."""
        arn = str(self.outputs(PRIMARY).get("key_arn", ""))
        return arn.split(":")[4] if arn.count(":") >= 5 else ""

    @cached_property
    def all(self) -> tuple[Resource, ...]:
        """Return every managed resource."""
        primary, secondary = self.regions
        return tuple(
            Resource(
                # `provider["registry.terraform.io/hashicorp/aws"].secondary`: the other region of the global stack.
                secondary if stack == SECONDARY or str(resource.get("provider")).endswith(".secondary") else primary,
                resource["type"],
                resource["name"],
                instance.get("attributes") or {},
            )
            for stack in STACKS
            for resource in self.states[stack].document.get("resources") or ()
            if resource.get("mode") == "managed"
            for instance in resource.get("instances") or ()
        )


def read_state(stack: str, raw: bytes | None) -> StackState:
    """Parse a state in Terraform's format 4, which Terraform and OpenTofu have written since 0.12.

    Raises:
        DeploymentError: the state is damaged or has another format.
    """
    if not raw:
        return StackState()
    try:
        document = json.loads(raw)
        version = document["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(stack, error) from error
    if version != STATE_VERSION:
        raise DeploymentError(
            f"the state of {stack} has format {version}, but only {STATE_VERSION} is known here: a newer Terraform "
            "wrote it, so use a newer version of this platform, or restore the state's last version of that format"
        )
    try:
        return StackState(
            resources=sum(
                len(resource.get("instances") or ())
                for resource in document.get("resources") or ()
                if resource.get("mode") == "managed"
            ),
            outputs={name: output.get("value") for name, output in (document.get("outputs") or {}).items()},
            document=document,
        )
    except (AttributeError, TypeError) as error:
        raise _damaged(stack, error) from error


def read_settled(stack: str, read: Callable[[], bytes | None]) -> StackState:
    """Parse the state that `read` returns. Retry for a second, because Terraform truncates a local state before it
    writes it.

    Raises:
        DeploymentError: the state stays damaged, or has another format.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        raw, late = read(), time.monotonic() >= deadline
        try:
            state = read_state(stack, raw)
        except DeploymentError:
            if late:
                raise
        else:
            if raw != b"" or late:
                return state
        time.sleep(0.05)


def read_states(read: Callable[[str], bytes | None], stacks: Sequence[str] = STACKS) -> dict[str, StackState]:
    """Return the state of each stack. Raises DeploymentError as `read_settled`."""
    return {stack: read_settled(stack, partial(read, stack)) for stack in stacks}


def _damaged(stack: str, error: Exception) -> DeploymentError:
    return DeploymentError(
        f"the state of {stack} is damaged, or another command is writing it ({error}): try again once that has ended, "
        "else restore its last good version"
    )
